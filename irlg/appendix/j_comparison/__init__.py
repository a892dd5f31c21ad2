"""Notebook J: every method, in the settings that tell them apart."""
