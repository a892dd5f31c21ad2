"""What there is beside notebooks, as `irlg` or `python -m irlg`.

`audit` says what a server would learn of your own model's batches: see `irlg audit --help`. The others are the
workflow's, in a checkout. `verify` says of each committed result whether it is fine, stale (code has changed since) or
wrong, and why. It exits with 0 if all are fine, 1 if any is stale, 2 if any is wrong.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from irlg.auditing import command


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="irlg", description=__doc__)
    jobs = parser.add_subparsers(dest="job", required=True, metavar="audit | data | summary | readme | report | verify")
    command.add_arguments(jobs.add_parser("audit"))
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--profile", help="a folder of figures/: quick, but for `verify` paper")
    shared.add_argument("--policy", default="auto", help="auto, real or stand-in, for `data`")
    shared.add_argument("--data", default="")
    shared.add_argument("--out", type=Path, default=Path("data.json"), help="where `data` writes what it found")
    shared.add_argument("--only", default="", help="letters of the notebooks that `summary` is about")
    shared.add_argument("--quick", action="store_true", help="have `verify` run one cheap notebook again (seconds)")
    for name in ("data", "summary", "readme", "report", "verify"):
        jobs.add_parser(name, parents=[shared])
    given = parser.parse_args(arguments)
    if given.job == "audit":
        return command.run(given)

    from irlg.appendix import workflow  # which needs what notebooks are run with; the library alone has not got it

    if given.job == "data":
        return workflow.prepare_data(given.out, given.policy, given.data)
    if given.job == "summary":
        return workflow.summarise(given.profile or "quick", given.only)
    if given.job == "report":
        return workflow.write_report(given.profile or "quick")
    if given.job == "verify":
        return workflow.verify_all(given.profile or "paper", given.quick)
    return workflow.write_documents()


if __name__ == "__main__":
    sys.exit(main())
