"""An oracle outside CI: label strategies of `breaching` 0.1.2 and our rivals, on the very same gradients.

    pip install --target DIR --no-deps breaching==0.1.2 hydra-core==1.3.8 omegaconf==2.4.0 \
        antlr4-python3-runtime==4.9.3 pyyaml
    PYTHONPATH=.:DIR python -m tests.oracles.breaching_labels

It says, for each strategy, in how many batches the answers are as they should be, and ends with 1 where some are not.
What should be equal, and what differs and why:

- `bias-corrected` is `ebi`: the same counts.
- `iDLG` gives the one class with the smallest a_j, and then draws labels at random; `idlg` is the extension to batches,
  all with a_j < 0. That class is one of them.
- `yin` gives the K classes with the smallest minima, each once, as its batches have no class twice. Those of them that
  are negative are what `gradinversion` finds, where these are at most K.
- `wainakh-simple` is `llg` in its first stage. In its second it takes the impact off the entry of the *last class*
  (`g_i[idx]` with the `idx` of the first stage's loop), not of the class that got the label: so all the labels left go
  to one class, unless that is the last. With this set right it is `llg`, which is checked too.
- `wainakh-whitebox` takes the impact to be the sum of a_j over *all* classes, which is 0 for any batch, so that all the
  labels left go to one class too. It needs a whole model, and is not run.
"""

import inspect
import re
import sys
import textwrap
import warnings
from collections import Counter
from types import SimpleNamespace

import torch

from irlg import Observation, restore
from tests.helpers import NETWORKS, client

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of torch.jit, which it uses at import
    from breaching.attacks import base_attack

SLIP = re.compile(r"g_i\[idx\] -= m_impact(\n *# Finalize)")


def set_right():
    """Their function with the second stage's slip set right."""
    source = textwrap.dedent(inspect.getsource(base_attack._BaseAttacker._recover_label_information))
    source, slips = SLIP.subn(r"g_i[selected_idx] -= m_impact\1", source)
    assert slips == 1, "breaching is not 0.1.2"
    space = dict(vars(base_attack))
    exec(source, space)
    return space["_recover_label_information"]


def theirs(strategy, seen, function=base_attack._BaseAttacker._recover_label_information):
    """Counts (C,) of one of their strategies."""
    attacker = SimpleNamespace(cfg=SimpleNamespace(label_strategy=strategy), setup={"device": torch.device("cpu")})
    data = {"gradients": [seen.grad_weight.clone(), seen.grad_bias.clone()], "metadata": {}}
    data["metadata"]["num_data_points"] = seen.size
    return torch.bincount(function(attacker, [data], None, None), minlength=seen.num_classes)


def agree(seen, corrected):
    """What should hold of each strategy on one batch."""
    ours = {name: restore(seen, name).counts for name in ("idlg", "gradinversion", "llg", "ebi")}
    sums, minima = seen.grad_weight.sum(dim=1), seen.grad_weight.amin(dim=1)
    yield "bias-corrected = ebi", torch.equal(theirs("bias-corrected", seen), ours["ebi"])
    smallest = sums.argmin()
    yield "iDLG in idlg", bool(theirs("iDLG", seen)[smallest] >= 1 and ours["idlg"][smallest] == 1)
    if int(ours["gradinversion"].sum()) <= seen.size:
        found = ((theirs("yin", seen) > 0) & (minima < 0)).long()  # with K > C it draws the rest at random
        yield "yin, negative = gradinversion", torch.equal(found, ours["gradinversion"])
    first = (sums < 0).long()
    more = theirs("wainakh-simple", seen) - first
    yield "wainakh-simple, after stage 1: one class", int((more != 0).sum()) <= 1 or int(more[-1]) > 0
    yield "wainakh-simple, set right = llg", torch.equal(theirs("wainakh-simple", seen, corrected), ours["llg"])
    yield "(wainakh-simple as it is = llg)", torch.equal(theirs("wainakh-simple", seen), ours["llg"])


def main():
    torch.manual_seed(0)  # they pad at random
    corrected, right, tried = set_right(), Counter(), Counter()
    for network in NETWORKS:
        for size in (4, 24, 64):
            for trial in range(10):
                embeddings, labels, head = client(network, trial, size)
                seen = Observation.from_embeddings(embeddings.double(), labels, head.double())
                for what, holds in agree(seen, corrected):
                    tried[what] += 1
                    right[what] += holds
    for what, count in tried.items():
        print(f"{what:45} {right[what]:4} of {count}")
    return int(any(right[what] < count for what, count in tried.items() if not what.startswith("(")))


if __name__ == "__main__":
    sys.exit(main())
