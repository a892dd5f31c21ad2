"""The command `irlg audit`: what a server would learn of your batches from the gradients of your model."""

import argparse
import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn

from irlg.auditing.audit import SEARCH_SECONDS, TRIALS, audit
from irlg.auditing.defence import KNOWN
from irlg.auditing.images import load_images
from irlg.auditing.saved import load_model
from irlg.stateless import unwrapped

EXAMPLE = "example: irlg audit 'torchvision.models:resnet18(num_classes=10)' --images photographs --size 64 -k 8"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    parser.description, parser.epilog = __doc__, EXAMPLE
    parser.add_argument(
        "model",
        help="module:name, or module:name(num_classes=10), of a model or of what makes it; or"
        " a file that torch.save(model, FILE) wrote, with --trust",
    )
    parser.add_argument("--weights", type=Path, metavar="FILE", help="a file with the model's state dict")
    parser.add_argument("--trust", action="store_true", help="let a saved model run code as it is read")
    parser.add_argument(
        "--images",
        type=Path,
        required=True,
        metavar="PATH",
        help="a folder with a folder a class; or a file that torch.save((images, labels), FILE) wrote",
    )
    parser.add_argument("--size", type=int, help="pixels of a side that a folder's images are resized and cropped to")
    parser.add_argument(
        "--mean", type=float, nargs="+", help="of pixels in [0, 1], 3 numbers, or 1 for grey images (0)"
    )
    parser.add_argument("--std", type=float, nargs="+", help="the same (1)")
    parser.add_argument("-k", "--batch-size", type=int, metavar="K", help="images of a batch (all of them)")
    parser.add_argument("--defence", metavar="NAME", help=f"what the client does about it: {', '.join(KNOWN)}")
    parser.add_argument("--mode", choices=("train", "eval"), default="train", help="of the network (train)")
    parser.add_argument("--trials", type=int, default=TRIALS, metavar="N", help=f"batches, if K is told ({TRIALS})")
    parser.add_argument("--seed", type=int, default=0, help="of batches, noise and all else that is random (0)")
    parser.add_argument(
        "--search-seconds",
        type=float,
        default=SEARCH_SECONDS,
        metavar="S",
        help=f"what a server spends on a batch at most, to find its images one by one ({SEARCH_SECONDS:g})",
    )
    parser.add_argument("--figure", type=Path, metavar="PATH", help="where to put a picture: .png, .svg or .pdf")


def run(given: argparse.Namespace) -> int:
    """Print the audit, and make its picture. **Returns:** the exit status, 2 where what was given does not fit."""
    try:
        _run(given)
    except (ValueError, OSError) as error:
        print(f"irlg audit: {error}", file=sys.stderr)
        return 2
    return 0


def _run(given: argparse.Namespace) -> None:
    if given.figure is not None and not given.figure.absolute().parent.is_dir():
        raise ValueError(f"figure: expected a path in a folder that is there, got {given.figure}")
    if given.figure is not None and given.figure.suffix not in (".png", ".svg", ".pdf"):
        raise ValueError(f"figure: expected a path that ends in .png, .svg or .pdf, got {given.figure}")
    images, labels = load_images(given.images, given.size, given.mean, given.std)
    torch.manual_seed(given.seed)
    model = load_model(given.model, given.weights, given.trust).train(given.mode == "train")
    inside = _inside(model)
    try:
        found = audit(
            model,
            images,
            labels,
            batch_size=given.batch_size,
            defence=given.defence,
            trials=given.trials,
            seed=given.seed,
            search_seconds=given.search_seconds,
        )
    except Exception as error:  # the model's own may be of any kind, and are mostly of a shape
        if not inside and not isinstance(error, RuntimeError | TypeError | IndexError | AssertionError):
            raise
        shape = tuple(images[torch.arange(1)].shape[1:])
        raise ValueError(
            f"model: failed on images of shape {shape} in {given.mode} mode ({type(error).__name__}: {error})"
        ) from error
    print(found)
    if given.figure is not None:
        found.figure().savefig(given.figure, dpi=150)
        print(f"\nPicture of the first batch: {given.figure}")


def _inside(model: nn.Module) -> list[nn.Module]:
    """Holds the model while it runs, and after it failed."""
    inside: list[nn.Module] = []

    def enter(module: nn.Module, inputs: Any) -> None:
        inside.append(module)

    def leave(module: nn.Module, inputs: Any, output: Any) -> None:
        inside.clear()

    body, _ = unwrapped(model)
    if not isinstance(body, torch.jit.ScriptModule):  # which is refused
        body.register_forward_pre_hook(enter)
        body.register_forward_hook(leave)
    return inside
