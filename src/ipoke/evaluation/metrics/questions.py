"""Questions of an evaluation: which clips are poked, and where; drawn once per seed and stored beside the set."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from ipoke.core.errors import InputError
from ipoke.core.files import write_text
from ipoke.core.reading.regular import read_bounded
from ipoke.core.sections import PokeSettings
from ipoke.core.values import Section, Sha256
from ipoke.data.clips import ClipSet
from ipoke.data.poke import Poke
from ipoke.data.pokes import sample_pins, sample_pokes

LARGEST_QUESTIONS = 2**26
"""Bytes of a file of questions; one question has some 200."""
MOST_POKES = 5
"""Pokes stored per clip; a measurement takes the first of them, or more."""
POKES = PokeSettings()
PINS = PokeSettings(max_pins=8)
PIN_DISTANCE_PX = 6
"""Least distance of a pin from each poke, so that no poke map covers it."""


Coordinate = Annotated[float, Field(ge=0, le=1023)]
Displacement = Annotated[float, Field(ge=-2048, le=2048)]
Number = Annotated[int, Field(ge=0, lt=2**63)]


class Question(Section):
    """One clip of a set and the pokes to sample it under."""

    clip: Number
    """Number of the clip in its split."""
    video: Annotated[str, Field(max_length=80)]
    """Source of the set that the clip is from."""
    pokes: Annotated[
        tuple[tuple[Coordinate, Coordinate, Displacement, Displacement], ...],
        Field(min_length=1, max_length=MOST_POKES),
    ]
    """(x, y, dx, dy), px: true displacements of the clip. A measurement with n pokes takes the first n."""
    pin: tuple[Coordinate, Coordinate] | None
    """(x, y), px: a place near the moving parts that stays still in the true clip. None: there is none away from
    the pokes."""

    def first_pokes(self, count: int = 1) -> tuple[Poke, ...]:
        """Return the first ``count`` pokes, or as many as there are."""
        return tuple(Poke(*poke) for poke in self.pokes[:count])

    def pin_poke(self) -> Poke | None:
        """Return the pin as a poke of zero length."""
        return None if self.pin is None else Poke(*self.pin, 0.0, 0.0)


class QuestionsHeader(Section):
    """First line of a file of questions: what they were drawn for."""

    format: Literal["ipoke-questions-1"] = "ipoke-questions-1"
    clips_sha256: Sha256
    split: Literal["train", "test", "all"]
    seed: Number
    most: Number
    still: Number
    """Clips that were chosen and skipped, because nothing moves in them."""


def questions_of(clips: ClipSet, *, seed: int, most: int) -> tuple[QuestionsHeader, list[Question]]:
    """Read the stored questions of a set, or draw them and store them if the set's folder can be written.

    At most ``most`` clips are chosen, evenly spaced over the split. A question depends on the seed and the number of
    its clip alone. On simulated clips the first poke is the simulator's own; all others are read off the clip's optical
    flow.

    Raises:
        InputError: The stored questions are broken or those of another set, or nothing moves in any clip.
    """
    path = clips.folder / f"questions-{clips.split or 'all'}-seed{seed}-most{most}.jsonl"
    if path.exists():
        return _read(path, clips)
    chosen = evenly_spaced(len(clips), most)
    drawn = [draw_question(clips, index, seed) for index in chosen]
    questions = [question for question in drawn if question is not None]
    if not questions:
        raise InputError(f"{clips.folder}: nothing moves in {len(chosen)} clips, expected motion to poke")
    header = QuestionsHeader(
        clips_sha256=clips.sha256,
        split=clips.split or "all",
        seed=seed,
        most=most,
        still=len(drawn) - len(questions),
    )
    if clips.folder.is_dir():
        _store(path, header, questions)
    return header, questions


def choose_questions(clips: ClipSet, *, numbers: Sequence[int] | None, most: int, seed: int) -> list[Question]:
    """Return the questions of the clips with the given numbers, or of ``most`` clips, evenly spaced over the split.

    Raises:
        InputError: There is no such clip, or nothing moves in it.
    """
    if not numbers:
        return questions_of(clips, seed=seed, most=most)[1]
    chosen = []
    for number in numbers:
        if not 0 <= number < len(clips):
            raise InputError(f"--clip: got {number}, expected 0 to {len(clips) - 1}")
        question = draw_question(clips, number, seed)
        if question is None:
            raise InputError(f"--clip: nothing moves in clip {number}, expected motion to poke; take another")
        chosen.append(question)
    return chosen


def evenly_spaced(count: int, most: int) -> list[int]:
    """Choose at most ``most`` of ``count`` indices, evenly spaced from the first to the last.

    >>> evenly_spaced(9, 3)
    [0, 4, 8]
    """
    return np.unique(np.linspace(0, count - 1, min(most, count)).round().astype(int)).tolist()


def draw_question(clips: ClipSet, index: int, seed: int) -> Question | None:
    """Draw the question about one clip; None if nothing moves in it."""
    rng = np.random.default_rng([seed, index])
    optical_flow = clips.optical_flow(index)
    drawn = sample_pokes(optical_flow, POKES, rng, count=MOST_POKES) or []
    simulated = _simulator_poke(clips, index)
    pokes = drawn if simulated is None else [simulated, *drawn][:MOST_POKES]
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
    """Tell whether `ipoke scenes` made a set, so that keypoints and other true futures are known."""
    return clips.settings.origin.get("simulator") == "scenes"


def _simulator_poke(clips: ClipSet, index: int) -> Poke | None:
    """Read the poke that moved a simulated clip; None for other sets."""
    if not is_simulated(clips):
        return None
    poke = Poke(*clips.numbers(index, "poke", 4).tolist())
    if not (_is_inside(poke.x, poke.y, clips.size) and math.hypot(poke.dx, poke.dy) <= clips.size):
        raise InputError(f"{clips.folder}: clip {index} was poked outside of its frames; write the set again")
    return poke


def _is_inside(x: float, y: float, size: int) -> bool:
    return 0 <= x <= size - 1 and 0 <= y <= size - 1


def _store(path: Path, header: QuestionsHeader, questions: list[Question]) -> None:
    try:
        write_text(path, "".join(f"{row.model_dump_json()}\n" for row in (header, *questions)))
    except InputError:
        # The set is read-only: the same questions are drawn again next time.
        return


def _read(path: Path, clips: ClipSet) -> tuple[QuestionsHeader, list[Question]]:
    try:
        first, *others = read_bounded(path, LARGEST_QUESTIONS).splitlines()
        header = QuestionsHeader.model_validate_json(first)
        questions = [Question.model_validate_json(line) for line in others]
    except ValueError as error:
        raise InputError(f"{path}: not a file of questions; remove it, and they are drawn again") from error
    if header.clips_sha256 != clips.sha256 or not questions:
        raise InputError(f"{path}: questions about another set than {clips.folder}; remove it to draw new ones")
    for question in questions:
        places = [poke[:2] for poke in question.pokes] + ([question.pin] if question.pin else [])
        if (
            question.clip >= len(clips)
            or question.video != clips.row(question.clip).source.id
            or not all(_is_inside(x, y, clips.size) for x, y in places)
        ):
            raise InputError(f"{path}: does not fit clip {question.clip}; remove it to draw new ones")
    return header, questions
