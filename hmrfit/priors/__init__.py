"""Priors of pose and shape as residuals: the code. The fitted parameters lie in the top-level `priors/` folder."""
