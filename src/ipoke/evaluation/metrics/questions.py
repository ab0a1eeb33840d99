"""The questions of an evaluation: which clips are poked, and where; drawn once by seed and stored beside the set."""

import math
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from ipoke.core.errors import InputError
from ipoke.core.reading.regular import read_bounded
from ipoke.core.runs import write_text
from ipoke.core.settings import PokeSettings
from ipoke.core.values import Section, Sha256
from ipoke.data.clips import ClipSet
from ipoke.data.poke import Poke
from ipoke.data.pokes import sample_pins, sample_pokes

LARGEST_QUESTIONS = 2**26
"""Bytes of a file of questions; one has some 200."""
MOST_POKES = 5
"""Pokes stored per clip; a measurement asks the first of them, or more."""
POKES = PokeSettings(max_pokes=MOST_POKES, fixed_count=True)
PINS = PokeSettings(max_pins=8)
PIN_DISTANCE_PX = 6
"""A pin keeps this far from the pokes, so that no poke covers it."""


Place = Annotated[float, Field(ge=0, le=1023)]
Shift = Annotated[float, Field(ge=-2048, le=2048)]
Number = Annotated[int, Field(ge=0, lt=2**63)]


class Question(Section):
    """One clip of a set and what is asked about it."""

    clip: Number
    """Number of the clip in its split."""
    video: Annotated[str, Field(max_length=80)]
    """Source of the set from which the clip is."""
    pokes: Annotated[tuple[tuple[Place, Place, Shift, Shift], ...], Field(min_length=1, max_length=MOST_POKES)]
    """(x, y, dx, dy), px, each the true displacement of its place; the first one is asked if only one is."""
    pin: tuple[Place, Place] | None
    """A place near what moves that stays where it is in the true clip, if there is one away from the pokes."""

    def first_pokes(self, count: int = 1) -> tuple[Poke, ...]:
        """Give the first ``count`` pokes, or as many as there are."""
        return tuple(Poke(*poke) for poke in self.pokes[:count])

    def pin_poke(self) -> Poke | None:
        """Give the pin as a poke of no length."""
        return None if self.pin is None else Poke(*self.pin, 0.0, 0.0)


class Asked(Section):
    """What the first line of a file of questions says."""

    format: Literal["ipoke-questions-1"] = "ipoke-questions-1"
    clips_sha256: Sha256
    split: Literal["train", "test", "all"]
    seed: Number
    most: Number
    still: Number
    """Clips that were chosen and left out, because nothing moves in them."""


def questions_of(clips: ClipSet, *, seed: int, most: int) -> tuple[Asked, list[Question]]:
    """Read the stored questions of a set, or draw and store them where the set's folder can be written.

    At most ``most`` clips are chosen, spread evenly over the split; what is asked about one depends on the seed and its
    number alone. On simulated clips the first poke is the hand's, elsewhere all are read off the clip's optical flow.

    Raises:
        InputError: The stored questions are broken or those of another set, or nothing moves in any clip.
    """
    path = clips.folder / f"questions-{clips.split or 'all'}-seed{seed}-most{most}.jsonl"
    if path.exists():
        return _read(path, clips)
    chosen = np.unique(np.linspace(0, len(clips) - 1, min(most, len(clips))).round().astype(int)).tolist()
    drawn = [draw_question(clips, index, seed) for index in chosen]
    questions = [question for question in drawn if question is not None]
    if not questions:
        raise InputError(f"{clips.folder}: nothing moves in {len(chosen)} clips, expected motion to poke")
    asked = Asked(
        clips_sha256=clips.sha256,
        split=clips.split or "all",
        seed=seed,
        most=most,
        still=len(drawn) - len(questions),
    )
    if clips.folder.is_dir():
        _store(path, asked, questions)
    return asked, questions


def draw_question(clips: ClipSet, index: int, seed: int) -> Question | None:
    """Draw the question about one clip; None where nothing moves."""
    rng = np.random.default_rng([seed, index])
    optical_flow = clips.optical_flow(index)
    drawn = sample_pokes(optical_flow, POKES, rng) or []
    hand = _hand(clips, index)
    pokes = [hand, *drawn][:MOST_POKES] if hand is not None else drawn
    if not pokes:
        return None
    pins = (
        pin
        for pin in sample_pins(optical_flow, PINS, rng)
        if all(max(abs(pin.x - poke.x), abs(pin.y - poke.y)) >= PIN_DISTANCE_PX for poke in pokes)
    )
    pin = next(pins, None)
    return Question(
        clip=index,
        video=clips.row(index).source.id,
        pokes=tuple((poke.x, poke.y, poke.dx, poke.dy) for poke in pokes),
        pin=None if pin is None else (pin.x, pin.y),
    )


def is_simulated(clips: ClipSet) -> bool:
    """Tell whether the simulator made a set, so that more than its frames is known."""
    return clips.settings.origin.get("simulator") == "scenes"


def _hand(clips: ClipSet, index: int) -> Poke | None:
    """Give the poke by which the simulator moved a clip."""
    if not is_simulated(clips):
        return None
    hand = Poke(*clips.numbers(index, "poke", 4).tolist())
    if not (_is_inside(hand.x, hand.y, clips.size) and math.hypot(hand.dx, hand.dy) <= clips.size):
        raise InputError(f"{clips.folder}: clip {index} was poked outside of its frames; write the set again")
    return hand


def _is_inside(x: float, y: float, size: int) -> bool:
    return 0 <= x <= size - 1 and 0 <= y <= size - 1


def _store(path: Path, asked: Asked, questions: list[Question]) -> None:
    try:
        write_text(path, "".join(f"{row.model_dump_json()}\n" for row in (asked, *questions)))
    except InputError:
        # A set in a read-only place: the same questions are drawn again next time.
        return


def _read(path: Path, clips: ClipSet) -> tuple[Asked, list[Question]]:
    try:
        first, *others = read_bounded(path, LARGEST_QUESTIONS).splitlines()
        asked = Asked.model_validate_json(first)
        questions = [Question.model_validate_json(line) for line in others]
    except ValueError as error:
        raise InputError(f"{path}: not a file of questions; remove it, and they are drawn again") from error
    if asked.clips_sha256 != clips.sha256 or not questions:
        raise InputError(f"{path}: questions about another set than {clips.folder}; remove it to draw new ones")
    for question in questions:
        places = [poke[:2] for poke in question.pokes] + ([question.pin] if question.pin else [])
        if (
            question.clip >= len(clips)
            or question.video != clips.row(question.clip).source.id
            or not all(_is_inside(x, y, clips.size) for x, y in places)
        ):
            raise InputError(f"{path}: asks about what clip {question.clip} does not have; remove it to draw new ones")
    return asked, questions
