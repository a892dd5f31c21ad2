"""What users run, in the fixture `checkout`."""

import os
import re
import subprocess
import sys
from pathlib import Path


def environment(checkout):
    """An activated environment in which `irlg` is that checkout's."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    # Over the network only where a person asks; and the interpreter's own warnings switch stays out.
    more = {"PATH": path, "VIRTUAL_ENV": sys.prefix, "PYTHONPATH": str(checkout), "IRLG_DOWNLOAD": "0"}
    return {**os.environ, **more}


def run_all(checkout, *options):
    command = ["./run_all.sh", "--profile", "smoke", *options]
    return subprocess.run(command, cwd=checkout, env=environment(checkout), capture_output=True, text=True)


def started(output):
    """The notebooks that a run says it has started, in order."""
    return re.findall(r"\d\d:\d\d:\d\d (\w+): started", output)  # two at one moment may share a line


def report(checkout):
    return (checkout / "figures" / "smoke" / "report.html").read_text(encoding="utf-8")
