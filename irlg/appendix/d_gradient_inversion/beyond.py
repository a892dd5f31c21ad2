"""Cases of another kind than Figure 6's, seed by seed: larger batches, one class, a trained network, train mode."""

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from irlg.appendix.d_gradient_inversion import attacks, steps, tables
from irlg.appendix.d_gradient_inversion.attacks import Attack
from irlg.appendix.d_gradient_inversion.running import Outcome
from irlg.appendix.d_gradient_inversion.steps import Step
from irlg.artifact.tables import markdown, span
from irlg.data.datasets import ImageSet

Case = tuple[str, Attack, Step]
SIZES = {24: True, 32: False, 48: False}  # of larger batches: whether their gradient tells feature maps
STEPS = 300  # from feature maps, at most
SHOWN = {"one class": "one_class", "trained, lattice labels": "trained"}  # with a picture, and its file


def cases(
    step: Step, images: ImageSet, largest: int, steps_trained: int, taken: int, steps_features: int
) -> list[Case]:
    """What each case is, its attack and its step.

    **Arguments:** `step`, Figure 6's on `images`, whose size, classes, seed and device the others take; `largest`
    batch; `steps_trained`, of the trained network; iterations `taken` with embeddings, and from feature maps
    `steps_features`, but no more than `STEPS`.
    """
    size, classes, seed, device = len(step.labels), len(set(step.labels.tolist())), step.seed, step.device
    rows = {attack.known: attack for attack in attacks.attacks("CIFAR-100", taken, min(STEPS, steps_features))}
    maps, embeddings = rows["feature maps"], rows["embeddings"]
    trained = steps.trained_step(images, size, classes, steps_trained, seed, device)
    found: list[Case] = [
        (f"{number} images of any class", maps if tell else embeddings, steps.drawn_step(images, number, seed, device))
        for number, tell in SIZES.items()
        if number <= largest
    ]
    found.append(("one class", maps, steps.cifar_step(images, size, 1, seed, device)))
    found.append(("trained", maps, trained))
    found.append(("trained, lattice labels", replace(maps, labels="lattice"), trained))
    found.append(("train mode", attacks.in_train_mode(taken), step))
    return found


def table(cases: Sequence[Case], outcomes: Sequence[Outcome]) -> pd.DataFrame:
    """One row a case of another kind than Figure 6's: what it is, then as in `tables.table`."""
    rows = []
    for (case, attack, step), outcome in zip(cases, outcomes, strict=True):
        (row,) = tables.table({step.seed: {attack.name: outcome}}, [attack]).to_dict("records")
        about = {"case": case, "images": len(step.labels), "classes": len(set(step.labels.tolist()))}
        rows.append(about | row | {"least": outcome.scores.psnr.min()})
    return pd.DataFrame(rows)


def view(frame: pd.DataFrame) -> str:
    """`table` as Markdown for readers."""
    rows = [
        {
            "case": r.case,
            "attack": r.attack,
            "images": r.images,
            "classes": r.classes,
            "labels right": "yes" if r.exact else "no",
            "knows": tables.knows(r.known, r.found, r.seeds, r.residual),
            "iterations": f"{r.iterations:,}",
            "PSNR, dB [95 %]": f"{r.psnr:.2f} {span(r.psnr_low, r.psnr_high, 2)}",
            "lowest": f"{r.least:.1f}",
            "SSIM": f"{r.ssim:.3f}",
            "seconds": f"{r.seconds:.0f}",
        }
        for r in frame.itertuples()
    ]
    return markdown(pd.DataFrame(rows))
