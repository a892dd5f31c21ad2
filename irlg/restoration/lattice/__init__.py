"""Exact counts by generalised least squares and lattice decoding: the equations of docs/estimator.md.

n_j = Σ_k p_{k,j} − K∇b_j exactly (other losses than plain cross-entropy have such identities too: `irlg.losses`).
Class embeddings are taken as draws around a common mean, so that
K∇W is linear in them with rows of known covariance, and least squares gives class logits,
probabilities, and real-valued counts with their covariance; the most likely whole counts under it
are decoded, and all is repeated with them. A module a step, in the order in which data flow:

- `bounds`: what the gradients prove without any model (equation 1);
- `layer`: the last layer as observed, centred over classes and scaled by K;
- `least_squares`: class embeddings and logits (equation 3);
- `denoising`: ∇b by what ∇W says of it, where noise is on both;
- `logits`: their covariance, and mean softmax under it (equations 4 and 5);
- `counts`: real-valued counts and their covariance (equation 6);
- `decoding`: the most likely whole ones (equation 7);
- `passes`: all of these repeated, and how far the result is to be trusted;
- `shrinkage`: doubtful counts, drawn to what fit, constant guess and a prior say together;
- `instances`: which equations an instance solves on its own, and which solutions are instances of the batch; `angles`
  solves them from many starts; `deflation` finds one after another, with the lattice in between; `joint` solves for all
  at once (where the counts are not sure);
- `scale`: that of ∇b, where it is not told, and what stands for it where the head has no bias;
- `batch_size`: K, where it is not told;
- `method`: the method that all this makes; `result`: what it returns.

Symbols: C classes, embeddings of width m, K instances; n (C,) counts and v (C,) their variances,
row c of P the mean softmax of class c. One function stands for one group of equations.

A class of no instances has no column in M, so only the r classes with n > 0 are computed, and V is
diagonal plus low rank. Arrays by class have those r rows; where they have one more, it is the last,
which stands for every other class: its embedding is the common mean.
"""
