"""What the paper and its released logs say of settings of this notebook, of the paper's own method."""

# LnAcc, and of some LeAcc, by setting.
PAPER_LN_ACC = {
    "FCN-3, untrained, K = 24": 0.994,
    "FCN-3, untrained, K = 32": 0.804,
    "FCN-3, untrained, K = 64": 0.598,
    "FCN-3, untrained, K = 128": 0.386,
    "FCN-3, 1,000 steps, seen images, K = 24": 0.110,
    "LeNet-5, untrained, K = 256": 0.997,
    "LeNet-5, untrained, K = 512": 0.960,
    "LeNet-5, untrained, K = 1024": 0.851,
}
# RLU's own, of 10 local epochs with images of its own: shares of classes, and of instances, that are right.
RLU_EPOCHS = (0.84, 0.90)
