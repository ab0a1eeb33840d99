"""What all trained baselines have in common: they answer stills and pokes, learn from batches, and have a file."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from ipoke.core.model_files import save_model, weights_sha256
from ipoke.core.recipe import Recipe
from ipoke.data.batches import Batch
from ipoke.data.poke import Poke
from ipoke.data.pokes import poke_map
from ipoke.networks.autoencoder.generated import Generated


class Baseline(nn.Module, ABC):
    """A `ClipSampler` with weights, made and trained by a recipe whose ``method`` names it."""

    context = 1
    """True frames that sampling starts from: the still, or more."""
    is_stochastic = False
    shows_still = True
    reads_tracks = False
    """Whether training needs the tracks of a clip, as the autoencoder does: to see them, or to be taught by them."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.recipe = recipe
        self.facts: dict[str, str] = {}

    @abstractmethod
    def generate(self, batch: Batch, chosen: list[int], generator: torch.Generator, progress: float) -> Generated:
        """Make the chosen frames of a batch of training clips, with gradients.

        Args:
            batch: Clips, pokes and what is known of their motion.
            chosen: Numbers of frames, 0 being the first after the still; ascending, none that is given as context.
            generator: Source of all noise.
            progress: Share of the training that is done, 0 to 1.
        """

    @abstractmethod
    def answer(
        self, context: Float[Tensor, "b k 3 s s"], poke_map: Float[Tensor, "b 2 s s"], seeds: Sequence[Sequence[int]]
    ) -> Float[Tensor, "b n t 3 s s"]:
        """Sample clips from true frames and poke maps (px), one per seed, as `sample_clips`."""

    @torch.no_grad()
    def sample_clips(
        self,
        context: Float[Tensor, "b k 3 s s"],
        pokes: Sequence[Sequence[Poke]],
        seeds: Sequence[Sequence[int]],
    ) -> Float[Tensor, "b n t 3 s s"]:
        """Sample clips, as `ipoke.sampling.clip_sampler.ClipSampler`.

        Raises:
            InputError: A poke is outside the still.
        """
        maps = np.stack([poke_map(asked, self.size, patch=self.recipe.pokes.patch) for asked in pokes])
        return self.answer(context.to(self.device), torch.from_numpy(maps).to(self.device), seeds).clamp(-1, 1)

    @property
    def name(self) -> str:
        """What tables call it."""
        return self.recipe.method.replace("_", "-")

    @property
    def sha256(self) -> str:
        """Hash of all weights and buffers."""
        return weights_sha256(self)

    @property
    def size(self) -> int:
        """Side of the clips, px."""
        return self.recipe.clip.size

    @property
    def frames(self) -> int:
        """Frames after the still."""
        return self.recipe.clip.frames

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    def save(self, path: Path, facts: dict[str, str], *, precision: torch.dtype = torch.float16) -> None:
        """Write weights in half precision or ``precision``, with the recipe and facts about them, as safetensors."""
        save_model(path, self, self.recipe, facts, precision)


def kl_ramp(progress: float) -> float:
    """Say which share of its weight a KL divergence has: it rises over the first eighth of the training, as a line.

    >>> kl_ramp(0.0), kl_ramp(1 / 16), kl_ramp(0.5)
    (0.0, 0.5, 1.0)
    """
    return min(1.0, 8 * progress)


def noise_of(seeds: Sequence[Sequence[int]], shape: Sequence[int]) -> Float[Tensor, "bn ..."]:
    """Draw standard normal noise of a shape for every seed, on the CPU: the same in any batch."""
    drawn = [torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) for of_one in seeds for seed in of_one]
    return torch.stack(drawn)


def one_for_all(clips: Float[Tensor, "b t 3 s s"], seeds: Sequence[Sequence[int]]) -> Float[Tensor, "b n t 3 s s"]:
    """Give the clip of each still for every seed of it, where there is no noise."""
    return clips[:, None].expand(-1, len(seeds[0]), -1, -1, -1, -1)
