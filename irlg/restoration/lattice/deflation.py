"""Instances one after another: those that are found are subtracted, and the lattice is run on the smaller batch left.

Fewer instances are easier to tell: the lattice's embeddings of their classes are better, and their equations have
fewer unknowns. So each round starts from what the last one left, until nothing is left, nothing more is found, or the
time is over. Then the counts are those of the instances found and the lattice's of the rest, with its probability.
"""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from time import monotonic

import torch
from torch import Tensor

from irlg.instances import Instances
from irlg.observation import Observation
from irlg.restoration.lattice.angles import Solutions, joined, solve
from irlg.restoration.lattice.instances import Span, can_be_told, independent, span
from irlg.restoration.lattice.joint import refined
from irlg.restoration.lattice.passes import BORNE_OUT, UNSURE
from irlg.restoration.lattice.result import LatticeRestoration

# How far along the weight of its class from what is known an instance is looked for, in units of what is usual: the
# network mostly is sure of it. And where none is found so, how many starts a class at random.
SURER = (2.0, 3.0, 1.0)
STARTS = 6
ROUGH = 0.05  # sine of solutions that are worth a second look
HARDLY = 4.0  # |ĝ| |ê| is at most √2 √2 mean |e| for a usual instance, and seldom twice as much
GUESSES = 8  # of what is left, by the lattice, that are tried
UNEXPLAINED = 0.03  # what the batch may leave of the gradients, in units of its weakest instance


@dataclass(frozen=True, eq=False)
class Found:
    """Instances found: `labels` (F,) and `embeddings` (F, m); the `residual` if they are the batch (see `Instances`);
    the lattice's restoration of the `rest` of the batch, `None` if there is none; and the probability, at most, that
    all is right, `trust`."""

    labels: Tensor
    embeddings: Tensor
    residual: float
    rest: LatticeRestoration | None
    trust: float

    def counts(self, classes: int) -> Tensor:
        """(C,), those of the lattice for the rest among them."""
        counts = torch.bincount(self.labels, minlength=classes)
        return counts if self.rest is None else counts + self.rest.counts

    @property
    def instances(self) -> Instances | None:
        """The batch, if this is all of it."""
        return None if self.rest is not None else Instances(self.labels, self.embeddings, self.residual)


def one_by_one(
    observation: Observation,
    restored: LatticeRestoration,
    restore: Callable[[Observation, Tensor], LatticeRestoration],
    deadline: float,
) -> Found | None:
    """Look for the instances of a batch, or `None` if none is found.

    **Arguments:** `restored`, of the whole batch by the lattice; `restore`, the same for what is left without instances
    of given counts (C,); `deadline`, of `time.monotonic`, after which what was found is returned.
    """
    divisor, embeddings = observation.known_divisor, restored.embeddings
    if not can_be_told(observation) or divisor is None or embeddings is None:
        return None
    constant = embeddings.norm(dim=1).mean()
    if not 0 < float(constant) < math.inf:  # a dead layer: there is nothing to tell instances by
        return None
    batch = _Batch(observation, divisor, constant)
    if not batch.usable():
        return None
    rest, everyone, news = restored, _classes(restored), True
    generator = torch.Generator().manual_seed(0)
    while batch.left and news and monotonic() < deadline:
        near = _classes(rest)
        news = batch.look(near, embeddings[near], deadline)
        # With every one that is found, others can be reached.
        while news and batch.left and batch.look(near, embeddings[near], deadline):
            pass
        starts = embeddings[near] + _along(embeddings[near], near, observation.weight, SURER[0])
        while batch.left and batch.look(near, starts, deadline):
            news = True
        for by in SURER:
            known = embeddings[everyone] if batch.found is None else batch.found.embeddings[:, : embeddings.shape[1]]
            starts = known.mean(dim=0) + _along(known, everyone, observation.weight, by)
            news = news or batch.look(everyone, starts, deadline)
        news = news or batch.look(*_about(embeddings, everyone, generator), deadline) or batch.polish(deadline)
        if news and batch.left:
            try:
                rest = restore(*batch.rest())
            except ValueError:  # what is left is no gradient of a batch: something was found that is not there
                return None
            embeddings = embeddings if rest.embeddings is None else rest.embeddings
    if batch.found is None:
        return None
    if batch.left == 0:
        residual = batch.refine()
        return batch.result(1 - residual, residual, None) if residual <= UNEXPLAINED else None
    # Those left may be what the lattice takes them for, though they were not reached one by one.
    for counts in rest.candidates[:GUESSES]:
        if monotonic() > deadline:
            return batch.result(BORNE_OUT, 0.0, rest)
        whole = batch.completed(counts, embeddings)
        residual = whole.refine()
        if residual <= UNEXPLAINED:
            return whole.result(1 - residual, residual, None)
    return batch.result(UNSURE, 0.0, rest)  # right counts would mostly have led to the instances


class _Batch:
    """A batch of which some instances are `found`, (F,), each some `times` (F,), and others `left`."""

    def __init__(self, observation: Observation, divisor: float, constant: Tensor) -> None:
        target = observation.grad_weight.double()
        if observation.grad_bias is not None:
            target = torch.cat([target, constant * observation.grad_bias.double()[:, None]], dim=1)
        self.observation, self.divisor, self.constant = observation, divisor, constant
        self.target = divisor * (target - target.mean(dim=0))  # T, (C, m + 1)
        self.found: Solutions | None = None
        self.times, self.left = target.new_zeros(0, dtype=torch.long), observation.size
        self.polished = 0  # of those found

    def usable(self) -> bool:
        """Whether gradients are finite, and noise alone is less than what may be left."""
        noise = self.divisor * self.observation.noise * math.sqrt(self.target.numel())
        return bool(torch.isfinite(self.target.sum())) and noise <= UNEXPLAINED * HARDLY * float(self.constant)

    @cached_property
    def span(self) -> Span:
        return span(self.observation, self.target)

    def result(self, trust: float, residual: float, rest: LatticeRestoration | None) -> Found:
        """Those found, and those of which there are several several times."""
        found, width = self._found, self.observation.weight.shape[1]
        labels, embeddings = (part.repeat_interleave(self.times, dim=0) for part in (found.labels, found.embeddings))
        return Found(labels, embeddings[:, :width], residual, rest, trust)

    def look(self, labels: Tensor, starts: Tensor, deadline: float) -> bool:
        """Look for instances of `labels` (N,) from embeddings `starts` (N, m), and say whether there are new ones."""
        rows = self.span.rows_without(self.found)
        if rows.shape[1] == 0 or len(labels) == 0 or not bool(torch.isfinite(starts.sum())):
            return False
        near = solve(self.observation, labels, self._extended(starts), self.span.columns, rows, deadline)
        if self.found is not None:  # whose errors are in the rows that they leave
            near = near[near.sine < ROUGH]
            near = solve(self.observation, near.labels, near.embeddings, self.span.columns, self.span.rows, deadline)
        near = near[self.span.explains(near)]
        which, times = independent(self.span, near, self.found, self.left)
        if len(which):
            self.found = near[which] if self.found is None else joined([self.found, near[which]])
            self.times = torch.cat([self.times, times])
            self.left -= int(times.sum())
        return len(which) > 0

    def polish(self, deadline: float) -> bool:
        """Solve for all that are found at once, whatever is left, and say whether that may show others: weak instances
        are hidden by the errors of the rest."""
        if self.found is None or self.left == 0 or len(self.found.labels) == self.polished:
            return False
        self.polished = len(self.found.labels)
        self.found = refined(self.observation, self.target, self.span.rows, self.found, self.times, self.left, deadline)
        return True

    def completed(self, counts: Tensor, embeddings: Tensor) -> "_Batch":
        """The batch as it would be with those left of `counts` (C,), near the classes' `embeddings` (C, m)."""
        labels = torch.arange(len(counts), device=counts.device).repeat_interleave(counts)
        starts = self._extended(embeddings[labels])
        guessed = Solutions(labels, starts, starts.new_zeros(len(labels), len(counts)), starts.new_zeros(len(labels)))
        whole = copy.copy(self)
        whole.found, whole.left = joined([self._found, guessed]), 0
        whole.times = torch.cat([self.times, torch.ones_like(labels)])
        return whole

    def refine(self) -> float:
        """Solve for all that are found at once, as the batch.

        **Returns:** the residual, see `Instances`, or ∞ where what they leave is no noise.
        """
        self.found = refined(self.observation, self.target, self.span.rows, self._found, self.times)
        within = self._within(self._remainder())
        if not bool(torch.isfinite(within.sum())):
            return math.inf
        left = float(torch.linalg.matrix_norm(within, 2))
        return left / float(self._lengths().min()) if left <= self.span.noise else math.inf

    def rest(self) -> tuple[Observation, Tensor]:
        """The observation of those left, with the error of what is subtracted as noise, and the counts (C,) found."""
        remainder = self._remainder()
        # Of rank `left`, but for errors, which are in the rows of the classes found.
        excess = torch.linalg.svdvals(self._within(remainder))[self.left :].norm()
        error = float(excess) / (self.divisor * math.sqrt(len(self._found.labels) * self.target.shape[1]))
        smaller = replace(
            self.observation,
            grad_weight=remainder[:, : self.observation.weight.shape[1]] / self.divisor,
            grad_bias=None if self.observation.grad_bias is None else remainder[:, -1] / (self.divisor * self.constant),
            batch_size=self.left,
            divisor=self.divisor,
            noise=math.hypot(self.observation.noise, error),
        )
        labels = self._found.labels.repeat_interleave(self.times)
        return smaller, torch.bincount(labels, minlength=self.observation.num_classes)

    @property
    def _found(self) -> Solutions:
        assert self.found is not None
        return self.found

    def _extended(self, embeddings: Tensor) -> Tensor:
        """(N, m + 1), with the constant, or (N, m) for a head without a bias."""
        extended = torch.cat([embeddings, self.constant.expand(len(embeddings), 1)], dim=1)
        return extended[:, : self.target.shape[1]]

    def _remainder(self) -> Tensor:
        return self.target - (self.times * self._found.gradients.T) @ self._found.embeddings

    def _within(self, remainder: Tensor) -> Tensor:
        """What of it is in the column and the row space, (r, r)."""
        return self.span.columns.T @ remainder @ self.span.rows

    def _lengths(self) -> Tensor:
        """|ĝ| |ê| (F,)."""
        return self._found.gradients.norm(dim=1) * self._found.embeddings.norm(dim=1)


def _classes(restored: LatticeRestoration) -> Tensor:
    """(r,), those that some candidate has."""
    return torch.nonzero((restored.candidates > 0).any(dim=0))[:, 0]


def _along(known: Tensor, classes: Tensor, weight: Tensor, by: float) -> Tensor:
    """Steps (r, m) along the weights of classes, as long in units of how far `known` embeddings (N, m) lie apart."""
    weight, far = weight.double(), (known - known.mean(dim=0)).norm(dim=1).mean()
    return by * far * torch.nn.functional.normalize(weight[classes] - weight.mean(dim=0))


def _about(embeddings: Tensor, classes: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Labels (N,) and embeddings (N, m), some a class: between the class's embedding and the mean of all, with a spread
    like that of the classes."""
    labels = classes.repeat_interleave(STARTS)
    known = embeddings[classes]
    mean, spread = known.mean(dim=0), (known - known.mean(dim=0)) / len(known) ** 0.5

    def random(draw: Callable[..., Tensor], *shape: int) -> Tensor:
        return draw(shape, generator=generator, dtype=torch.float64).to(embeddings.device)

    toward, size = random(torch.rand, len(labels), 1), 1.5 * random(torch.rand, len(labels), 1)
    about = size * (random(torch.randn, len(labels), len(known)) @ spread)
    return labels, mean + toward * (embeddings[labels] - mean) + about
