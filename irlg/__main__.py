"""What there is beside notebooks, as `irlg` or `python -m irlg`.

`audit` says what a server would learn of your own model's batches: see `irlg audit --help`. The others are
the workflow's. `verify` says of each committed result whether it is fine, stale (code has changed since) or wrong, and
why. It exits with 0 if all are fine, 1 if any is stale, 2 if any is wrong.
"""

import argparse
import json
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from irlg.appendix import documents
from irlg.appendix.summary import follows, summary
from irlg.artifact import again, records, report, verify
from irlg.artifact.summary import failed, plain, stand_ins
from irlg.auditing import command
from irlg.data.datasets import NAMES, POLICIES, open_images


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="irlg", description=__doc__)
    jobs = parser.add_subparsers(dest="job", required=True, metavar="audit | data | summary | readme | verify")
    command.add_arguments(jobs.add_parser("audit"))
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--profile", help="a folder of figures/: quick, but for `verify` paper")
    shared.add_argument("--policy", choices=POLICIES, default="auto")
    shared.add_argument("--data", default="")
    shared.add_argument("--out", type=Path, default=Path("data.json"), help="where `data` writes what it found")
    shared.add_argument("--only", default="", help="letters of the notebooks that `summary` is about")
    shared.add_argument("--quick", action="store_true", help="have `verify` run one cheap notebook again (seconds)")
    for name in ("data", "summary", "readme", "verify"):
        jobs.add_parser(name, parents=[shared])
    given = parser.parse_args(arguments)
    if given.job == "audit":
        return command.run(given)
    if given.job == "data":
        return prepare_data(given.out, given.policy, given.data)
    if given.job == "summary":
        return summarise(given.profile or "quick", given.only)
    if given.job == "verify":
        return verify_all(given.profile or "paper", given.quick)
    made = documents.blocks(Path("figures/paper"))
    for path in map(Path, documents.DOCUMENTS):
        records.write_text(path, report.filled(path.read_text(encoding="utf-8"), made))
    return 0


def prepare_data(out: Path, policy: str, directory: str) -> int:
    """Look for every dataset, download what can be, and write what was found."""
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
    print(f"\nNotebooks as they ran: notebooks/executed/{profile}/, first index.ipynb. Tables, pictures, records:")
    claims = Path("figures", profile, "claims.md")
    print(f"figures/{profile}/." + (f" Every claim, with intervals: {claims}" if claims.exists() else ""))
    return 1 if stopped else 0


def verify_all(profile: str, quick: bool) -> int:
    """Print what is fine, stale and wrong of a profile, and of documents if it is paper. **Returns:** exit status."""
    folder, items = Path("figures", profile), []

    def looked_at() -> Iterator[verify.Item]:
        yield from verify.verify(folder, follows)
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


if __name__ == "__main__":
    sys.exit(main())
