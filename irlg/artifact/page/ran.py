"""A notebook as it ran, in pieces: its text, its code, and what came out."""

import base64
import hashlib
import io
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import PIL.Image

from irlg.artifact.page.text import Text, formula, plain_table

CSS_PIXELS = 96 / 150  # of a dot of a picture, which `Run.figure` draws with 150 an inch


@dataclass(frozen=True)
class Piece:
    """A piece of a notebook: `body` is HTML where it is text, else plain; a picture's is its place in the page."""

    kind: Literal["text", "code", "printed", "picture"]
    body: str
    caption: str = ""


@dataclass(frozen=True)
class Picture:
    """A picture of a notebook: its file's name, its bytes as `data:` URI, and what it shows, in Markdown."""

    name: str
    uri: str
    caption: str
    width: int
    height: int

    @property
    def alt(self) -> str:
        """What it shows, as plain text."""
        return re.sub(r"[`*$]", "", self.caption)


def cells(path: Path) -> list[dict[str, Any]]:
    """The cells of a notebook, none where there is no notebook; sources and outputs as whole texts."""
    if not path.exists():
        return []
    found = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [{**cell, "source": "".join(cell["source"])} for cell in found]


def shown(cell: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """What came out of a cell, each with `data` as whole texts by MIME type."""
    for output in cell.get("outputs", ()):
        data = {kind: "".join(text) for kind, text in output.get("data", {}).items() if isinstance(text, str | list)}
        yield {**output, "data": data, "text": "".join(output.get("text", ""))}


def picture(path: Path) -> Picture:
    """A picture of a record; what it shows stands in the file, where `Run.figure` leaves it."""
    return _picture(path.name, path.read_bytes(), path.name)


def pieces(notebook: list[dict[str, Any]], text: Text, places: Mapping[str, str], commit: str) -> Iterator[Piece]:
    """The pieces of a notebook in order; cells of code between which there is nothing are one piece.

    **Arguments:** `places`: the pictures that the page has elsewhere, digest to name: there is a link to them;
    `commit`: that of the record. Lines that end with it say what ran the notebook, which the page says at its end.
    """
    code: list[str] = []
    for cell in notebook:
        if cell["cell_type"] == "markdown":
            after = [Piece("text", text.block(cell["source"]))]
        else:
            code.append(cell["source"])
            after = [piece for output in shown(cell) for piece in _output(output, text, places, f"commit {commit}.")]
        if after and code:
            yield Piece("code", "\n\n\n".join(code))
            code = []
        yield from after
    if code:
        yield Piece("code", "\n\n\n".join(code))


def _output(output: dict[str, Any], text: Text, places: Mapping[str, str], end: str) -> Iterator[Piece]:
    data = output["data"]
    if output["output_type"] == "error":
        yield Piece("printed", f"{output['ename']}: {output['evalue']}")
    elif output["output_type"] == "stream":
        yield Piece("printed", output["text"])
    elif "image/png" in data:
        alt, digest = _alt(output), _digest(data["image/png"])
        content = base64.b64decode(data["image/png"])
        place = f"#{places[digest]}" if digest in places else _picture("", content, alt).uri
        yield Piece("picture", place, alt or places.get(digest, "a picture"))
    elif "text/html" in data:
        yield Piece("text", plain_table(data["text/html"]))
    elif "text/latex" in data:
        yield Piece("text", formula(data["text/latex"].strip().strip("$")))
    elif "text/markdown" in data:
        if not data["text/markdown"].rstrip().endswith(end):
            yield Piece("text", text.block(data["text/markdown"]))
    elif "text/plain" in data:
        yield Piece("printed", data["text/plain"])


def _picture(name: str, content: bytes, otherwise: str) -> Picture:
    with PIL.Image.open(io.BytesIO(content)) as image:
        (width, height), caption = image.size, image.info.get("Description", otherwise)
    uri = f"data:image/png;base64,{base64.b64encode(content).decode()}"
    return Picture(name, uri, caption, round(width * CSS_PIXELS), round(height * CSS_PIXELS))


def _alt(output: Mapping[str, Any]) -> str:
    return output.get("metadata", {}).get("image/png", {}).get("alt", "")


def _digest(encoded: str) -> str:
    return hashlib.sha256(base64.b64decode(encoded)).hexdigest()
