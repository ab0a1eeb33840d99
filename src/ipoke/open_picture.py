"""A picture that is being poked: what depends on it alone is computed once, and kept from poke to poke."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from ipoke.autoencoder.clip_autoencoder import ClipAutoencoder
from ipoke.conditioning.condition import ConditionEncoders
from ipoke.data.poke import Poke
from ipoke.data.pokes import poke_map
from ipoke.errors import InputError
from ipoke.latent_flow import LatentFlow
from ipoke.nn.spade import Modulation
from ipoke.settings import Recipe
from ipoke.still import Still


class Asked(NamedTuple):
    """All that decides which clips are sampled of a picture."""

    pokes: tuple[Poke, ...]
    samples: int = 1
    seed: int = 0
    temperature: float = 1.0
    frames: int | None = None


class OpenPicture:
    """A picture, with its encodings by one model; `ipoke.model.PokeModel.open` makes it.

    Encodings are kept from their first use on: open the picture anew after the model's weights were changed.

    >>> import ipoke
    >>> picture = ipoke.load("scenes-64").open(ipoke.bundled_still())
    >>> drag = [ipoke.Poke(x=38, y=137, dx=0, dy=34)]
    >>> picture.preview(drag, samples=2).shape
    (2, 256, 256, 3)
    >>> picture.poke(drag, samples=2).shape
    (2, 11, 256, 256, 3)
    """

    def __init__(
        self,
        image: UInt8[np.ndarray, "h w 3"],
        recipe: Recipe,
        autoencoder: ClipAutoencoder,
        conditions: ConditionEncoders,
        latent_flow: LatentFlow,
        device: torch.device,
    ) -> None:
        self.still = Still(image, recipe.clip.size)
        self._recipe, self._autoencoder, self._conditions, self._latent_flow = (
            *(recipe, autoencoder, conditions, latent_flow),
        )
        self._source = self.still.source.to(device)
        self._features: Tensor | None = None
        self._modulations: list[Modulation] | None = None
        self._drawn: tuple[Asked, Tensor] | None = None

    def poke(
        self,
        pokes: Sequence[Poke],
        *,
        samples: int = 1,
        seed: int = 0,
        temperature: float = 1.0,
        frames: int | None = None,
    ) -> UInt8[np.ndarray, "n t h2 w2 3"]:
        """Sample clips of what could happen, as `ipoke.model.PokeModel.poke`; after their preview, go on from it."""
        with torch.no_grad():
            states = self._states(_checked(pokes, samples, seed, temperature, frames))
            return self._show(states)

    def preview(
        self,
        pokes: Sequence[Poke],
        *,
        samples: int = 1,
        seed: int = 0,
        temperature: float = 1.0,
        frames: int | None = None,
    ) -> UInt8[np.ndarray, "n h2 w2 3"]:
        """Give the last frames of the clips that `poke` gives, up to rounding, in a fraction of its time."""
        with torch.no_grad():
            states = self._states(_checked(pokes, samples, seed, temperature, frames))
            return self._show(states[:, -1:])[:, -1]

    @torch.no_grad()
    def condition(self, pokes: Sequence[Poke]) -> Float[Tensor, "1 k 8 8"]:
        """Encode the picture and pokes in its pixels."""
        inner = [self.still.to_model(poke) for poke in pokes]
        asked = torch.from_numpy(poke_map(inner, self._recipe.clip.size, patch=self._recipe.pokes.patch))[None]
        if self._features is None:
            self._features = self._conditions.image(self._source)
        of_pokes = self._conditions.encode_pokes(asked.to(self._source.device), self._source)
        return torch.cat([self._features, of_pokes], 1).float()

    @torch.no_grad()
    def show_latents(self, z: Float[Tensor, "n c h w"], frames: int | None = None) -> UInt8[np.ndarray, "n t h2 w2 3"]:
        """Animate the picture with the motion of latents; frame 0 is the picture.

        Raises:
            InputError: A latent is not finite.
        """
        return self._show(self._roll_out(z, frames))

    def _states(self, asked: Asked) -> Float[Tensor, "n t c h w"]:
        """Draw latents and roll them out, or take those of the last call if the same was asked."""
        if self._drawn is None or self._drawn[0] != asked:
            cond = self.condition(asked.pokes).expand(asked.samples, -1, -1, -1)
            seeds = sample_seeds(asked.seed, asked.samples)
            z = self._latent_flow.sample(cond, seeds=seeds, temperature=asked.temperature)
            self._drawn = asked, self._roll_out(z, asked.frames)
        return self._drawn[1]

    def _roll_out(self, z: Float[Tensor, "n c h w"], frames: int | None) -> Float[Tensor, "n t c h w"]:
        overflown = (~z.isfinite().flatten(1).all(1)).nonzero()
        if len(overflown):
            raise InputError(
                f"sample {int(overflown[0])}: its residual overflows the latent flow's inverse; "
                "take another seed, a temperature below 1, or other pokes"
            )
        return self._autoencoder.rollout(z, frames or self._recipe.clip.frames)

    def _show(self, states: Float[Tensor, "n t c h w"]) -> UInt8[np.ndarray, "n t2 h2 w2 3"]:
        count = len(states)
        if self._modulations is None:
            self._modulations = self._autoencoder.modulations(self._source)
        repeated = [Modulation(*(part.expand(count, -1, -1, -1) for part in one)) for one in self._modulations]
        decoded = self._autoencoder.decode_states(states, self._source.expand(count, -1, -1, -1), repeated)
        return self.still.compose(decoded.cpu())


def sample_seeds(seed: int, samples: int) -> list[int]:
    """Derive one seed per sample, so that sample i is the same in any number of samples."""
    return [int(np.random.SeedSequence([seed, i]).generate_state(1, np.uint64)[0] >> 1) for i in range(samples)]


def _checked(pokes: Sequence[Poke], samples: int, seed: int, temperature: float, frames: int | None) -> Asked:
    if not 1 <= samples <= 256:
        raise InputError(f"samples: got {samples}, expected 1 to 256")
    if not (math.isfinite(temperature) and 0 <= temperature <= 2):
        raise InputError(f"temperature: got {temperature:g}, expected a number from 0 to 2")
    if seed < 0:
        raise InputError(f"seed: got {seed}, expected 0 or more")
    if frames is not None and not 1 <= frames <= 100:
        raise InputError(f"frames: got {frames}, expected 1 to 100")
    return Asked(tuple(pokes), samples, seed, temperature, frames)
