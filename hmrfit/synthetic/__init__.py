"""Synthetic people: posed bodies, clothes, pictures of two qualities, a dataset, a benchmark with the whole truth."""
