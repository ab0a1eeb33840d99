"""Clips in memory that tell which one they are."""

import numpy as np

SIZE, FRAMES = 32, 3


class Clips:
    """Noise with a moving square; the first pixel tells the number of the clip."""

    def __init__(self, count=13, still=()):
        rng = np.random.default_rng(0)
        self.frames = rng.integers(0, 256, (count, FRAMES, SIZE, SIZE, 3)).astype(np.uint8)
        self.frames[:, :, 0, 0, 0] = np.arange(count)[:, None]
        self.fields = rng.normal(scale=0.05, size=(count, 2, SIZE, SIZE)).astype(np.float32)
        self.fields[:, :, 12:18, 10:16] += rng.normal(scale=4, size=(count, 2, 1, 1)) + 3
        self.fields[list(still)] = 0

    def __len__(self):
        return len(self.frames)

    def clip(self, index):
        return self.frames[index]

    def optical_flow(self, index):
        return self.fields[index]
