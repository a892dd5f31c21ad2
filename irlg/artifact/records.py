"""Results as files: written whole or not at all, with where they came from beside them."""

import hashlib
import json
import os
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from irlg.artifact.claims import Claim

PACKAGES = ("irlg", "torch", "torchvision", "torchmetrics", "numpy", "pandas", "scipy", "matplotlib", "papermill")


def provenance(device: str) -> dict[str, Any]:
    """What ran this: commit, versions, machine. No path and no host name."""
    return {
        "commit": commit(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in PACKAGES},
        "system": f"{platform.system()} {platform.machine()}",
        "device": describe_device(device),
        "threads": torch.get_num_threads(),
    }


def from_index(out_dir: Path) -> str:
    """The way from the executed index to `out_dir`: a profile's lies in `notebooks/executed`, another beside it."""
    profile = out_dir.parts[:1] == ("figures",)
    return os.path.relpath(out_dir, Path("notebooks/executed", out_dir.name) if profile else Path()) + "/"


def threads(record: Mapping[str, Any]) -> str:
    """How many threads torch had, in words."""
    return f"{record['threads']} thread{'s' * (record['threads'] != 1)}"


def describe_device(device: str) -> str:
    """`"CPU"`, or the name of the GPU."""
    return torch.cuda.get_device_name() if device == "cuda" else "CPU"


def commit() -> str:
    """The checkout's commit, with `+changes` where package or notebooks differ from it."""
    here = Path(__file__).resolve().parents[2]
    code = ["irlg", ":(glob)notebooks/*"]
    try:
        head = git(here, "rev-parse", "--short=12", "HEAD")
        changed = git(here, "status", "--porcelain", "--", *code)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head + ("+changes" if changed else "")


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def write_text(path: Path, text: str) -> None:
    """Write `text` to a temporary name beside `path` and rename it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def write_csv(path: Path, frame: pd.DataFrame) -> None:
    """Write a tidy table, floats in full precision, as `write_text` does."""
    write_text(path, frame.to_csv(index=False, lineterminator="\n"))


def write_record(path: Path, record: Mapping[str, Any], claims: list[Claim]) -> None:
    """Write a notebook's record, the last of its files, as `write_text` does, with a digest of each of the others."""
    digests = {name: digest(path.with_name(name)) for name in record.get("files", ())}
    content = {**record, "digests": digests, "claims": [asdict(claim) for claim in claims]}
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def digest(path: Path) -> str:
    """A file's SHA-256, as `sha256sum` prints it."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def read_record(path: Path) -> dict[str, Any]:
    """Read what `write_record` wrote; `claims` as `Claim` objects."""
    record = json.loads(path.read_text(encoding="utf-8"))
    return {**record, "claims": [Claim(**claim) for claim in record["claims"]]}
