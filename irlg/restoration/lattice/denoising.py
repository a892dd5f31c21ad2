"""What ∇W says of ∇b where noise is on both.

The rows of Y = y μᵀ + M Δ + noise, along the mean embedding μ, are y itself, but for the embeddings' deviations from
μ there, of variance τ² beside |μ|²: z = Y μ / |μ|² has the variance σ²/|μ|² + τ² (M D Mᵀ)_jj where y has σ². Where
embeddings are long, z is the better measurement of a class that is absent, and y of one that is there many times. Both
are put together, class by class.
"""

from dataclasses import replace

from torch import Tensor

from irlg.restoration.lattice.layer import Problem, noise_in

TAU = 0.25  # of single embeddings, on networks of development: LeNet-5 0.19 to 0.3, FCN-3 0.16, ResNet-18 0.27


def denoised(given: Problem, M: Tensor, D: Tensor) -> Problem:
    """The same, with ∇b and its variance as both measurements together have them.

    **Arguments:** `M` (C, r) and `D` (r,) of equation (3).
    """
    if given.measured and not given.noisy:
        return given
    y, variance = given.y, given.y_variance
    signal = y @ y - variance.sum() if given.measured else y @ y
    # Where most of y is noise, it does not tell how long μ is.
    if given.measured and signal < y @ y / 2:
        return given
    of_mu = given.divisor * y / signal
    mu = given.layer.embeddings(of_mu)
    # μ has the noise of the rows that it is made of, and so have the products with them.
    own = len(mu) * given.noise**2 * of_mu
    length = mu.square().sum()
    true = (length - own @ of_mu).clamp(min=length / 2)
    products = given.layer.along(mu)
    along = given.divisor * (products - products.mean() - own) / true
    # Noise that is not independent between entries, as that of dropped ones, shows in the column sums along μ.
    ours, other = variance, (given.divisor * noise_in(products / length**0.5, given.noise)) ** 2 * length / true**2
    a, e = M.square() @ D, ours + other
    if not given.measured:
        theirs = (other + TAU**2 * a) / given.divisor**2
        return replace(given, grad_bias=(along - along.mean()) / given.divisor, variance=theirs)
    expected = e + TAU**2 * a
    # τ² by weighted least squares of (z − y)², and a prior of τ² = TAU² ± TAU².
    weight = a / (2 * expected**2)
    tau2 = (TAU**-2 + weight @ ((along - y) ** 2 - e)) / (TAU**-4 + weight @ a)
    theirs = other + tau2.clamp(min=TAU**2 / 16) * a
    gain = ours / (ours + theirs)
    better = (y + gain * (along - y)) / given.divisor
    variance = ours * (1 - gain) / given.divisor**2
    return replace(given, grad_bias=better - better.mean(), variance=variance, rounding=0.0)
