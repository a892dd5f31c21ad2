"""Models as people keep them: code that makes one with weights in a file, or a module that was saved whole."""

import ast
import importlib
import pickle
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from irlg.stateless import unwrapped_name

BROKEN = (pickle.UnpicklingError, RuntimeError, EOFError, AttributeError, ImportError, OSError, ValueError, KeyError)


def load_model(given: str, weights: Path | None = None, trust: bool = False) -> nn.Module:
    """The model of a file, or of `"module:name"`: a module there, or what a function or class of that name returns.

    **Arguments:** `given`: a file that `torch.save(model, ...)` wrote; or `"module:name"`, `"module:name(arguments)"`
    with literals for arguments, imported from the current folder too; `weights`: a file of its state dict, wrapped
    (DataParallel, torch.compile and their like) or not, read without running any code; `trust`: whether a file may run
    code as it is read, which a whole model needs.

    **Raises:** `ValueError` that says what does not fit.
    """
    if Path(given).is_file():
        model = _whole(Path(given), trust)
    elif ":" in given:
        model = _made(given)
    else:
        raise ValueError(f"model: expected a file or module:name, got {given!r}, and there is no such file")
    if not isinstance(model, nn.Module):
        hint = "; a state dict goes with --weights" if isinstance(model, Mapping) else ""
        raise ValueError(f"model: expected a torch.nn.Module from {given}, got {_what(model)}{hint}")
    if weights is not None:
        _load_weights(model, weights)
    return model


def read(name: str, path: Path, trust: bool = False) -> Any:
    """What `torch.save` wrote: tensors alone, unless `trust`ed. **Raises:** `ValueError` that begins with `name`."""
    if not path.is_file():
        raise ValueError(f"{name}: expected a file, and there is none at {path}")
    try:
        return torch.load(path, map_location="cpu", weights_only=not trust)
    except BROKEN as error:
        # Without what PyTorch says of its own arguments.
        reason = "" if isinstance(error, pickle.UnpicklingError) else f" ({type(error).__name__}: {_first_line(error)})"
        wanted = "what torch.save wrote" if trust else "tensors that torch.save wrote, and nothing else"
        raise ValueError(f"{name}: expected {wanted} in {path}{reason}") from error


def _whole(path: Path, trust: bool) -> Any:
    if not trust:
        raise ValueError(
            f"model: {path} may run any code as it is read; say --trust if you know who wrote it, or give module:name"
            " and --weights with its state dict"
        )
    return read("model", path, trust)


def _made(given: str) -> Any:
    place, _, call = given.partition(":")
    name, arguments, keywords = _parsed(call)
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    try:
        found = getattr(importlib.import_module(place), name)
    except (ImportError, AttributeError, ValueError, SyntaxError) as error:
        raise ValueError(f"model: {given!r} cannot be imported ({error})") from error
    if isinstance(found, nn.Module) or not callable(found):
        return found
    try:
        return found(*arguments, **keywords)
    except Exception as error:  # of any kind: it is the user's own code
        raise ValueError(f"model: {given} failed ({type(error).__name__}: {error})") from error


def _parsed(call: str) -> tuple[str, list[Any], dict[str, Any]]:
    """The name, the arguments and the keywords of `name` or `name(1, other=2)`."""
    wanted = f"model: expected module:name, or module:name(arguments) with plain numbers or strings, got {call!r}"
    try:
        tree = ast.parse(call, mode="eval").body
        if isinstance(tree, ast.Name):
            return tree.id, [], {}
        if not isinstance(tree, ast.Call) or not isinstance(tree.func, ast.Name):
            raise ValueError(wanted)
        keywords = {str(each.arg): ast.literal_eval(each.value) for each in tree.keywords}
        return tree.func.id, [ast.literal_eval(each) for each in tree.args], keywords
    except (ValueError, SyntaxError) as error:
        raise ValueError(wanted) from error


def _load_weights(model: nn.Module, path: Path) -> None:
    state = read("weights", path)
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"weights: expected a state dict in {path}, got {_what(state)}")
    own = model.state_dict()
    if not state.keys() <= own.keys():
        names = {unwrapped_name(name): name for name in own}
        state = {names.get(bare := unwrapped_name(name), bare): value for name, value in state.items()}
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"weights: {path} does not fit the model: {reason[:400]}") from error


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:200]


def _what(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"a dict with {', '.join(map(repr, list(value)[:4]))}{' …' if len(value) > 4 else ''}"
    return f"a {type(value).__name__}"
