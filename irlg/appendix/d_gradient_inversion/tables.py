"""Figure 6's tables from the outcomes of attacks."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from irlg.appendix.d_gradient_inversion.attacks import Attack
from irlg.appendix.d_gradient_inversion.running import Outcome
from irlg.artifact import statistics
from irlg.artifact.tables import markdown, span

Outcomes = Mapping[int, Mapping[str, Outcome]]  # by seed, by attack


def image_scores(outcomes: Outcomes) -> pd.DataFrame:
    """One row a seed, attack and original: PSNR, SSIM and LPIPS."""
    parts = [
        outcome.scores.assign(image=range(len(outcome.scores)), attack=name, seed=seed)
        for seed, by_attack in outcomes.items()
        for name, outcome in by_attack.items()
    ]
    return pd.concat(parts, ignore_index=True)[["attack", "seed", "image", "psnr", "ssim", "lpips"]]


def traces(outcomes: Outcomes) -> pd.DataFrame:
    """One row a seed, attack and report: iteration, seconds, objective, mean matched PSNR."""
    parts = [
        pd.DataFrame(outcome.trace).assign(attack=name, seed=seed)
        for seed, by_attack in outcomes.items()
        for name, outcome in by_attack.items()
    ]
    return pd.concat(parts, ignore_index=True)


def means(images: pd.DataFrame) -> pd.DataFrame:
    """Matched PSNR and SSIM of `image_scores`, means over all images with 95 % bootstrap intervals: a row an attack."""
    rows = []
    for attack, group in images.groupby("attack", sort=False):
        # Without the batches whose gradient does not tell what the attack has to know.
        mine = group[group.psnr.notna()]
        psnr, ssim = (statistics.bootstrap(v) if len(v) else (np.nan, np.nan) for v in (mine.psnr, mine.ssim))
        rows.append(
            {
                "attack": attack,
                "N": len(mine),
                "psnr": mine.psnr.mean(),
                "psnr_low": psnr[0],
                "psnr_high": psnr[1],
                "ssim": mine.ssim.mean(),
                "ssim_low": ssim[0],
                "ssim_high": ssim[1],
                "lpips": mine.lpips.mean(),
                "psnr_by_seed": " ".join(f"{value:.2f}" for value in mine.groupby("seed").psnr.mean()),
            }
        )
    return pd.DataFrame(rows)


def table(outcomes: Outcomes, attacks: Sequence[Attack]) -> pd.DataFrame:
    """One row an attack: `means`, and what it knew and took."""
    scores, rows = means(image_scores(outcomes)).set_index("attack"), []
    for attack in attacks:
        all_runs = [by_attack[attack.name] for by_attack in outcomes.values()]
        runs = [run for run in all_runs if run.iterations] or all_runs
        rows.append(
            {
                "attack": attack.name,
                "labels": attack.labels,
                "iterations": min(run.iterations for run in runs),
                **scores.loc[attack.name].to_dict(),
                "exact": sum(run.exact for run in runs),
                "seeds": len(all_runs),
                "seconds": float(np.mean([run.seconds for run in runs])),
                "known": attack.known,
                "found": sum(not np.isnan(run.residual) for run in all_runs),
                "residual": max(run.residual for run in runs),
                "commit": " ".join(dict.fromkeys(run.commit for run in runs)),
            }
        )
    return pd.DataFrame(rows)


def view(frame: pd.DataFrame) -> str:
    """`table` as Markdown for readers."""
    rows = [
        {
            "attack": r.attack,
            "labels": r.labels,
            "labels right": "" if r.labels.startswith("joint") else f"{r.exact} of {r.seeds}",
            "knows": knows(r.known, r.found, r.seeds, r.residual),
            "iterations": f"{r.iterations:,}",
            "PSNR, dB [95 %]": f"{r.psnr:.2f} {span(r.psnr_low, r.psnr_high, 2)}",
            "by seed": r.psnr_by_seed,
            "SSIM [95 %]": f"{r.ssim:.3f} {span(r.ssim_low, r.ssim_high)}",
            "LPIPS": "n/a" if pd.isna(r.lpips) else f"{r.lpips:.3f}",
            "seconds": f"{r.seconds:.0f}",
            "images": r.N,
            "commit": r.commit,
        }
        for r in frame.itertuples()
    ]
    return markdown(pd.DataFrame(rows))


def knows(known: str, found: int, batches: int, residual: float) -> str:
    """What an attack knows, of how many batches, and what that leaves of the gradient."""
    if not known:
        return ""
    return f"{known}, {found} of {batches}" + (f", residual {residual:.0e}" if found else "")


def gain(images: pd.DataFrame, attack: str, other: str) -> tuple[float, tuple[float, float], int]:
    """By how many dB of PSNR one attack is above another, image by image.

    **Arguments:** `images`, of `image_scores`. **Returns:** the mean, its 95 % bootstrap interval, and
    the number of images.
    """
    frame = images.pivot(index=["seed", "image"], columns="attack", values="psnr")
    differences = (frame[attack] - frame[other]).dropna()
    return float(differences.mean()), statistics.bootstrap(differences), len(differences)


def worth(dataset: str, outcomes: Outcomes) -> str:
    """What restored labels are worth on the batches of a dataset, as Markdown."""
    exact = sum(runs["restored"].exact for runs in outcomes.values())
    lines = [
        f"**{dataset}**: Algorithm 1 restored {exact} of {len(outcomes)} batches exactly. PSNR with restored labels,"
        " against that with"
    ]
    for other in ("joint-shared", "joint", "true"):
        mean, (low, high), n = gain(image_scores(outcomes), "restored", other)
        lines.append(f"- `{other}`: {mean:+.2f} dB (95 % interval {low:+.2f} to {high:+.2f}, {n} images)")
    return "\n".join(lines)
