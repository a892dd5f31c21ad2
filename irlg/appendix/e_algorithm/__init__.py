"""Notebook E: Algorithm 1 line by line on one batch, and its solver against the pseudo-code."""
