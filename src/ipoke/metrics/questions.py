"""The questions of an evaluation: which clips are poked, and where; drawn once by seed and stored beside the set."""

from pathlib import Path

import numpy as np
from pydantic import ValidationError

from ipoke.data.clips import ClipSet
from ipoke.data.poke import Poke
from ipoke.data.pokes import sample_pins, sample_pokes
from ipoke.errors import InputError
from ipoke.runs import write_text
from ipoke.settings import PokeSettings, Section

MOST_POKES = 5
"""Pokes stored per clip; a measurement asks the first of them, or more."""
POKES = PokeSettings(max_pokes=MOST_POKES, fixed_count=True)
PINS = PokeSettings(max_pins=8)
PIN_DISTANCE_PX = 6
"""A pin keeps this far from the pokes, so that no poke covers it."""


class Question(Section):
    """One clip of a set and what is asked about it."""

    clip: int
    """Number of the clip in its split."""
    video: str
    """Source of the set from which the clip is."""
    pokes: tuple[tuple[float, float, float, float], ...]
    """(x, y, dx, dy), px, each the true displacement of its place; the first one is asked if only one is."""
    pin: tuple[float, float] | None
    """A place near what moves that stays where it is in the true clip, if there is one away from the pokes."""

    def first_pokes(self, count: int = 1) -> tuple[Poke, ...]:
        """Give the first ``count`` pokes, or as many as there are."""
        return tuple(Poke(*poke) for poke in self.pokes[:count])

    def pin_poke(self) -> Poke | None:
        """Give the pin as a poke of no length."""
        return None if self.pin is None else Poke(*self.pin, 0.0, 0.0)


class Asked(Section):
    """What the first line of a file of questions says."""

    format: str = "ipoke-questions-1"
    clips_sha256: str
    split: str
    seed: int
    most: int
    still: int
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
    return Poke(*clips.extras(index)["poke"].tolist()) if is_simulated(clips) else None


def _store(path: Path, asked: Asked, questions: list[Question]) -> None:
    try:
        write_text(path, "".join(f"{row.model_dump_json()}\n" for row in (asked, *questions)))
    except InputError:
        # A set in a read-only place: the same questions are drawn again next time.
        return


def _read(path: Path, clips: ClipSet) -> tuple[Asked, list[Question]]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        asked = Asked.model_validate_json(lines[0])
        questions = [Question.model_validate_json(line) for line in lines[1:]]
    except (OSError, UnicodeDecodeError, IndexError, ValidationError) as error:
        raise InputError(f"{path}: not a file of questions; remove it, and they are drawn again") from error
    if asked.clips_sha256 != clips.sha256 or not questions:
        raise InputError(f"{path}: questions about another set than {clips.folder}; remove it to draw new ones")
    return asked, questions
