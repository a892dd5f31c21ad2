# The notebooks as jobs: `./run_all.sh` calls this, and so may anything that has the environment:
#   snakemake --cores 2 --config profile=quick device=cpu only=CF
import os
import shlex
import sys
from pathlib import Path

profile = config.get("profile", "quick")
device = config.get("device", "auto")
policy = config.get("policy", "auto")
data = os.path.abspath(str(config.get("data") or "") or os.environ.get("IRLG_DATA") or "data")
only = str(config.get("only") or "")

notebooks = sorted(path.stem for path in Path("notebooks").glob("[A-Z]_*.ipynb"))
unknown = set(only) - {name[0] for name in notebooks}
if unknown:
    sys.exit(f"--only {only}: no notebook {' '.join(sorted(unknown))}; there are {' '.join(name[0] for name in notebooks)}")
chosen = [name for name in notebooks if not only or name[0] in only]
needs_data = [name for name in notebooks if "data_policy" in Path(f"notebooks/{name}.ipynb").read_text(encoding="utf-8")]
record = f"figures/{profile}/{{name}}.json"
executed = f"notebooks/executed/{profile}/{{name}}.ipynb"
# Committed results may lie in these places before anything has run here; what has run here is in .run, which is not
# committed.
ran = f".run/{profile}/{{name}}"
found = f".run/{profile}/data.json"
python = shlex.quote(sys.executable)
where = f"--policy {policy} --data {shlex.quote(data)}"

# The data are looked at again when files have come since. Their ctime tells, which unpacking and downloading
# cannot set back; a parameter of the rule would change with the rule's own download.
places = ("MNIST/raw", "cifar-100-python", "imagenet-compatible/val", "imagenet/train")
files = [path for place in places for path in (Path(data, place), *Path(data, place).glob("*")) if path.exists()]
if Path(found).exists() and any(path.stat().st_ctime > Path(found).stat().st_mtime for path in files):
    Path(found).unlink()


def package(name):
    """The files of irlg/ that a notebook depends on: not another's own part of the appendix, nor what reads records."""
    own = {*map(str.lower, notebooks), "report", "summary", "documents", "page", "verify", "again", "code"}
    others = {"page"} if name == "index" else own - {name.lower()}
    here = Path(workflow.basedir, "irlg")
    files = [path.relative_to(here) for path in here.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    return sorted(str(here / path) for path in files if others.isdisjoint(Path(part).stem for part in path.parts))


wildcard_constraints:
    name="[A-Za-z]_?[a-z0-9_]+",

localrules: all, data, report

rule all:
    input:
        expand([record, executed, ran], name=[*chosen, "index"]),
        f"figures/{profile}/report.html",
        f".run/{profile}/report.html",

rule data:
    output:
        found,
    params:
        where=where,
    shell:
        "{python} -m irlg data {params.where} --out {output}"

rule notebook:
    input:
        notebook="notebooks/{name}.ipynb",
        batch=["notebooks/batch.py", "notebooks/profiles.yaml"],
        package=lambda wildcards: package(wildcards.name),
        data=lambda wildcards: [found] if wildcards.name in needs_data else [],
        others=lambda wildcards: expand([record, ran], name=chosen) if wildcards.name == "index" else [],
    output:
        record=record,
        executed=executed,
        ran=touch(ran),
    params:
        options=f"--profile {profile} {where}",
        device=device,
    threads: int(config.get("threads") or os.cpu_count())
    shell:
        "{python} notebooks/batch.py {wildcards.name} {params.options} --device {params.device}"

rule report:
    input:
        expand([record, executed, ran], name=[*chosen, "index"]),
        "README.md",
        [str(path) for path in Path(workflow.basedir, "irlg/artifact/page").glob("*.*")],
    output:
        f"figures/{profile}/report.html",
        touch(f".run/{profile}/report.html"),
    params:
        profile=profile,
    shell:
        "{python} -m irlg report --profile {params.profile}"
