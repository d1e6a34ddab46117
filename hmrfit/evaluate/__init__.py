"""Evaluation: predictions of whole data sets, and the protocols that score them."""
