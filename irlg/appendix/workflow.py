"""The workflow beside notebooks: data before them; summary, documents and verification after.

What only some of these need is imported there: the page's libraries and torchvision take longer to load than a summary
to print, and `run_all.sh` calls one after the other.
"""

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from irlg.appendix.summary import follows, summary
from irlg.artifact import page, records, report
from irlg.artifact.summary import failed, plain, stand_ins


def write_documents() -> int:
    """Write the marked blocks of README and ARTIFACT by the committed records. **Returns:** 0."""
    from irlg.appendix import documents

    made = documents.blocks(Path("figures/paper"))
    for path in map(Path, documents.DOCUMENTS):
        records.write_text(path, report.filled(path.read_text(encoding="utf-8"), made))
    return 0


def prepare_data(out: Path, policy: str, directory: str) -> int:
    """Look for every dataset, download what can be, and write what was found."""
    from irlg.data.datasets import NAMES, open_images

    found = {}
    for name in NAMES:
        done = threading.Event()
        threading.Thread(target=_report, args=(name, done), daemon=True).start()
        try:
            images = open_images(name, directory, policy)
        except (ValueError, FileNotFoundError) as error:  # the notebooks that need it will say so too
            found[name] = "none"
            say(f"data: {error}")
        else:
            found[name] = images.source
            again = "; --force looks again" if images.note and policy == "auto" else ""
            say(f"data: {images.source}" + (f" ({images.note}{again})" if images.note else ""))
        done.set()
    records.write_text(out, json.dumps(found, indent=1) + "\n")
    return 0


def summarise(profile: str, only: str) -> int:
    """Print the summary, the claims and the notebooks that failed. **Returns:** 1 if a notebook did, else 0."""
    rows = summary(Path("figures", profile))
    print(*filter(None, (stand_ins(rows), plain(rows), failed(rows))), sep="\n\n")
    stopped = [failure for failure in report.failures(profile) if not only or failure[0][0] in f"{only}i"]
    for name, error, partial in stopped:
        print(f"\n{name} FAILED: {error}\n  as far as it came: {partial}")
    if (whole_page := Path("figures", profile, page.NAME)).exists():
        print(f"\nAll of it on one page, to begin with: {whole_page}", end="")
    print(f"\nNotebooks as they ran: notebooks/executed/{profile}/, first index.ipynb. Tables, pictures, records:")
    claims = Path("figures", profile, "claims.md")
    print(f"figures/{profile}/." + (f" Every claim, with intervals: {claims}" if claims.exists() else ""))
    return 1 if stopped else 0


def write_report(profile: str) -> int:
    """Write the page of a profile, with whatever has run. **Returns:** 0."""
    path = Path("figures", profile, page.NAME)
    records.write_text(path, made_report(profile))
    say(f"report: {path}, {path.stat().st_size / 1e6:.1f} MB")
    return 0


def made_report(profile: str) -> str:
    """The page of a profile."""
    from irlg.artifact.page import whole

    return whole.whole(Path(), profile, summary(Path("figures", profile)))


def verify_all(profile: str, quick: bool) -> int:
    """Print what is fine, stale and wrong of a profile, and of documents if it is paper. **Returns:** exit status."""
    from irlg.appendix import documents
    from irlg.artifact import again, verify
    from irlg.artifact.page import whole

    folder, items = Path("figures", profile), []

    def looked_at() -> Iterator[verify.Item]:
        yield from verify.verify(folder, follows)
        yield verify.whole_page(folder / page.NAME, lambda: made_report(profile), whole.made_with())
        if profile == "paper":
            yield from (verify.document(Path(name), lambda: documents.blocks(folder)) for name in documents.DOCUMENTS)
        if quick:
            yield again.run_again(folder)

    for item in looked_at():
        print(item, flush=True)
        items.append(item)
    print(f"\n{verify.summary(items)}")
    return max(verify.STATUS[item.verdict] for item in items)


def say(line: str) -> None:
    """Print a line of progress at once."""
    print(time.strftime("%H:%M:%S"), line, flush=True)


def _report(name: str, done: threading.Event) -> None:
    start = time.monotonic()
    while not done.wait(20):
        say(f"data: {name}, looking or downloading, {time.monotonic() - start:.0f} s")
