"""What notebook D bears out of Figure 6, with the paper's figures beside its own."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from irlg.appendix.d_gradient_inversion.attacks import published
from irlg.appendix.d_gradient_inversion.steps import Step
from irlg.appendix.d_gradient_inversion.tables import Outcomes, gain, image_scores, means
from irlg.appendix.d_gradient_inversion.timing import inversion_seconds, term_seconds
from irlg.appendix.published import PAPER_FIGURE_6
from irlg.artifact.claims import Claim, on_real
from irlg.artifact.derived import Derived
from irlg.artifact.summary import Row
from irlg.artifact.tables import span

PARTS = {"CIFAR-100": "CIFAR-100", "MNIST": "MNIST (main text)"}  # the appendix's figure is of one of them
FEW = 6  # iterations that tell how long one takes on ResNet-18


def claims(dataset: str, data: str, outcomes: Outcomes, frame: pd.DataFrame) -> list[Claim]:
    """What the attacks on one network say of the paper's picture and of what it leaves out.

    **Arguments:** `dataset`, a key of `PAPER_FIGURE_6`; `data`, what the images' source says; `frame`, of `table`.
    A published figure is reproduced where ours, at the published iterations, is not below it.
    """
    return of_images(dataset, data, image_scores(outcomes), frame)


def of_images(dataset: str, data: str, images: pd.DataFrame, frame: pd.DataFrame) -> list[Claim]:
    """The same. **Arguments:** `images`, of `image_scores`."""
    shared, restored, steps = PAPER_FIGURE_6[dataset]
    own = frame.set_index("attack")
    taken = int(own.iterations["restored"])

    def against_paper(good: bool) -> str:
        verdict = "reproduced" if good else "below the paper"
        return on_real(data, verdict if taken >= steps else f"{taken:,} of {steps:,} iterations")

    def claim(text: str, paper: str, ours: str, n: int, interval: str, verdict: str) -> Claim:
        return Claim(f"Figure 6, {PARTS[dataset]}: {text}", paper, ours, n, interval, data, verdict)

    def against(attack: str, other: str, paper: str, text: str) -> Claim:
        mean, interval, n = gain(images, attack, other)
        if paper:
            verdict = against_paper(round(mean, 1) >= round(restored - shared, 1))
        else:
            word = "higher" if interval[0] > 0 else "lower" if interval[1] < 0 else "undecided"
            verdict = on_real(data, word if taken >= steps else f"{word} at {taken:,} iterations")
        return claim(text, paper or "not measured", f"{mean:+.2f} dB", n, span(*interval, 2), verdict)

    row = own.loc["restored"]
    psnr = row.psnr
    found = [
        claim(
            "PSNR with restored labels",
            f"{restored:.2f} dB",
            f"{psnr:.2f} dB",
            int(row.N),
            span(row.psnr_low, row.psnr_high, 2),
            against_paper(round(psnr, 1) >= round(restored, 1)),
        ),
        against(
            "restored",
            "joint-shared",
            f"{restored - shared:+.2f} dB",
            "restored labels against one soft label for the batch",
        ),
        against("restored", "joint", "", "restored labels against a soft label an image"),
        against(
            "tuned",
            "restored",
            "",
            f"tuned, {int(own.iterations['tuned']):,} iterations, against the paper's settings, {taken:,}",
        ),
    ]
    if "tuned, lattice labels" in own.index:
        found.append(against("tuned, lattice labels", "tuned", "", "tuned, lattice labels against Algorithm 1's"))
    if "feature maps" in own.index and not pd.isna(own.psnr["feature maps"]):
        ours = own.loc["feature maps"]
        verdict = "higher" if ours.psnr_low > restored else "below" if ours.psnr_high < restored else "undecided"
        found += [
            claim(
                f"PSNR from feature maps, {int(ours.iterations):,} iterations without second derivatives",
                f"{restored:.2f} dB",
                f"{ours.psnr:.2f} dB",
                int(ours.N),
                span(ours.psnr_low, ours.psnr_high, 2),
                on_real(data, verdict),
            ),
            claim(
                "gradient that the feature maps leave unexplained, at most 0.001",
                "n/a",
                f"{ours.residual:.0e}",
                int(ours.seeds),
                "worst batch",
                on_real(data, "holds" if ours.residual <= 1e-3 else "no"),
            ),
        ]
    if "tuned + embeddings" in own.index and not pd.isna(own.psnr["tuned + embeddings"]):
        found.append(against("tuned + embeddings", "tuned", "", "embeddings of the instances, against none, tuned"))
    return found


def full_claims(data: str, frame: pd.DataFrame) -> list[Claim]:
    """The published protocol in full, as far as it has come. **Arguments:** `frame`, of `table`, of `in_full`."""
    shared, restored, steps = PAPER_FIGURE_6["CIFAR-100"]
    found = []
    for row, paper in zip(frame.itertuples(), (shared, restored), strict=True):
        verdict = "reproduced" if round(row.psnr, 1) >= round(paper, 1) else "below the paper"
        if row.iterations < steps:
            verdict = f"{row.iterations:,} of {steps:,} iterations"
        found.append(
            Claim(
                claim=f"Figure 6, CIFAR-100: {row.attack}, {steps:,} iterations",
                paper=f"{paper:.2f} dB",
                ours=f"{row.psnr:.2f} dB",
                n=int(row.N),
                interval=span(row.psnr_low, row.psnr_high, 2),
                data=data,
                verdict=on_real(data, verdict),
            )
        )
    return found


def speed_claim(network: str, speed: Mapping[str, float], device: str, data: str) -> Claim:
    """How fast an iteration is beside the plain loop's: on a CPU not slower, on a GPU three times as fast.

    **Arguments:** `network`, its name; `speed`, of `timing.inversion_seconds`; `device`, "cpu" or "cuda".
    Where images differ by more than 0.1 dB without rounding, the comparison is of two different things. A stand-in
    takes as long as the images it stands for, so this is judged on one too.
    """
    least = 3 if device == "cuda" else 1
    ratio = round(speed["plain"] / speed["irlg"], 2)
    verdict = "holds" if ratio >= least else "slower"
    return Claim(
        claim=f"Figure 6's attack, {network}: times as fast as the plain loop, at least {least} on a {device.upper()}",
        paper="n/a",
        ours=f"{ratio:.2f} ({speed['irlg'] * 1e3:.2f} ms against {speed['plain'] * 1e3:.2f} ms an iteration)",
        n=3,
        interval=f"best of 3; PSNR {speed['difference']:+.2f} dB, in float64 {speed['in_float64']:+.2f} dB",
        data=data,
        verdict=verdict if abs(speed["in_float64"]) <= 0.1 else "differs",
    )


def speed_claims(digits: Step, photographs: Step, steps_mnist: int, steps_cifar: int, device: str) -> list[Claim]:
    """An iteration on each network, of so many at most, beside the plain loop's; and with embeddings beside without."""
    found = []
    few = published("CIFAR-100", min(FEW, steps_cifar))
    cases = (("FCN-3", digits, published("MNIST", min(200, steps_mnist))), ("ResNet-18", photographs, few))
    for network, step, config in cases:
        speed = inversion_seconds(step.model("eval"), step.originals, step.labels, config)
        found.append(speed_claim(network, speed, device, step.images.source))
    if photographs.instances("eval") is not None:
        found.append(term_claim(term_seconds(photographs, few), photographs.images.source))
    return found


def term_claim(seconds: Mapping[str, float], data: str) -> Claim:
    """What the embeddings cost an iteration. **Arguments:** `seconds`, of `timing.term_seconds`."""
    ratio = round(seconds["with"] / seconds["without"], 2)
    return Claim(
        claim="Figure 6's attack, ResNet-18: times as long with embeddings, at most 1.1",
        paper="n/a",
        ours=f"{ratio:.2f} ({seconds['with'] * 1e3:.0f} ms against {seconds['without'] * 1e3:.0f} ms an iteration)",
        n=3,
        interval="best of 3",
        data=data,
        verdict="holds" if ratio <= 1.1 else "slower",
    )


DERIVED = tuple(Derived(f"D_{name}", (f"D_images_{name}",), means, rtol=1e-6) for name in ("cifar100", "mnist"))


def claims_again(folder: Path, found: Sequence[Claim]) -> list[Claim]:
    """Those that follow from the tables in `folder`: all but speeds."""
    made = []
    for dataset in PAPER_FIGURE_6:
        name, data = _file_name(dataset), next(claim.data for claim in found if dataset in claim.claim)
        images, frame = pd.read_csv(folder / f"D_images_{name}.csv"), pd.read_csv(folder / f"D_{name}.csv")
        made += of_images(dataset, data, images, frame)
    if (folder / "D_in_full.csv").exists():
        made += full_claims(made[0].data, pd.read_csv(folder / "D_in_full.csv"))
    return made


def _file_name(dataset: str) -> str:
    return dataset.lower().replace("-", "")


def findings(folder: Path, claims: Sequence[Claim]) -> list[Row]:
    """For the summary: a row a dataset, restored labels and one soft label for the batch."""
    rows = []
    for dataset, (shared, restored, steps) in PAPER_FIGURE_6.items():
        own = pd.read_csv(folder / f"D_{_file_name(dataset)}.csv").set_index("attack")
        best = {"CIFAR-100": "feature maps", "MNIST": "tuned, lattice labels"}[dataset]
        best = best if best in own.index else "tuned"
        psnr, taken = own.psnr.map("{:.2f}".format), own.iterations.map("{:,}".format)
        here = f"{psnr['restored']} and {psnr['joint-shared']} dB at {taken['restored']}"
        here += "" if dataset == "MNIST" else _in_full(folder)
        here += f"; {best} {psnr[best]} at {taken[best]}"
        paper = f"restored labels {restored:.2f}, one soft label {shared:.2f} dB, {steps:,} iterations"
        rows.append(Row(paper, here, [claim for claim in claims if dataset in claim.data], PARTS[dataset]))
    return rows


def _in_full(folder: Path) -> str:
    """How far the published protocol has come, where it was begun."""
    if not (folder / "D_in_full.csv").exists():
        return ""
    own = pd.read_csv(folder / "D_in_full.csv").set_index("labels")
    psnr, taken = own.psnr.map("{:.2f}".format), own.iterations.map("{:,}".format)
    names = {"restored": "restored", "joint-shared": "soft"}
    of_each = ", ".join(f"{said} {psnr[name]} at {taken[name]}" for name, said in names.items())
    return f", one batch: {of_each}"
