"""Notebook H: what clients really send, and what a server makes of it."""
