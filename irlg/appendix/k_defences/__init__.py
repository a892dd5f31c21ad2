"""Notebook K: what a client can do against it, and what that costs."""
