"""Learning rates and weight averages as functions of the clips seen."""

import math

import torch
from torch import Tensor, nn

from ipoke.core.sections import StageSettings


def learning_rate(settings: StageSettings, clips: int) -> float:
    """Return the learning rate after ``clips`` clips: linear warm-up, then the schedule."""
    if clips < settings.warmup_clips:
        return settings.learning_rate * clips / settings.warmup_clips
    return settings.learning_rate * _scheduled(settings, clips)


def _scheduled(settings: StageSettings, clips: int) -> float:
    """Give the schedule's factor, after the warm-up."""
    remaining = max(0.0, 1 - (clips - settings.warmup_clips) / max(1, settings.clips - settings.warmup_clips))
    match settings.schedule:
        case "constant":
            return 1.0
        case "linear":
            return remaining
        case "cosine":
            return 0.5 - 0.5 * math.cos(math.pi * remaining)
        case "exponential":
            return settings.decay ** (clips // settings.decay_clips)


class WeightAverage:
    """Exponential moving average of a module's weights, with a half-life in clips; buffers are copied."""

    def __init__(self, module: nn.Module, half_life_clips: int) -> None:
        self.half_life_clips = half_life_clips
        self.shadow = {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}

    @torch.no_grad()
    def update(self, module: nn.Module, *, clips: int, batch: int) -> None:
        """Take one step; early on the half-life is a twentieth of what was seen, so that the start is forgotten."""
        half_life = min(self.half_life_clips, clips / 20)
        keep = 0.5 ** (batch / half_life) if half_life > 0 else 0.0
        learned = {name for name, _ in module.named_parameters()}
        for name, tensor in module.state_dict().items():
            if name in learned:
                self.shadow[name].lerp_(tensor, 1 - keep)
            else:
                self.shadow[name].copy_(tensor)

    def state(self) -> dict[str, Tensor]:
        """Return the averaged weights."""
        return self.shadow
