"""What the workflow does beside notebooks: `python -m irlg data | summary | readme`."""

import argparse
import json
import sys
import time
from pathlib import Path

from irlg import records, report
from irlg.data import NAMES, POLICIES, open_images


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m irlg", description=__doc__)
    parser.add_argument("job", choices=("data", "summary", "readme"))
    parser.add_argument("--profile", default="quick")
    parser.add_argument("--policy", choices=POLICIES, default="auto")
    parser.add_argument("--data", default="")
    given = parser.parse_args()
    if given.job == "data":
        return prepare_data(given.profile, given.policy, given.data)
    if given.job == "summary":
        return summarise(given.profile)
    table = report.claims_table(Path("figures/paper"))
    readme = Path("README.md")
    records.write_text(readme, report.readme_with(table, readme.read_text(encoding="utf-8")))
    return 0


def prepare_data(profile: str, policy: str, directory: str) -> int:
    """Look for every dataset, download what can be, and write what was found."""
    found = {}
    for name in NAMES:
        try:
            images = open_images(name, directory, policy)
        except (ValueError, FileNotFoundError) as error:  # the notebooks that need it will say so too
            found[name] = "none"
            print(time.strftime("%H:%M:%S"), f"data: {error}", flush=True)
        else:
            found[name] = images.source
            note = f" ({images.note})" if images.note else ""
            print(time.strftime("%H:%M:%S"), f"data: {images.source}{note}", flush=True)
    records.write_text(Path("figures", profile, "data.json"), json.dumps(found, indent=1) + "\n")
    return 0


def summarise(profile: str) -> int:
    """Print the claims table and what failed. **Returns:** 1 if anything did, else 0."""
    print(report.claims_table(Path("figures", profile)))
    failed = report.failures(profile)
    for name, error, partial in failed:
        print(f"\n{name} FAILED: {error}\n  as far as it came: {partial}")
    print(f"\nTables, pictures and records: figures/{profile}/; executed notebooks: notebooks/executed/{profile}/")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
