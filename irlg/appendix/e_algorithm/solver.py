"""The vectorised solver of Algorithm 1 against the literal loop: the same counts, in how much less time."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import torch

from irlg.appendix.random_layers import arrays, random_layer
from irlg.artifact.timing import best_seconds
from irlg.data.sampling import stream
from irlg.observation import Observation
from irlg.restoration import restore
from irlg.restoration.pseudocode import algorithm_1


def solver_differences(problems: int, seed: int) -> pd.DataFrame:
    """The vectorised solver against the literal loop on random problems, before rounding.

    **Returns:** one row a problem: C, m, K, `difference`, the largest over the C counts, and
    `condition`, the condition number of the system of equation (6).
    """
    rows = []
    for number in range(problems):
        observation = solver_problem(number, seed)
        classes, width = observation.weight.shape
        _, literal = algorithm_1(*arrays(observation), observation.size)
        restored = restore(observation, "irlg")
        system = torch.cat([torch.ones(1, classes), restored.probabilities.T - torch.eye(classes)])
        rows.append(
            {
                "C": classes,
                "m": width,
                "K": observation.batch_size,
                "difference": float(np.abs(restored.raw_counts.numpy() - literal).max()),
                "condition": float(torch.linalg.cond(system)),
            }
        )
    return pd.DataFrame(rows)


def solver_problem(number: int, seed: int) -> Observation:
    """Random problem `number` of a seed: C from 2 to 40, m from 1 to 64, K from 1 to 200."""
    rng = stream(seed, "E problems", number)
    classes, width, size = (int(rng.integers(low, high)) for low, high in ((2, 41), (1, 65), (1, 201)))
    return Observation.from_embeddings(*random_layer(rng, classes, width, size))


def solver_seconds(classes: int, width: int, batch_size: int, seed: int, device: str) -> dict[str, float]:
    """Seconds of one restoration, ours (the best of three) and the literal loop's, same problem."""
    embeddings, labels, head = random_layer(stream(seed, "E speed"), classes, width, batch_size)
    observation = Observation.from_embeddings(embeddings.to(device), labels.to(device), head.to(device))
    ours = best_seconds(lambda: restore(observation, "irlg").raw_counts.cpu())  # waits for the device
    literal = best_seconds(lambda: algorithm_1(*arrays(observation), batch_size), times=1)
    return {"irlg": ours, "literal": literal}


def agreement(differences: pd.DataFrame) -> tuple[int, str]:
    """How many of `solver_differences` are within 1e-9, and a line that says so and names the hardest problem."""
    within, hardest = int((differences.difference < 1e-9).sum()), differences.loc[differences.difference.idxmax()]
    largest = f"largest {hardest.difference:.1e} at condition number {hardest.condition:.1e}"
    return within, f"{within:,} of {len(differences):,} within 1e-9, {largest}"


def speed(seconds: Mapping[str, float]) -> tuple[float, str]:
    """How many times as fast as the literal loop by `solver_seconds`, and both times in words."""
    return seconds["literal"] / seconds["irlg"], f"{seconds['irlg']:.2f} s against {seconds['literal']:.2f} s"
