# The notebooks as jobs: `./run_all.sh` calls this, and so may anything that has the environment:
#   snakemake --cores 2 --config profile=quick device=cpu only=CF
import os
import sys
from pathlib import Path

profile = config.get("profile", "quick")
device = config.get("device", "auto")
policy = config.get("policy", "auto")
data = os.path.abspath(str(config.get("data") or "") or os.environ.get("IRLG_DATA") or "data")
only = str(config.get("only") or "")
jobs = int(config.get("jobs") or 1)

package = sorted(str(path) for path in Path(workflow.basedir, "irlg").iterdir() if path.is_file())
notebooks = sorted(path.stem for path in Path("notebooks").glob("[A-Z]_*.ipynb"))
unknown = set(only) - {name[0] for name in notebooks}
if unknown:
    sys.exit(f"--only {only}: no notebook {' '.join(sorted(unknown))}; there are {' '.join(name[0] for name in notebooks)}")
chosen = [name for name in notebooks if not only or name[0] in only]
record = f"figures/{profile}/{{name}}.json"
executed = f"notebooks/executed/{profile}/{{name}}.ipynb"
options = f"--profile {profile} --policy {policy} --data '{data}'"


# The data are looked at again when files have come since. Their ctime tells, which unpacking and downloading
# cannot set back; a parameter of the rule would change with the rule's own download.
found = Path(f"figures/{profile}/data.json")
places = ("MNIST/raw", "cifar-100-python", "imagenet-compatible/val", "imagenet/train", "train")
files = [path for place in places for path in (Path(data, place), *Path(data, place).glob("*")) if path.exists()]
if found.exists() and any(path.stat().st_ctime > found.stat().st_mtime for path in files):
    found.unlink()


wildcard_constraints:
    name="[A-Za-z]_?[a-z0-9_]+",

localrules: all, data

rule all:
    input:
        expand([record, executed], name=[*chosen, "index"]),

rule data:
    output:
        f"figures/{profile}/data.json",
    params:
        options=options,
    shell:
        "{sys.executable} -m irlg data {options}"

rule notebook:
    input:
        notebook="notebooks/{name}.ipynb",
        batch=["notebooks/batch.py", "notebooks/profiles.yaml"],
        package=package,
        data=f"figures/{profile}/data.json",
        others=lambda wildcards: expand(record, name=chosen) if wildcards.name == "index" else [],
    output:
        record=record,
        executed=executed,
    params:
        options=options,
        device=device,
    threads: max(1, workflow.cores // jobs)
    shell:
        "{sys.executable} notebooks/batch.py {wildcards.name} {options} --device {device}"
