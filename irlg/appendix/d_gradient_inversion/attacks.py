"""The attacks that appendix D compares: which labels they are given, what else they know, and their settings."""

from dataclasses import dataclass, replace

from irlg.inversion import FROM_FEATURES, InversionConfig

REPORTS = 64  # of an attack, at most, beside that of its start
OFTEN = 100  # iterations between two reports at most: on two cores a minute or two


@dataclass(frozen=True)
class Attack:
    """A row of the tables: which labels the attack is given, its settings, and both network modes.

    `labels`: `"joint-shared"`, `"joint"` (see `irlg.invert`), `"restored"`, `"lattice"` (the counts of
    `irlg.restore`, by Algorithm 1 or by method `"lattice"`, sorted by class) or `"true"` (the batch's
    own, sorted by class); `client`, `attacker`: `"eval"` or `"train"`, the mode in which the gradient
    was computed and the one in which the attack evaluates the network; `known`: `"embeddings"` of the instances
    or `"feature maps"`, where these are found in the gradient; `minutes` after which it is left for another call
    (0: none).
    """

    name: str
    labels: str
    config: InversionConfig
    client: str = "eval"
    attacker: str = "eval"
    known: str = ""
    minutes: int = 0


def published(dataset: str, steps: int) -> InversionConfig:
    """The paper's settings for `"MNIST"` (main text) and `"CIFAR-100"` (Figure 6), in `steps` iterations."""
    tv_weight = {"MNIST": 1e-4, "CIFAR-100": 8e-3}[dataset]
    return InversionConfig(steps=steps, tv_weight=tv_weight, interval=_interval(steps))


def tuned(dataset: str, steps: int) -> InversionConfig:
    """What did better on other batches: MNIST in a quarter of the iterations, CIFAR-100 in the same."""
    config = replace(published(dataset, steps), schedule="cosine")
    if dataset == "MNIST":
        quarter = -(-steps // 4)
        return replace(config, steps=quarter, interval=_interval(quarter), span=True, last_weight=4.0)
    return replace(config, learning_rate=1.0, tv_weight=2e-2, tv_end=2e-3)


def from_features(steps: int) -> InversionConfig:
    """Settings for images from feature maps, chosen on other batches (seeds 60 to 66)."""
    return replace(FROM_FEATURES, steps=steps, interval=_interval(steps))


def attacks(dataset: str, steps: int, steps_features: int = 1) -> list[Attack]:
    """The four label treatments under the same settings, the settings chosen here, and what is of interest
    for one network: `"lattice"` labels on MNIST, where Algorithm 1 errs; on CIFAR-100 what else a gradient
    tells of each image.
    """
    config = published(dataset, steps)
    rows = [Attack(labels, labels, config) for labels in ("joint-shared", "joint", "restored", "true")]
    rows.append(Attack("tuned", "restored", tuned(dataset, steps)))
    if dataset == "MNIST":
        rows.append(Attack("tuned, lattice labels", "lattice", tuned(dataset, steps)))
    else:
        rows.append(Attack("tuned + embeddings", "restored", tuned(dataset, steps), known="embeddings"))
        rows.append(Attack("feature maps", "restored", from_features(steps_features), known="feature maps"))
    return rows


def ablation(steps: int, steps_features: int) -> list[Attack]:
    """The settings for feature maps, all but one as chosen, and what there is without them."""
    chosen = from_features(steps_features)
    variants = {
        "as chosen": chosen,
        "TV from 1": replace(chosen, tv_weight=1.0),
        "TV from 10": replace(chosen, tv_weight=10.0),
        "TV to 1e-5": replace(chosen, tv_end=1e-5),
        "TV of 1e-2 that does not fade": replace(chosen, tv_weight=1e-2, tv_end=None),
        "rate 0.3": replace(chosen, learning_rate=0.3),
        "rate 3": replace(chosen, learning_rate=3.0),
        "rate that falls in steps": replace(chosen, schedule="steps"),
    }
    rows = [Attack(name, "restored", config, known="feature maps") for name, config in variants.items()]
    rows.append(Attack("embeddings for feature maps", "restored", tuned("CIFAR-100", steps), known="embeddings"))
    rows.append(Attack("neither", "restored", tuned("CIFAR-100", steps)))
    return rows


def in_train_mode(steps: int) -> Attack:
    """A client in train mode, and an attacker who knows that, and the instances' embeddings."""
    config = tuned("CIFAR-100", steps)
    return Attack("tuned + embeddings, train mode", "restored", config, "train", "train", "embeddings")


def in_full(steps: int, minutes: int) -> list[Attack]:
    """The published protocol with the paper's baseline and the paper's method, in so many minutes a call."""
    config = published("CIFAR-100", steps)
    return [Attack(f"{name}, in full", name, config, minutes=minutes) for name in ("joint-shared", "restored")]


def _interval(steps: int) -> int:
    return min(OFTEN, -(-steps // REPORTS))
