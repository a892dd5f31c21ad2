#!/usr/bin/env bash
# Finding: torch.func.functional_call leaves plain tensors in a module in place of its Parameters, where one of its
# submodules is reachable under two names. Nothing is said of it, and the module's optimiser then trains nothing.
# It needs no part of irlg, only PyTorch, which it installs from PyPI in a temporary folder (5 GB, some minutes).
# Exits with 0 while that is so, and not with 0 once it is not, or could not be tried.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --no-cache-dir torch==2.15.0

"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import torch
from torch import nn


class Shared(nn.Module):
    """One submodule under two names."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(2, 2)
        self.second = self.first

    def forward(self, x):
        return self.second(self.first(x))


model = Shared()
before = model.first.weight
state = {name: parameter.detach() for name, parameter in model.named_parameters()}
torch.func.functional_call(model, state, (torch.rand(1, 2),))
after = model.first.weight

print("torch", torch.__version__)
print("names given:", list(state))
print("before the call:", type(before).__name__, "requires_grad", before.requires_grad)
print("after the call: ", type(after).__name__, "requires_grad", after.requires_grad)
print("expected: the module as it was, for the call is to swap parameters for its time only")
if after is before:
    raise SystemExit("The finding no longer holds: the Parameter is back in its place.")
PYTHON
