"""Algorithm 1 written out plainly: the oracle for the package's own."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def algorithm_1(
    grad_weight: Array, grad_bias: Array, weight: Array, bias: Array, batch_size: int
) -> tuple[Array, Array]:
    """The pseudo-code of appendix E as it stands, before rounding.

    **Arguments:** float64 arrays of shapes (C, m), (C,), (C, m), (C,), and K.
    **Returns:** embeddings (C, m) and the solution (C,) of equation (6) by the pseudo-inverse.
    """
    classes, width = grad_weight.shape
    embeddings = np.zeros((classes, width))  # line 1
    probabilities = np.zeros((classes, classes))
    for i in range(classes):  # line 2
        if grad_bias[i] != 0:  # the pseudo-code does not say; softmax(b) is what is left then
            embeddings[i] = grad_weight[i] / grad_bias[i]  # line 3
        z = weight @ embeddings[i] + bias  # line 4
        exponentials = np.exp(z - z.max())
        probabilities[i] = exponentials / exponentials.sum()
    system = np.zeros((classes + 1, classes))  # line 7: equation (6)
    right = np.zeros(classes + 1)
    system[0], right[0] = 1, batch_size
    for j in range(classes):
        for i in range(classes):
            system[j + 1, i] = probabilities[i, j] - (i == j)
        right[j + 1] = batch_size * grad_bias[j]
    cutoff = (classes + 1) * np.finfo(float).eps  # as the vectorised solver has it
    return embeddings, np.linalg.pinv(system, rcond=cutoff) @ right  # line 8
