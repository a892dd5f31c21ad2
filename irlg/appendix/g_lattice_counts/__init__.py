"""Notebook G: exact counts by the lattice, beyond the appendix: where they hold, and what each part is worth."""
