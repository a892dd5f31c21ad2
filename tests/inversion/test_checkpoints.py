import pickle

import numpy as np
import pytest
import torch

import irlg
from tests.inversion.problems import settings, small_problem


@pytest.mark.parametrize("labels", [None, "joint"])
@pytest.mark.parametrize("stop", [(0, 10), (1, 20)])
def test_a_killed_run_goes_on_bit_for_bit(tmp_path, labels, stop):
    config, path = settings(restarts=2), tmp_path / "state.pt"
    whole = irlg.invert(*small_problem(labels), config)

    def kill(progress):
        if (progress.restart, progress.iteration) == stop:  # its checkpoint is written
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        irlg.invert(*small_problem(labels), config, progress=kill, checkpoint=path)
    seen = []
    resumed = irlg.invert(
        *small_problem(labels), config, progress=lambda p: seen.append((p.restart, p.iteration)), checkpoint=path
    )
    assert seen[0] == stop
    assert torch.equal(resumed.images, whole.images) and torch.equal(resumed.objectives, whole.objectives)
    assert torch.equal(resumed.labels, whole.labels) and resumed.restart == whole.restart
    again = irlg.invert(*small_problem(labels), config, checkpoint=path)  # finished: nothing is left to do
    assert torch.equal(again.images, whole.images)
    with pytest.raises(ValueError, match="is of another inversion"):
        irlg.invert(*small_problem(labels), settings(restarts=2, seed=1), checkpoint=path)


def foreign(path, content):
    if content is None:
        path.mkdir()
    elif isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)


@pytest.mark.parametrize(
    "content",
    [None, b"", b"text", b"PK\x03\x04", pickle.dumps({"key": 1}), {"key": 1}, [1], torch.zeros(2), np.zeros(2)],
)
def test_what_is_no_checkpoint_is_named_and_left(tmp_path, content):
    path = tmp_path / "state.pt"
    foreign(path, content)
    before = None if content is None else path.read_bytes()
    with pytest.raises(ValueError, match=r"checkpoint: expected a file that an inversion wrote, got '.*state\.pt'"):
        irlg.invert(*small_problem(), settings(), checkpoint=path)
    assert path.is_dir() if before is None else path.read_bytes() == before


def test_a_truncated_checkpoint_is_named(tmp_path):
    path = tmp_path / "state.pt"
    irlg.invert(*small_problem(), settings(), checkpoint=path)
    whole = path.read_bytes()
    for length in (1, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"checkpoint: .*state\.pt', which is damaged or of another kind"):
            irlg.invert(*small_problem(), settings(), checkpoint=path)


@pytest.mark.parametrize("change", ["gradient", "parameter", "buffer"])
def test_another_gradient_of_equal_norms_or_another_model_is_another_inversion(tmp_path, change):
    path = tmp_path / "state.pt"
    model, gradient, labels, shape = small_problem()
    irlg.invert(model, gradient, labels, shape, settings(), checkpoint=path)
    if change == "gradient":
        gradient = [*gradient[:-1], gradient[-1].flip(0)]
    elif change == "parameter":
        model[0].bias.data[0] += 1
    else:
        model[1].running_mean[0] += 1
    with pytest.raises(ValueError, match=r"checkpoint: .* is of another inversion"):
        irlg.invert(model, gradient, labels, shape, settings(), checkpoint=path)
