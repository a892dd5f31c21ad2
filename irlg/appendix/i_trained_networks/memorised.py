"""A network that knows its client's images by heart: trained on few of them until it is right about every one."""

import numpy as np
import torch

from irlg import models
from irlg.appendix import training
from irlg.appendix.networks import FIRST, LENET_BATCH, Network
from irlg.appendix.trials import eval_features
from irlg.data.datasets import ImageSet
from irlg.data.sampling import stream, uniform_batch

NAME = "LeNet-5, memorised"
OWN = 2000  # images that the client holds, a tenth of all at most


def lenet5(images: ImageSet, epochs: int, seed: int, device: str) -> Network:
    """LeNet-5 after `epochs` over the few images that its batches are drawn from; its accuracy is over these too."""
    chosen = uniform_batch(stream(seed, "I own", NAME), images.labels, min(OWN, len(images.labels) // 10))
    own, everything = images.subset(chosen), np.arange(len(chosen))
    start, batch = models.build(models.lenet5, seed + FIRST).to(device), min(LENET_BATCH, len(chosen))
    lesson = own.load(everything, device), torch.as_tensor(own.labels, device=device)
    steps = epochs * (len(chosen) // batch)
    (model,) = training.train(start, *lesson, training.adamw, [steps], seed, batch)
    with torch.inference_mode():
        embeddings = model.hidden(eval_features(model, own, everything, device))
        accuracy = float((model.head(embeddings).argmax(dim=1) == lesson[1]).double().mean())
    about = NAME, f"{epochs} epochs of {len(chosen):,} images"
    return Network(*about, 0, model.head, embeddings, own.labels, everything, True, accuracy)
