"""From residuals to clips that are not shown yet, for several pictures at once: networks take them in one batch."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from ipoke.autoencoder.clip_autoencoder import ClipAutoencoder
from ipoke.data.poke import Poke
from ipoke.errors import InputError
from ipoke.latent_flow import LatentFlow
from ipoke.nn.spade import Modulation
from ipoke.reach import MOST_STEPS, Pull, gain_at_mode, pulled


class Wanted(NamedTuple):
    """Clips of one picture that are to be drawn."""

    r: Float[Tensor, "n c h w"]
    """Residuals to start from."""
    pokes: tuple[Poke, ...]
    """In the model's pixels."""
    cond: Float[Tensor, "1 k h w"]
    gain: Float[Tensor, "m d"] | None
    """As of `ipoke.reach.gain_at_mode`; residuals are pulled by it, or left as they are where it is None."""
    source: Float[Tensor, "1 3 s s"]
    modulations: list[Modulation]
    frames: int
    most_steps: int = MOST_STEPS


class Drawn(NamedTuple):
    """Clips before they are shown."""

    r: Float[Tensor, "n c h w"]
    """Their residuals, pulled if that was asked."""
    z: Float[Tensor, "n c h w"]
    cond: Float[Tensor, "1 k h w"]
    states: Float[Tensor, "n t c h w"]


class Drawing:
    """Draws clips with the networks of one model."""

    def __init__(self, autoencoder: ClipAutoencoder, latent_flow: LatentFlow, frames: int) -> None:
        """Take the networks, and the number of frames by the last of which poked pixels are to have arrived."""
        self._autoencoder, self._latent_flow, self._frames = autoencoder, latent_flow, frames

    def say(
        self, z: Float[Tensor, "n c h w"], source: Float[Tensor, "k 3 s s"], modulations: list[Modulation]
    ) -> Float[Tensor, "n 2 s s"]:
        """Say where the pixels of the one still, or of each, are by that frame, px of the model; with gradients."""
        only = [self._frames - 1]
        return self._autoencoder.motion(z, source, self._frames, only=only, modulations=modulations)[:, 0]

    def gain(
        self,
        pokes: Sequence[Poke],
        cond: Float[Tensor, "1 k h w"],
        source: Float[Tensor, "1 3 s s"],
        modulations: list[Modulation],
    ) -> Float[Tensor, "m d"]:
        """Give what residuals are pulled by, as `ipoke.reach.gain_at_mode`."""
        return gain_at_mode(pokes, self._latent_flow, cond, lambda z: self.say(z, source, modulations))

    @torch.no_grad()
    def together(self, wanted: Sequence[Wanted]) -> list[Drawn | InputError]:
        """Draw clips of several pictures; each gets what it would get alone, up to rounding.

        Returns:
            One answer each: clips, or that a residual overflows the latent flow's inverse.
        """
        residuals = [one.r for one in wanted]
        pulls = {
            i: Pull(one.r, one.pokes, one.cond, one.gain, one.most_steps)
            for i, one in enumerate(wanted)
            if one.gain is not None and one.pokes
        }
        among = list(pulls)

        def says(z: Float[Tensor, "n c h w"], rows: Tensor) -> Float[Tensor, "n 2 s s"]:
            of = [wanted[among[row]] for row in rows.tolist()]
            return self.say(z, torch.cat([one.source for one in of]), stacked([one.modulations for one in of]))

        for i, r in zip(among, pulled(list(pulls.values()), self._latent_flow, says), strict=True):
            residuals[i] = r
        counts = [len(r) for r in residuals]
        conds = torch.cat([one.cond.expand(count, -1, -1, -1) for one, count in zip(wanted, counts, strict=True)])
        latents = self._latent_flow.to_latent(torch.cat(residuals), conds).split(counts)
        return [self._answer(*one) for one in zip(wanted, residuals, latents, strict=True)]

    def roll_out(self, z: Float[Tensor, "n c h w"], frames: int) -> Float[Tensor, "n t c h w"]:
        """Let latents unfold over the frames.

        Raises:
            InputError: A latent is not finite.
        """
        overflown = (~z.isfinite().flatten(1).all(1)).nonzero()
        if len(overflown):
            raise InputError(
                f"sample {int(overflown[0])}: its residual overflows the latent flow's inverse; "
                "take another seed, a temperature below 1, or other pokes"
            )
        return self._autoencoder.rollout(z, frames)

    def _answer(self, wanted: Wanted, r: Tensor, z: Tensor) -> Drawn | InputError:
        try:
            return Drawn(r, z, wanted.cond, self.roll_out(z, wanted.frames))
        except InputError as error:
            return error


def stacked(of_each: Sequence[list[Modulation]]) -> list[Modulation]:
    """Put what depends on single stills into one batch, level by level."""
    return [
        Modulation(*(torch.cat(parts) for parts in zip(*of_level, strict=True)))
        for of_level in zip(*of_each, strict=True)
    ]


def finite(drawn: Drawn | InputError) -> Drawn:
    """Give clips.

    Raises:
        InputError: There are none, for a residual overflows.
    """
    if isinstance(drawn, InputError):
        raise drawn
    return drawn
