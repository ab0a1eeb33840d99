"""From residuals to clips that are not shown yet, for several pictures at once: networks take them in one batch."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from ipoke.core.errors import InputError
from ipoke.data.poke import Poke
from ipoke.engine.engine import Engine
from ipoke.networks.latent_flow import LatentFlow
from ipoke.networks.nn.spade import Modulation
from ipoke.networks.round_trip import comes_back
from ipoke.sampling.guidance import MOST_STEPS, Pull, gain_at_mode, pulled

MOST_DRAWS = 8
"""After so many residuals of a sample that do not come back, it is given up."""
Redraw: TypeAlias = Callable[[int, int], Float[Tensor, "c h w"] | None]
"""From the row of a residual, and how many times it has been drawn, to another in its place; None if it was given."""


class Wanted(NamedTuple):
    """Clips of one picture that are to be drawn."""

    r: Float[Tensor, "n c h w"]
    """Residuals to start from."""
    pokes: tuple[Poke, ...]
    """In the model's pixels."""
    cond: Float[Tensor, "1 k h w"]
    gain: Float[Tensor, "m d"] | None
    """As of `ipoke.sampling.guidance.gain_at_mode`; residuals are pulled by it, or left as they are where it is
    None."""
    source: Float[Tensor, "1 3 s s"]
    modulations: list[Modulation]
    frames: int
    most_steps: int = MOST_STEPS
    redraw: Redraw = lambda row, times: None
    """For residuals that do not come back, see `ipoke.networks.round_trip`."""
    first: int = 0
    """Number of the first of them among the samples that were asked for."""


class Drawn(NamedTuple):
    """Clips before they are shown."""

    r: Float[Tensor, "n c h w"]
    """Their residuals, pulled if that was asked."""
    z: Float[Tensor, "n c h w"]
    cond: Float[Tensor, "1 k h w"]
    states: Float[Tensor, "n t c h w"]
    draws: tuple[int, ...]
    """How many times each residual was drawn: once, but where one did not come back."""


class Drawing:
    """Draws clips with the networks of one model."""

    def __init__(self, engine: Engine, latent_flow: LatentFlow, frames: int) -> None:
        """Take the networks, and the number of frames by the last of which poked pixels are to have arrived."""
        self._engine, self._latent_flow, self._frames = engine, latent_flow, frames

    def say(
        self, z: Float[Tensor, "n c h w"], source: Float[Tensor, "k 3 s s"], modulations: list[Modulation]
    ) -> Float[Tensor, "n 2 s s"]:
        """Say where the pixels of the one still, or of each, are by that frame, px of the model; with gradients."""
        only = [self._frames - 1]
        return self._engine.predict_motion(z, source, self._frames, only=only, features=modulations)[:, 0]

    def gain(
        self,
        pokes: Sequence[Poke],
        cond: Float[Tensor, "1 k h w"],
        source: Float[Tensor, "1 3 s s"],
        modulations: list[Modulation],
    ) -> Float[Tensor, "m d"]:
        """Give what residuals are pulled by, as `ipoke.sampling.guidance.gain_at_mode`."""
        return gain_at_mode(pokes, self._engine, self._latent_flow, cond, lambda z: self.say(z, source, modulations))

    @torch.no_grad()
    def together(self, wanted: Sequence[Wanted]) -> list[Drawn | InputError]:
        """Draw clips of several pictures; each gets what it would get alone, up to rounding.

        Returns:
            One answer each: clips, or that a residual does not come back from its latent.
        """
        return [self._answer(*one) for one in zip(wanted, self._latents(wanted), strict=True)]

    def _latents(self, wanted: Sequence[Wanted]) -> list[tuple[Tensor, Tensor]]:
        """Pull residuals, and give them with their latents."""
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

        for i, r in zip(among, pulled(list(pulls.values()), self._engine, says), strict=True):
            residuals[i] = r
        counts = [len(r) for r in residuals]
        conds = torch.cat([one.cond.expand(count, -1, -1, -1) for one, count in zip(wanted, counts, strict=True)])
        latents = self._engine.to_latent(torch.cat(residuals), conds).split(counts)
        return list(zip(residuals, latents, strict=True))

    def checked(self, r: Float[Tensor, "n c h w"], z: Float[Tensor, "n c h w"], cond: Float[Tensor, "1 k h w"]) -> None:
        """Refuse residuals that do not come back from their latents.

        Raises:
            InputError: One does not.
        """
        lost = self._lost(r, z, cond)
        if lost:
            raise does_not_come_back(lost[0])

    def _lost(self, r: Tensor, z: Tensor, cond: Tensor) -> list[int]:
        good = comes_back(self._latent_flow, r, z, cond.expand(len(r), -1, -1, -1))
        return good.logical_not().nonzero().flatten().tolist()

    def _answer(self, wanted: Wanted, found: tuple[Tensor, Tensor]) -> Drawn | InputError:
        """Draw residuals that do not come back anew, and let latents unfold over the frames."""
        r, z = (part.clone() for part in found)
        draws = [1] * len(r)
        lost = self._lost(r, z, wanted.cond)
        while lost:
            anew = [wanted.redraw(row, draws[row]) for row in lost]
            given = [row for row, one in zip(lost, anew, strict=True) if one is None or draws[row] == MOST_DRAWS]
            if given:
                return does_not_come_back(wanted.first + given[0])
            drawn = torch.stack([one for one in anew if one is not None]).to(r)
            (found,) = self._latents([wanted._replace(r=drawn)])
            r[lost], z[lost] = found
            for row in lost:
                draws[row] += 1
            still = self._lost(*found, wanted.cond)
            lost = [lost[row] for row in still]
        return Drawn(r, z, wanted.cond, self._engine.rollout(z, wanted.frames), tuple(draws))


def does_not_come_back(sample: int) -> InputError:
    """Say that a sample cannot be shown."""
    return InputError(
        f"sample {sample}: its residual is too far off the beaten track to come back from its latent; "
        "take another seed, a lower temperature, or other pokes"
    )


def stacked(of_each: Sequence[list[Modulation]]) -> list[Modulation]:
    """Put what depends on single stills into one batch, level by level."""
    return [Modulation.cat(of_level) for of_level in zip(*of_each, strict=True)]


def finite(drawn: Drawn | InputError) -> Drawn:
    """Give clips.

    Raises:
        InputError: There are none, for a residual does not come back.
    """
    if isinstance(drawn, InputError):
        raise drawn
    return drawn
