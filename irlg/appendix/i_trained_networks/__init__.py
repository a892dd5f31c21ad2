"""Notebook I: networks that somebody really trained, and every instance of their batches."""
