"""Evaluation: metrics now, protocols on top of them."""
