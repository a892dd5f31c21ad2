"""The paper's appendix, remade: a module or folder a notebook, named after it, and what several of them share.

Of all, deleting a letter breaks no other: none imports another. docs/layout.md says what is shared. Three modules
restore batches and score them: `trials` by the paper's method and the guess, `methods` by the lattice with and without
its parts, `comparison` by every method of the registry, on the same gradients.
"""
