"""Notebook D: one client's step, attacked with and without the restored labels (Figure 6)."""
