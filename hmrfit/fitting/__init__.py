"""The fit: residual terms, stages, a batched Levenberg-Marquardt solver, and the starts it begins from."""
