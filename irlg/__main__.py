"""What the workflow does beside notebooks: `python -m irlg data | summary | readme`."""

import argparse
import json
import sys
import threading
import time
from pathlib import Path

from irlg.appendix.summary import summary
from irlg.artifact import records, report
from irlg.artifact.summary import as_markdown, failed, plain, stand_ins
from irlg.data.datasets import NAMES, POLICIES, open_images


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m irlg", description=__doc__)
    parser.add_argument("job", choices=("data", "summary", "readme"))
    parser.add_argument("--profile", default="quick")
    parser.add_argument("--policy", choices=POLICIES, default="auto")
    parser.add_argument("--data", default="")
    parser.add_argument("--out", type=Path, default=Path("data.json"), help="where `data` writes what it found")
    parser.add_argument("--only", default="", help="letters of the notebooks that `summary` is about")
    given = parser.parse_args()
    if given.job == "data":
        return prepare_data(given.out, given.policy, given.data)
    if given.job == "summary":
        return summarise(given.profile, given.only)
    table = as_markdown(summary(Path("figures/paper")), "notebooks/executed/paper/")
    readme = Path("README.md")
    records.write_text(readme, report.readme_with(table, readme.read_text(encoding="utf-8")))
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


def say(line: str) -> None:
    """Print a line of progress at once."""
    print(time.strftime("%H:%M:%S"), line, flush=True)


def _report(name: str, done: threading.Event) -> None:
    start = time.monotonic()
    while not done.wait(20):
        say(f"data: {name}, looking or downloading, {time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    sys.exit(main())
