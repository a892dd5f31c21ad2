"""What there is beside notebooks, as `irlg` or `python -m irlg`.

`audit` says what a server would learn of your own model's batches. The others are the workflow's, in a checkout.
`irlg JOB --help` says what a job takes.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from irlg.auditing import command

PROFILES = Path("notebooks/profiles.yaml")
JOBS = {
    "audit": "what a server would learn of your own model's batches",
    "data": "look for every dataset, and download what can be",
    "summary": "print what is found, the claims, and the notebooks that failed",
    "readme": "write the marked blocks of README and ARTIFACT by the records of the paper profile",
    "report": "write the page of a profile, with whatever has run",
    "verify": "say of each committed result whether it is fine, stale (code has changed since) or wrong, and why",
}


def main(arguments: Sequence[str] | None = None) -> int:
    given = _parser().parse_args(arguments)
    try:
        status = command.run(given) if given.job == "audit" else _of_workflow(given)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever reads it has read enough: nothing is left to be flushed at the end either
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return status


def _of_workflow(given: argparse.Namespace) -> int:
    try:
        if given.job != "data":
            _check(given.profile, given.only)
        return _done(given)
    except (ValueError, FileNotFoundError) as error:
        print(f"irlg {given.job}: {error}", file=sys.stderr)
        return 2


def _done(given: argparse.Namespace) -> int:
    from irlg.appendix import workflow  # which needs what notebooks are run with; the library alone has not got it

    if given.job == "data":
        return workflow.prepare_data(given.out, given.policy, given.data)
    if given.job == "summary":
        return workflow.summarise(given.profile, given.only)
    if given.job == "report":
        return workflow.write_report(given.profile)
    if given.job == "verify":
        return workflow.verify_all(given.profile, given.quick)
    return workflow.write_documents()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="irlg", description=__doc__)
    parser.set_defaults(profile="paper", only="")  # of jobs that are not asked
    jobs = parser.add_subparsers(dest="job", required=True, metavar="JOB")
    each = {
        name: jobs.add_parser(name, help=what, description=f"{what[0].upper()}{what[1:]}.")
        for name, what in JOBS.items()
    }
    command.add_arguments(each["audit"])
    for name, default in (("summary", "quick"), ("report", "quick"), ("verify", "paper")):
        each[name].add_argument("--profile", default=default, help=f"one of {PROFILES} ({default})")
    each["summary"].add_argument("--only", default="", metavar="LETTERS", help="of notebooks whose failures are named")
    each["data"].add_argument(
        "--policy",
        choices=("auto", "real", "stand-in"),
        default="auto",
        help="auto lets a stand-in replace data that are missing, real refuses, stand-in looks for nothing (auto)",
    )
    each["data"].add_argument("--data", default="", metavar="DIR", help="where datasets lie or go (IRLG_DATA, or data)")
    each["data"].add_argument(
        "--out", type=Path, default=Path("data.json"), metavar="FILE", help="where to write what was found (data.json)"
    )
    each["verify"].add_argument("--quick", action="store_true", help="run one cheap notebook again too (seconds)")
    each["verify"].epilog = "It exits with 0 if all are fine, 1 if any is stale, 2 if any is wrong."
    return parser


def _check(profile: str, only: str) -> None:
    """**Raises:** `ValueError` where this is no checkout, or there is no such profile or notebook."""
    if not PROFILES.is_file():
        raise ValueError(f"expected to be called in a checkout, and there is no {PROFILES} in {Path.cwd()}")
    import yaml  # which the library alone has not got

    profiles = list(yaml.safe_load(PROFILES.read_text(encoding="utf-8")))
    if profile not in profiles:
        raise ValueError(f"profile: expected one of {', '.join(profiles)}, got {profile!r}")
    letters = sorted(path.name[0] for path in PROFILES.parent.glob("[A-Z]_*.ipynb"))
    if not set(only) <= set(letters):
        raise ValueError(f"only: expected letters of {''.join(letters)}, got {only!r}")


if __name__ == "__main__":
    sys.exit(main())
