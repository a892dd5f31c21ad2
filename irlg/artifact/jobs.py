"""Results that take long, kept on disk, so that an interrupted notebook goes on where it was.

`notebooks/batch.py` names the folder, `.run/jobs`, by the environment variable IRLG_JOBS. Without it nothing is kept.
A result is found again by its name and all that it was made of. What it was made with, its commit and device, lies
beside it; remove the folder to start anew.
"""

import hashlib
import os
import pickle
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Job:
    """Where a result is kept: `path`, or `None` for nowhere."""

    path: Path | None

    def read(self) -> Any:
        """The finished result, or `None`."""
        if self.path is None or not self.path.exists():
            return None
        try:
            return pickle.loads(self.path.read_bytes())
        except Exception as error:  # of any kind: what it was made of may be gone from the code
            raise ValueError(f"{self.path}: expected a result of this code's; remove it to start anew") from error

    def finish(self, result: Any) -> None:
        """Keep the finished result, and remove what was kept on the way."""
        if self.path is not None:
            self.write(self.path, result)
            for part in self.path.parent.glob(f"{self.path.stem}.*"):
                if part != self.path and part.suffix != ".tmp":
                    part.unlink(missing_ok=True)

    def part(self, ending: str) -> Path | None:
        """A file of this job's for what is kept on the way."""
        return None if self.path is None else self.path.with_suffix(f".{ending}")

    @staticmethod
    def write(path: Path, content: Any) -> None:
        """Write under a temporary name and rename."""
        temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")  # two notebooks may make the same
        temporary.write_bytes(pickle.dumps(content))
        temporary.replace(path)


def job(name: str, *made_of: object) -> Job:
    """The job of a name and of what its result is made of, told by `repr`."""
    folder = os.environ.get("IRLG_JOBS")
    if not folder:
        return Job(None)
    Path(folder).mkdir(parents=True, exist_ok=True)
    digest = hashlib.blake2b(repr(made_of).encode(), digest_size=8).hexdigest()
    return Job(Path(folder, f"{re.sub('[^a-z0-9]+', '-', name.lower())}-{digest}.result"))


def kept(name: str, make: Callable[[], T], *made_of: object) -> T:
    """What `make` returned when it was called for the same, or returns now."""
    place = job(name, *made_of)
    found: T | None = place.read()
    if found is None:
        found = make()
        place.finish(found)
    return found
