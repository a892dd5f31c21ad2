"""Tables that follow from rows which lie beside them: made again, and compared with what was committed."""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from irlg.artifact.claims import Claim


@dataclass(frozen=True)
class Derived:
    """A table of a notebook's, `stem`.csv, that `make` makes of other files of its folder, `sources` without .csv.

    `view` of it stands in `stem`.md. A table may have more columns than `make` knows of.
    `rtol`: more where the rows were in float32.
    """

    stem: str
    sources: tuple[str, ...]
    make: Callable[..., pd.DataFrame]
    view: Callable[[pd.DataFrame], str] | None = None
    rtol: float = 1e-12

    def difference(self, folder: Path) -> str:
        """How the table in `folder` is not that of its sources, as file or as shown; empty where it is."""
        made = self.make(*(pd.read_csv(folder / f"{source}.csv") for source in self.sources))
        committed = pd.read_csv(folder / f"{self.stem}.csv")
        read = pd.read_csv(io.StringIO(made.to_csv(index=False)))  # as the committed one: "11.25" is a number again
        if missing := [column for column in made if column not in committed]:
            return f"has no column {', '.join(missing)}"
        try:
            pd.testing.assert_frame_equal(read, committed[list(read)], check_dtype=False, rtol=self.rtol)
        except AssertionError as error:
            return " ".join(str(error).split())
        if self.view and self.view(made) not in (folder / f"{self.stem}.md").read_text(encoding="utf-8"):
            return f"{self.stem}.md does not show it"
        return ""


@dataclass(frozen=True)
class Follows:
    """What of a notebook can be made again of its rows: tables, and of the `claims` in its record those that follow."""

    tables: Sequence[Derived]
    claims: Callable[[Path, Sequence[Claim]], list[Claim]]
