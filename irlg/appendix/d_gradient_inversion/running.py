"""Appendix D as trials: attacks on steps, side by side, kept on disk, and scored."""

import pickle
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache
from multiprocessing import get_context

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from irlg.appendix.d_gradient_inversion.attacks import Attack
from irlg.appendix.d_gradient_inversion.steps import Step
from irlg.artifact import jobs, records
from irlg.artifact.progress import progress
from irlg.inversion import FeatureMaps, Progress, feature_maps, invert, matching
from irlg.inversion.patches import UnresolvedError

METHODS = {"restored": "irlg", "lattice": "lattice"}  # of irlg.restore, by treatment
PROCESSES = 8  # at most, for the memory they take: 1.3 GB each for ResNet-18
FEW = 10  # iterations: attacks of fewer are sooner done than another process is started


@dataclass(eq=False)
class Outcome:
    """An attack's result: `images` (K, channels, height, width) in the originals' order.

    `scores`: a row an original; `trace`: seconds, objective and mean matched PSNR at each report;
    `snapshots`: images at a few iterations, in the order of `images`; `exact`: whether the labels
    given were the true ones; `seconds` of the attack, which may not have had the machine for itself; `commit` that it
    was run with; `residual`: what its embeddings or feature maps leave of the gradient, `nan` where it has none.
    """

    images: Tensor
    scores: pd.DataFrame
    exact: bool
    seconds: float
    trace: list[dict[str, float]] = field(default_factory=list)
    snapshots: dict[int, Tensor] = field(default_factory=dict)
    commit: str = ""
    residual: float = float("nan")

    @property
    def iterations(self) -> int:
        """Steps taken."""
        return int(self.trace[-1]["iteration"])


class _LeftError(Exception):
    """An attack left for another call, with its `images` so far."""

    def __init__(self, images: Tensor) -> None:
        super().__init__()
        self.images = images


def attack_step(attack: Attack, step: Step) -> Outcome:
    """Run one attack on one step, and score what it reconstructs against the originals.

    Every attack on a step starts from the same images, those of the step's seed. A result that is kept is read, and an
    attack that was interrupted, or left after its `minutes`, goes on where it was.
    """
    labels = _labels(attack, step)
    job = _job(attack, step, labels)
    found: Outcome | None = job.read()
    if found is not None:
        return found
    originals = step.originals
    model, gradient = step.model(attack.attacker), step.gradient(attack.client)
    shape = (originals.shape[0], *originals.shape[1:])
    config = replace(attack.config, seed=step.seed)
    shown = {0, *(power * config.interval for power in (1, 4, 16)), config.steps}
    begin = time.perf_counter()
    instances = step.instances(attack.client) if attack.known == "embeddings" else None
    maps = None
    if attack.known == "feature maps" and isinstance(labels, Tensor):
        maps, took = _maps(step, attack.client, attack.attacker, tuple(labels.tolist()))
        begin = time.perf_counter() - took  # which it is charged with, whoever found them
    source = instances or maps
    if attack.known and source is None:
        return _nothing(originals.cpu())
    before, trail = 0.0, job.part("trace")
    trace: dict[int, dict[str, float]] = {}
    snapshots: dict[int, Tensor] = {}
    if trail is not None and trail.exists():
        trace, snapshots = pickle.loads(trail.read_bytes())
        before = trace[max(trace)]["seconds"]

    def watch(progress: Progress) -> None:
        seconds = before + time.perf_counter() - begin
        if progress.iteration not in trace:
            images = progress.images.cpu()
            psnr = matching.scores(images[matching.match(images, originals)], originals.cpu()).psnr.mean()
            trace[progress.iteration] = {
                "iteration": progress.iteration,
                "seconds": seconds,
                "objective": progress.objective,
                "psnr": float(psnr),
            }
            if progress.iteration in shown:
                snapshots[progress.iteration] = images
        if trail is not None:
            jobs.Job.write(trail, (trace, snapshots))
        if attack.minutes and seconds - before > 60 * attack.minutes and progress.iteration < config.steps:
            raise _LeftError(progress.images)

    finished = True
    try:
        images = invert(
            model,
            gradient,
            labels,
            shape,
            config,
            mean=step.images.mean,
            std=step.images.std,
            instances=instances,
            features=maps,
            progress=watch,
            checkpoint=job.part("checkpoint"),
        ).images
    except _LeftError as left:
        images, finished = left.images, False
    order = matching.match(images, originals)
    images = images[order].cpu()
    outcome = Outcome(
        images,
        matching.scores(images, originals.cpu()).assign(lpips=matching.lpips(images, originals)),
        isinstance(labels, Tensor) and torch.equal(labels, step.labels),
        trace[max(trace)]["seconds"],
        list(trace.values()),
        {i: s[order] for i, s in snapshots.items()},
        records.commit(),
        float("nan") if source is None else source.residual,
    )
    if finished:
        job.finish(outcome)
    return outcome


@lru_cache(maxsize=1)
def _maps(step: Step, client: str, attacker: str, labels: tuple[int, ...]) -> tuple[FeatureMaps | None, float]:
    """Feature maps, where the gradient tells them, and seconds that finding them took: once for attacks in a row that
    differ in their settings."""
    model, gradient = step.model(attacker), step.gradient(client)
    given, shape = torch.tensor(labels, device=step.device), step.originals.shape
    begin, maps = time.perf_counter(), None
    with suppress(UnresolvedError):
        maps = feature_maps(model, gradient, given, (shape[0], *shape[1:]))
    return maps, time.perf_counter() - begin


def _nothing(originals: Tensor) -> Outcome:
    """Of an attack on what a gradient does not tell: not run, and grey."""
    none = pd.DataFrame({name: np.full(len(originals), np.nan) for name in ("psnr", "ssim", "lpips")})
    trace = [{"iteration": 0, "seconds": 0.0, "objective": np.nan, "psnr": np.nan}]
    grey = torch.full_like(originals, 0.5)
    return Outcome(grey, none, False, 0.0, trace, {0: grey}, records.commit())


def _labels(attack: Attack, step: Step) -> Tensor | str:
    if attack.labels == "true":
        return step.labels
    return step.restored(attack.client, METHODS[attack.labels]) if attack.labels in METHODS else attack.labels


def _job(attack: Attack, step: Step, labels: Tensor | str) -> jobs.Job:
    """By what is done, not by its name: with the same labels, `restored` and `true` are one attack.

    It is the same over changes of the code, or one of hours would never end: its outcome says with which it did.
    """
    name = f"D {step.network.__name__} {step.seed} {attack.known or attack.labels.replace('true', 'restored')}"
    return jobs.job(name, *_identity(attack, labels), step.digest, step.device)


def _identity(attack: Attack, labels: Tensor | str) -> tuple[object, ...]:
    """What an attack does to a step, whatever it is called and for however long."""
    given = labels if isinstance(labels, str) else labels.tolist()
    return given, replace(attack, name="", labels="", minutes=0)


def _pickled(attack: Attack, step: Step) -> bytes:
    """`attack_step` by value: left to itself, torch hands tensors over in shared memory, which is scarce."""
    return pickle.dumps(attack_step(attack, step))


def side_by_side(tasks: Sequence[tuple[Attack, Step]]) -> list[Outcome]:
    """Attacks, each on its step.

    On a CPU they run side by side, in processes that share torch's threads: one makes poor use of
    several. They are spawned, so a script that calls this needs its `if __name__ == "__main__":`.
    """
    threads = torch.get_num_threads() if all(step.device == "cpu" for _, step in tasks) else 1
    workers = min(threads, len(tasks), PROCESSES)
    if workers <= 1 or max(attack.config.steps for attack, _ in tasks) < FEW:
        return [attack_step(*task) for task in progress(tasks, "attacks")]
    # Not by fork, which OpenMP's threads don't survive.
    with ProcessPoolExecutor(workers, get_context("spawn"), torch.set_num_threads, (threads // workers,)) as pool:
        outcomes = pool.map(_pickled, *zip(*tasks, strict=True))
        return [pickle.loads(outcome) for _, outcome in zip(progress(tasks, "attacks"), outcomes, strict=True)]


def run(steps: Sequence[Step], rows: Sequence[Attack]) -> dict[int, dict[str, Outcome]]:
    """Every attack on every step: outcomes by the step's seed and the attack's name.

    With the same labels `restored` and `true` are the same attack, which is run once.
    """
    tasks = dict[str, tuple[Attack, Step]]()
    places = list[tuple[int, str, str]]()
    for step in steps:
        for attack in rows:
            same = repr((step.seed, *_identity(attack, _labels(attack, step))))
            tasks.setdefault(same, (attack, step))
            places.append((step.seed, attack.name, same))
    found = dict(zip(tasks, side_by_side(list(tasks.values())), strict=True))
    outcomes: dict[int, dict[str, Outcome]] = {step.seed: {} for step in steps}
    for seed, name, same in places:
        outcomes[seed][name] = found[same]
    return outcomes
