from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch

from irlg import Observation, presence_proofs, restore, restore_many
from irlg.restoration.method import Method
from irlg.restoration.registry import METHODS
from tests.helpers import linear, observe, rebuilt


def test_unknown_method():
    with pytest.raises(
        ValueError, match=r"method: expected one of \['lattice', 'irlg', 'uniform', .*'posterior'\], got 'svd'"
    ):
        restore(observe(3, 2, 4, 0), "svd")
    with pytest.raises(ValueError, match="method: expected one of"):
        restore(observe(3, 2, 4, 0), ["lattice"])


@pytest.mark.parametrize("method", ["lattice", "irlg"])
def test_one_observation_and_several_have_a_call_each(method):
    seen = observe(3, 2, 4, 0)
    for wrong in ([seen], None):
        with pytest.raises(ValueError, match=r"observation: expected one irlg.Observation, got .*; irlg.restore_many"):
            restore(wrong, method)
    with pytest.raises(ValueError, match=r"observations: expected irlg.Observation, got int as number 1"):
        restore_many([seen, 1], method)
    with pytest.raises(ValueError, match="observations: expected several, such as a list, got Observation"):
        restore_many(seen, method)


@pytest.mark.parametrize(
    ("option", "default"), [("nonnegative", None), ("search", True), ("search_seconds", 60.0), ("largest_batch", 256)]
)
def test_options_are_for_the_lattice_alone(option, default):
    other = not default if default in (None, True) else 7
    with pytest.raises(ValueError, match=f"{option}: expected {default} for method 'irlg', got {other}"):
        restore(observe(3, 2, 4, 0), "irlg", **{option: other})


def test_nonnegative_is_yes_no_or_unknown():
    for value in ("no", 1, torch.tensor([True, False])):
        for asked in (restore, presence_proofs):
            with pytest.raises(ValueError, match="nonnegative: expected True, False or None, got"):
                asked(observe(5, 4, 6, 0), nonnegative=value)


@pytest.mark.parametrize("value", [2.5, None, "9", 0, True])
def test_largest_batch_is_a_whole_number(value):
    for size in (None, 6):
        with pytest.raises(ValueError, match="largest_batch: expected a whole number of at least 1, got"):
            restore(rebuilt(observe(5, 4, 6, 0), batch_size=size), largest_batch=value)


@pytest.mark.parametrize("value", [np.int64(12), 12.0])
def test_largest_batch_is_of_any_kind(value):
    assert restore(rebuilt(observe(5, 4, 6, 0), batch_size=None), largest_batch=value).counts.sum() == 6


def test_an_unknown_batch_size_is_for_the_lattice_alone():
    seen = rebuilt(observe(6, 20, 4, 0), batch_size=None)
    for method in ("irlg", "uniform"):
        with pytest.raises(ValueError, match="batch_size: expected a whole number of at least 1, got None"):
            restore(seen, method)
    with pytest.raises(ValueError, match=r"largest_batch: expected at least the rank of the gradients, 4 .*, got 2"):
        restore(seen, largest_batch=2)
    embeddings, labels = torch.rand(60, 4).double(), torch.zeros(60, dtype=torch.long)
    head = linear(torch.rand(10, 4).double(), torch.rand(10).double())
    one_class = Observation.from_embeddings(embeddings, labels, head, divisor=80)
    with pytest.raises(ValueError, match=r"expected at least the K that ∇b and its divisor, 80\.0, ask for, got 32"):
        restore(replace(one_class, batch_size=None), largest_batch=32)


def test_a_method_is_held_to_what_it_declares(monkeypatch):
    seen = observe(6, 20, 4, 0)
    monkeypatch.setitem(METHODS, "told", Method("told", lambda observation, search: search, options=("search",)))
    assert restore(rebuilt(seen, batch_size=None), "told", search=False) is False
    with pytest.raises(ValueError, match="largest_batch: expected 256 for method 'told', got 9"):
        restore(seen, "told", largest_batch=9)
    monkeypatch.setitem(METHODS, "sized", Method("sized", lambda observation: observation, needs=frozenset({"size"})))
    assert restore(seen, "sized") is seen
    with pytest.raises(ValueError, match="batch_size: expected a whole number of at least 1, got None"):
        restore(rebuilt(seen, batch_size=None), "sized")


def test_many_are_restored_as_each_is_and_in_their_order():
    head = observe(20, 30, 9, 0)
    labels = [torch.randint(20, (size,), generator=torch.Generator().manual_seed(size)) for size in (3, 5, 9, 6)]
    many = [of_head(head, each) for each in labels]
    threads = torch.get_num_threads()
    for method, options in (("lattice", {"search": False}), ("irlg", {})):
        together = restore_many(many, method, threads=2, **options)
        assert all(
            torch.equal(a.counts, restore(b, method, **options).counts) for a, b in zip(together, many, strict=True)
        )
    assert torch.get_num_threads() == threads and restore_many([]) == []
    with ThreadPoolExecutor(2) as pool:  # PyTorch's number of threads is the process's: two calls would mix it up
        list(pool.map(lambda part: restore_many(part, method, threads=2, **options), [many, many]))
    assert torch.get_num_threads() == threads


def test_many_are_of_one_network():
    one, other = observe(6, 8, 4, 0), observe(6, 8, 4, 1)
    with pytest.raises(ValueError, match="observations: expected those of one network, got other weights in number 1"):
        restore_many([one, other])
    with pytest.raises(ValueError, match="method: expected one of"):
        restore_many([one], "svd")
    for wrong in (0, -1, 1.5, True):
        with pytest.raises(ValueError, match="threads: expected a whole number of at least 1, got"):
            restore_many([one], threads=wrong)


def of_head(seen, labels):
    embeddings = torch.rand(len(labels), seen.weight.shape[1], generator=torch.Generator().manual_seed(len(labels)))
    return Observation.from_embeddings(embeddings.to(seen.weight.dtype), labels, linear(seen.weight, seen.bias))
