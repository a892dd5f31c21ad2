"""What the paper publishes: every figure that a notebook puts beside its own."""

# What each part of the appendix is about. A notebook of another letter goes beyond it.
ELEMENTS = {"A": "∇z = p − y", "B": "Table 2", "C": "Table 3", "D": "Figure 6", "E": "Algorithm 1", "F": "Table 4"}
# Shapes (in-out) of the layers of FCN-3, Table 2.
PAPER_TABLE_2 = ("784-300", "300-300", "300-10")
# The configurations of Table 4, (NoC, MRoC), by the group that the appendix puts them in.
DISTRIBUTIONS = {
    "Extreme": ((1, 128), (2, 64), (4, 32)),
    "Balanced": ((8, 16), (16, 8), (32, 4), (64, 2)),
    "Unique": ((100, 1),),
}
# Published (LeAcc, LnAcc), by row.
PAPER_TABLE_3 = {
    "LeNet-5 WO BN": (1.000, 1.000),
    "LeNet-5 WI BN": (1.000, 1.000),
    "VGG-16 WO DO": (1.000, 1.000),
    "VGG-16 WI DO": (1.000, 1.000),
}


def row_name(group: str, noc: int, mroc: int) -> str:
    """How Table 4 names a row."""
    return f"{group} NoC={noc}, MRoC={mroc}"


PAPER_TABLE_4 = {
    row_name(group, *pair): (0.998, 0.911) if group == "Unique" else (1.000, 1.000)
    for group, pairs in DISTRIBUTIONS.items()
    for pair in pairs
}
# Measured on the published pictures of Figure 6, dB: one soft label for the batch, restored labels; iterations.
PAPER_FIGURE_6 = {"CIFAR-100": (11.33, 17.12, 24_000), "MNIST": (11.89, 18.81, 8_000)}
# LnAcc in the released logs of the paper's defences, ResNet-18 untrained on CIFAR-100, K = 24: Gaussian noise of a
# standard deviation on the last layer's gradient, and a share of its entries kept.
PAPER_DEFENCES = {"noise 0.01": 0.973, "largest 20%": 0.957}
# LeAcc beside them; and LeAcc under noise 0.001 after 100 epochs, with that of the answer that nobody is there.
PAPER_DEFENCES_LE_ACC = {"noise 0.01": 0.980, "largest 20%": 0.960}
PAPER_DEFENCES_TRAINED = ("noise 0.001", 0.778, 0.785)
# Without matching pictures to originals, dB; and what the README of the paper's code says of iterations.
PAPER_UNMATCHED = (9.57, 10.70)
PAPER_ITERATIONS_README = 240_000
