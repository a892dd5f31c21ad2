"""What every notebook does around its story: check its parameters, say what it is, write its files."""

import ast
import io
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib.style
import pandas as pd
import PIL.Image
import torch
from IPython.display import Image, Markdown, display
from matplotlib.figure import Figure
from PIL.PngImagePlugin import PngInfo

from irlg.artifact import latex, records, style
from irlg.artifact.claims import Claim
from irlg.data.datasets import POLICIES, ImageSet, open_images

# What a parameter may be: a whole number in a range, one of some words, or any text.
Allowed = range | tuple[str, ...] | type[str]

COMMON: dict[str, Allowed] = {
    "seed": range(2**31),
    "device": ("auto", "cpu", "cuda"),
    "data_dir": str,
    "data_policy": POLICIES,
    "out_dir": str,
}


class Run:
    """One execution of a notebook. Its first cell makes one, its last cell calls `finish`."""

    def __init__(self, name: str, title: str) -> None:
        self.name, self.title = name, title
        matplotlib.style.use(style.SHEET)
        self._start = time.monotonic()
        self._claim = display(Markdown(f"# {title}\n\n*Running …*"), display_id=True)
        self._sources: list[str] = []
        self._files: list[str] = []

    def check(self, namespace: Mapping[str, Any], *common: str, **own: Allowed) -> None:
        """Refuse a parameter that is unknown, of the wrong type or out of range.

        **Arguments:** `namespace`: the notebook's `globals()`; `common`: which parameters of
        `COMMON` it takes beside `out_dir`; `own`: its own parameters and what they may be.
        **Raises:** `ValueError` naming the parameter, what came and what is allowed.
        """
        known = {**own, **{name: COMMON[name] for name in (*common, "out_dir")}}
        for name in _injected(namespace.get("In", [])):
            if name not in known:
                raise ValueError(
                    f"unknown parameter {name!r} (= {namespace.get(name)!r}); this notebook takes {', '.join(known)}"
                )
        for name, kind in known.items():
            _check_value(name, namespace[name], kind)
        prefix = os.environ.get("IRLG_PREFIX", sys.prefix)
        if prefix != sys.prefix:
            raise RuntimeError(f"the kernel runs in {sys.prefix}, but papermill in {prefix}")

        device = namespace.get("device", "cpu")
        if device == "cuda" and not torch.cuda.is_available():
            raise ValueError("device: got 'cuda', but there is no CUDA GPU; 'auto' and 'cpu' are allowed")
        self.device = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
        self._data = (namespace.get("data_dir", ""), namespace.get("data_policy", "auto"))
        hidden = ("data_dir", "out_dir", "device")  # places, and what provenance says better
        self._parameters = {name: namespace[name] for name in known if name not in hidden}
        self.out_dir = Path(namespace["out_dir"])
        self._record = self.out_dir / f"{self.name}.json"
        self._record.unlink(missing_ok=True)  # a run that fails leaves no record, not an old one
        self._provenance = records.provenance(self.device)
        display(Markdown(self._describe()))

    def open(self, name: str) -> ImageSet:
        """Open a dataset under the notebook's data parameters, and remember it for the record."""
        images = open_images(name, *self._data)
        self._sources.append(images.source)
        note = f" ({images.note})" if images.note else ""
        display(Markdown(f"Data: **{images.source}**, {len(images.labels):,} images{note}."))
        return images

    def figure(self, figure: Figure, stem: str, caption: str, shown: bool = True) -> None:
        """Save a picture as PNG, SVG and PDF, show it (or else link to it), and say what it shows."""
        self.out_dir.mkdir(parents=True, exist_ok=True)
        path = self._file(f"{stem}.png")
        # What it shows goes with the file; without software's version and date two runs write the same bytes.
        drawn, about = io.BytesIO(), PngInfo()
        about.add_text("Description", caption)
        figure.savefig(drawn, metadata={"Software": None})
        nothing = dict.fromkeys(("CreationDate", "Creator", "Producer"))
        figure.savefig(self._file(f"{stem}.svg"), metadata={"Description": caption, "Date": None, "Creator": None})
        figure.savefig(self._file(f"{stem}.pdf"), metadata={"Subject": caption, **nothing})
        picture = PIL.Image.open(drawn).convert("RGB")
        grey = picture.convert("L")
        small = grey if grey.convert("RGB") == picture else picture
        small.save(path, dpi=picture.info["dpi"], optimize=True, pnginfo=about)
        if shown:
            width = round(figure.get_figwidth() * 96)
            display(Image(data=path.read_bytes(), width=width, alt=caption), Markdown(f"*{caption}*"))
        else:
            display(Markdown(f"*[{caption}]({records.from_index(self.out_dir)}{path.name})*"))

    def table(self, frame: pd.DataFrame, view: str, stem: str, caption: str) -> None:
        """Save a table as CSV in full precision and its view as Markdown and as LaTeX; show the view."""
        text = f"{caption}\n\n{view}\n"
        records.write_csv(self._file(f"{stem}.csv"), frame)
        records.write_text(self._file(f"{stem}.md"), text)
        records.write_text(self._file(f"{stem}.tex"), latex.booktabs(view, caption))
        display(Markdown(text))

    def trials(self, frame: pd.DataFrame, stem: str) -> None:
        """Save per-trial rows, the source of the tables."""
        records.write_csv(self._file(f"{stem}.csv"), frame)

    def page(self, text: str, stem: str) -> None:
        """Save Markdown to which the notebook only links."""
        records.write_text(self._file(f"{stem}.md"), text + "\n")

    def finish(self, what: str, n: int, claims: list[Claim]) -> None:
        """Fill the claim line at the top, and write the record, last of all files."""
        seconds = round(time.monotonic() - self._start, 1)
        record = {
            "notebook": self.name,
            "title": self.title,
            "what": what,
            "n": n,
            "seconds": seconds,
            "data": self._sources,
            "parameters": self._parameters,
            **self._provenance,
            "files": self._files,
        }
        records.write_record(self._record, record, claims)
        line = f"**{what}** N = {n:,}; {seconds:.0f} s on {self._describe()}"
        if self._claim is not None:
            self._claim.update(Markdown(f"# {self.title}\n\n{line}"))

    def _file(self, name: str) -> Path:
        self._files.append(name)
        return self.out_dir / name

    def _describe(self) -> str:
        about = self._provenance
        versions = ", ".join(f"{name} {v}" for name, v in about["versions"].items())
        return (
            f"{about['device']} ({records.threads(about)}, {about['system']}); Python {about['python']},"
            f" {versions}; commit {about['commit']}."
        )


def _injected(cells: list[str]) -> set[str]:
    """The names that papermill's last injected cell sets, from IPython's history of cells."""
    source = next((cell for cell in reversed(cells) if cell.startswith("# Parameters\n")), "")
    assignments = [node for node in ast.parse(source).body if isinstance(node, ast.Assign)]
    return {target.id for node in assignments for target in node.targets if isinstance(target, ast.Name)}


def _check_value(name: str, value: Any, allowed: Allowed) -> None:
    if isinstance(allowed, range):
        fits = isinstance(value, int) and not isinstance(value, bool) and value in allowed
        expected = f"a whole number from {allowed.start} to {allowed.stop - 1}"
    elif isinstance(allowed, tuple):
        fits, expected = value in allowed, f"one of {', '.join(map(repr, allowed))}"
    else:
        fits, expected = isinstance(value, allowed), "text"
    if not fits:
        raise ValueError(f"parameter {name}: expected {expected}, got {value!r}")
