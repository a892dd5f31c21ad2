"""The paper's appendix, remade: a module or folder a notebook, named after it, and what several of them share.

Of all, deleting a letter breaks no other: none imports another. Shared are `published`, the paper's figures; `trials`
and `scores`, batches restored and scored, and their means with intervals; `random_layers`, `networks`, `training`.
"""
