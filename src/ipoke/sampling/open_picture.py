"""A picture that is being poked: what depends on it alone is computed once, and kept from poke to poke."""

import functools
import math
import warnings
from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from ipoke.core.errors import InputError
from ipoke.core.recipe import Recipe
from ipoke.data.poke import Poke
from ipoke.data.pokes import poke_map
from ipoke.engine.engine import Engine
from ipoke.engine.one_by_one import one_by_one, one_thread
from ipoke.networks.autoencoder.decoded_frames import DecodedFrames
from ipoke.networks.conditions.condition import ConditionEncoders
from ipoke.networks.latent_flow import LatentFlow
from ipoke.networks.nn.spade import Modulation
from ipoke.sampling.drawing import Drawing, Drawn, Wanted, finite
from ipoke.sampling.residual_terms import Residual, Terms, draw_residuals, drawn_anew, plain_terms
from ipoke.sampling.still import Still

MOST_SAMPLES, MOST_FRAMES = 256, 100
MOST_HANDS = 8
"""Drags that a picture remembers while they go on."""
STEPS_OF_A_HAND = 2
"""By which residuals follow a hand from one preview to the next."""


class Asked(NamedTuple):
    """All that decides which clips are sampled of a picture."""

    pokes: tuple[Poke, ...]
    residuals: tuple[Residual, ...]
    temperature: float = 1.0
    frames: int | None = None
    reaches: bool = True
    """Whether residuals are pulled until the poked pixels arrive, where the model can say that."""
    rough: bool = False


class Hand(NamedTuple):
    """Who drags: pokes at these places, with these residuals."""

    places: tuple[tuple[float, float], ...]
    residuals: tuple[Residual, ...]
    temperature: float


class Held(NamedTuple):
    """Where a drag has led so far."""

    r: Float[Tensor, "n c h w"]
    gain: Float[Tensor, "m d"]


class OpenPicture:
    """A picture, with its encodings by one model; `ipoke.sampling.model.PokeModel.open` makes it.

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
        engine: Engine,
        conditions: ConditionEncoders,
        latent_flow: LatentFlow,
        device: torch.device,
        *,
        reaches: bool,
        residual_std: float,
    ) -> None:
        self.still = Still(image, recipe.clip.size)
        self._recipe, self._engine, self._conditions, self._latent_flow = recipe, engine, conditions, latent_flow
        self.drawing = Drawing(engine, latent_flow, recipe.clip.frames)
        self._source = self.still.source.to(device)
        self._reaches, self._residual_std = reaches, residual_std
        self._features: Tensor | None = None
        self._modulations: list[Modulation] | None = None
        self._drawn: tuple[Asked, Drawn] | None = None
        self._hands: OrderedDict[Hand, Held] = OrderedDict()
        self._gain: tuple[tuple[Poke, ...], Tensor] | None = None

    def poke(
        self,
        pokes: Sequence[Poke],
        *,
        samples: int = 1,
        seed: int = 0,
        temperature: float = 1.0,
        frames: int | None = None,
    ) -> UInt8[np.ndarray, "n t h2 w2 3"]:
        """Sample clips of what could happen, as `PokeModel.poke`; after their preview, go on from it."""
        drawn = self.draw(pokes, plain_residuals(seed, samples), temperature=temperature, frames=frames)
        for words in told_redraws(drawn.draws):
            warnings.warn(words, stacklevel=2)
        return self.show(drawn)

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
        drawn = self.draw(pokes, plain_residuals(seed, samples), temperature=temperature, frames=frames)
        return np.concatenate(one_by_one(lambda one: self.show_last(one)[0], single_clips(drawn)))

    def draw(
        self,
        pokes: Sequence[Poke],
        residuals: Sequence[Residual],
        *,
        temperature: float = 1.0,
        frames: int | None = None,
        reaches: bool | None = None,
        rough: bool = False,
    ) -> Drawn:
        """Draw clips without showing them; what was asked last is kept.

        Each is drawn by itself, so that how many there are, and how many threads, changes no bit of it.

        Args:
            pokes: In the picture's pixels.
            residuals: One per clip.
            temperature: Standard deviation of the residuals.
            frames: After the picture; as many as the model was trained on if unset.
            reaches: Whether residuals are pulled until the poked pixels arrive; as the model has it if unset.
            rough: While a hand drags: go on in a few steps from where the drag before at the same places led, if there
                was one.

        Raises:
            InputError: As of `ipoke.sampling.model.PokeModel.poke`.
        """
        asked = Asked(tuple(pokes), tuple(residuals), temperature, frames, reaches is not False, rough)
        drawn = self.drawn(asked)
        if drawn is None:
            with one_thread():
                wanted = self.wanted(asked)
            singles = [_single(wanted, row) for row in range(len(wanted.r))]
            drawn = _joined(one_by_one(lambda one: finite(self.drawing.together([one])[0]), singles))
            self.keep(asked, wanted, drawn)
        return drawn

    @torch.no_grad()
    def wanted(self, asked: Asked) -> Wanted:
        """Say what has to be drawn, for `Drawing.together`; then `keep` what was.

        Raises:
            InputError: As of `ipoke.sampling.model.PokeModel.poke`.
        """
        asked = _checked(asked)
        cond = self.condition(asked.pokes)
        r = self._residuals(asked, asked.residuals).to(cond.device)
        frames = asked.frames or self._recipe.clip.frames
        inner = tuple(self.still.to_model(poke) for poke in asked.pokes)
        redraw = functools.partial(self._redrawn, asked)
        start = Wanted(r, inner, cond, None, self._source, self._of_source(), frames, redraw=redraw)
        if not (self._reaches and asked.reaches and inner):
            return start
        held = self._hands.get(_hand_of(asked)) if asked.rough else None
        if held is not None:
            return start._replace(r=held.r, gain=held.gain, most_steps=STEPS_OF_A_HAND)
        if self._gain is None or self._gain[0] != inner:
            self._gain = inner, self.drawing.gain(inner, cond, self._source, self._of_source())
        return start._replace(gain=self._gain[1])

    def _residuals(self, asked: Asked, residuals: Sequence[Residual]) -> Float[Tensor, "n c h w"]:
        return asked.temperature * draw_residuals(self._latent_flow, residuals, self._residual_std)

    def _redrawn(self, asked: Asked, row: int, times: int) -> Float[Tensor, "c h w"] | None:
        anew = drawn_anew(asked.residuals[row], times)
        return None if anew is None else self._residuals(asked, [anew])[0]

    def drawn(self, asked: Asked) -> Drawn | None:
        """Give the clips, if they are what was asked last."""
        return self._drawn[1] if self._drawn is not None and self._drawn[0] == asked else None

    def is_held(self, asked: Asked) -> bool:
        """Tell whether a hand has pulled at the same places, so that a rough drawing only has to follow it."""
        return _hand_of(asked) in self._hands

    def keep(self, asked: Asked, wanted: Wanted, drawn: Drawn) -> None:
        """Keep what was drawn, as the last thing that was asked."""
        self._drawn = asked, drawn
        if asked.rough and wanted.gain is not None:
            hand = _hand_of(asked)
            self._hands[hand] = Held(drawn.r, wanted.gain)
            self._hands.move_to_end(hand)
            while len(self._hands) > MOST_HANDS:
                self._hands.popitem(last=False)

    def show(self, drawn: Drawn, only: list[int] | None = None) -> UInt8[np.ndarray, "n t h2 w2 3"]:
        """Show clips, the picture first, each by itself, or together ``only`` some of the frames after it (from 0)."""
        if only is not None:
            return self._show(drawn.states[:, only])
        return np.concatenate(one_by_one(lambda one: self._show(one.states), single_clips(drawn)))

    @torch.no_grad()
    def show_last(self, drawn: Drawn) -> tuple[UInt8[np.ndarray, "n h2 w2 3"], Float[Tensor, "n 2 s s"] | None]:
        """Show last frames, and say where the pixels of the model's still are in them, px of the model."""
        decoded = self._decode(drawn.states[:, -1:])
        motion = decoded.motion
        return self.still.compose(decoded.cpu())[:, -1], None if motion is None else motion[:, -1]

    @torch.no_grad()
    def say(self, drawn: Drawn) -> Float[Tensor, "n 2 s s"]:
        """Say where the pixels of the model's still are by the last frame that it was trained on, px of the model.

        Raises:
            ValueError: The decoder paints, and so says no motion.
        """
        return self.drawing.say(drawn.z, self._source, self._of_source())

    @torch.no_grad()
    def say_all(self, drawn: Drawn) -> Float[Tensor, "n t 2 s s"]:
        """Say where they are in every frame, as `say`."""
        motion = self._decode(drawn.states).motion
        if motion is None:
            raise ValueError("motion: got a decoder that paints, expected one that moves")
        return motion

    @torch.no_grad()
    def with_residual(self, r: Float[Tensor, "n c h w"], pokes: Sequence[Poke], frames: int | None = None) -> Drawn:
        """Give the clips of residuals as they are, under pokes in the picture's pixels.

        Raises:
            InputError: A residual does not come back from its latent.
        """
        cond = self.condition(pokes)
        z = self._engine.to_latent(r, cond.expand(len(r), -1, -1, -1))
        self.drawing.checked(r, z, cond)
        states = self._engine.rollout(z, frames or self._recipe.clip.frames)
        return Drawn(r, z, cond, states, (1,) * len(r))

    @torch.no_grad()
    def condition(self, pokes: Sequence[Poke]) -> Float[Tensor, "1 k 8 8"]:
        """Encode the picture and pokes in its pixels."""
        inner = [self.still.to_model(poke) for poke in pokes]
        asked = torch.from_numpy(poke_map(inner, self._recipe.clip.size, patch=self._recipe.pokes.patch))[None]
        if self._features is None:
            self._features = self._conditions.encode_image(self._source)
        of_pokes = self._conditions.encode_pokes(asked.to(self._source.device), self._source)
        return torch.cat([self._features, of_pokes], 1).float()

    @torch.no_grad()
    def _of_source(self) -> list[Modulation]:
        if self._modulations is None:
            self._modulations = self._engine.source_features(self._source)
        return self._modulations

    @torch.no_grad()
    def _show(self, states: Float[Tensor, "n t c h w"]) -> UInt8[np.ndarray, "n t2 h2 w2 3"]:
        return self.still.compose(self._decode(states).cpu())

    def _decode(self, states: Float[Tensor, "n t c h w"]) -> DecodedFrames:
        count = len(states)
        repeated = [one.expand(count) for one in self._of_source()]
        return self._engine.decode(states, self._source.expand(count, -1, -1, -1), repeated)


def plain_residuals(seed: int, samples: int) -> list[Terms]:
    """Name the residuals of the first samples of a seed.

    Raises:
        InputError: A number is out of range.
    """
    if not 1 <= samples <= MOST_SAMPLES:
        raise InputError(f"samples: got {samples}, expected 1 to {MOST_SAMPLES}")
    if seed < 0:
        raise InputError(f"seed: got {seed}, expected 0 or more")
    return plain_terms(seed, samples)


def single_clips(drawn: Drawn) -> list[Drawn]:
    """Take clips apart."""
    rows = (slice(row, row + 1) for row in range(len(drawn.z)))
    return [Drawn(drawn.r[i], drawn.z[i], drawn.cond, drawn.states[i], drawn.draws[i]) for i in rows]


def told_redraws(draws: Sequence[int]) -> list[str]:
    """Say in one line each which samples had to be drawn again."""
    return [
        f"sample {number}: residuals too far off the beaten track to come back from their latents; "
        f"shown is draw {count} of it"
        for number, count in enumerate(draws)
        if count > 1
    ]


def _single(wanted: Wanted, row: int) -> Wanted:
    """Take one of the clips that are wanted."""
    redraw = wanted.redraw
    return wanted._replace(r=wanted.r[row : row + 1], redraw=lambda _, times: redraw(row, times), first=row)


def _joined(singles: Sequence[Drawn]) -> Drawn:
    """Put clips of one picture together."""
    r, z, states = (torch.cat([getattr(one, name) for one in singles]) for name in ("r", "z", "states"))
    return Drawn(r, z, singles[0].cond, states, tuple(count for one in singles for count in one.draws))


def _hand_of(asked: Asked) -> Hand:
    return Hand(tuple((poke.x, poke.y) for poke in asked.pokes), asked.residuals, asked.temperature)


def _checked(asked: Asked) -> Asked:
    if not (math.isfinite(asked.temperature) and 0 <= asked.temperature <= 2):
        raise InputError(f"temperature: got {asked.temperature:g}, expected a number from 0 to 2")
    if asked.frames is not None and not 1 <= asked.frames <= MOST_FRAMES:
        raise InputError(f"frames: got {asked.frames}, expected 1 to {MOST_FRAMES}")
    return asked
