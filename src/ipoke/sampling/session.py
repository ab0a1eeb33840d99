"""Sessions: a request, its picture and its model in a file, enough to replay a sampling.

On the same machine and with the same versions a replay gives the same bytes, for any number of threads and of samples.
Elsewhere sums may be taken in another order; `unlike` tells whether pixels differ.
"""

import hashlib
import os
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import numpy as np
from jaxtyping import UInt8
from pydantic import AliasChoices, Field, ValidationError

from ipoke.core.errors import InputError
from ipoke.core.files import replacing, write_text
from ipoke.core.json_text import json_text
from ipoke.core.reading.regular import read_bounded, regular_file
from ipoke.core.values import WHOLE, Frames, PathText, Section, Seed, Sha256, problem_of
from ipoke.data.images import read_image, write_png
from ipoke.data.poke import Poke
from ipoke.data.video import write_video
from ipoke.sampling.made_with import MadeWith, differences, made_here
from ipoke.sampling.model import PokeModel, bundled_models, load
from ipoke.sampling.render import film_strip, grid
from ipoke.sampling.request import MOST_SAMPLES, SampleRequest
from ipoke.sampling.residual_terms import redrawn
from ipoke.sampling.sampler import MOST_DRAWS
from ipoke.sampling.still import MAX_SIDE

FPS = 10.0
"""Frames per second of what is written."""
ENDINGS = (".webp", ".gif", ".mp4", ".png")
LARGEST_SESSION = 2**18
"""Bytes of a session; one of a single poke has 600."""
MOST_POKES = 64
MOST_BYTES = 2**31
"""Pixels of all frames of all samples that one command makes, in bytes."""
Draws = Annotated[int, Field(ge=1, le=MOST_DRAWS), WHOLE]
Pixels = Annotated[float, Field(ge=-1e5, le=1e5)]


class PokeRow(Section):
    """A poke in the picture's pixels."""

    x: Pixels
    y: Pixels
    dx: Pixels
    dy: Pixels


class Session(Section):
    """One sampling: picture, pokes, chance and model, with hashes of the picture's pixels and of the weights."""

    format: Literal["ipoke-session-2", "ipoke-session-1"] = "ipoke-session-2"
    """Version 1 is that of ipoke 0.1, which wrote ``reaches`` for ``guidance``."""
    image: PathText
    """Path of the picture from the session file's folder."""
    image_sha256: Sha256
    model: PathText
    """Bundled name, or path from the session file's folder."""
    model_sha256: Sha256
    pokes: Annotated[tuple[PokeRow, ...], Field(max_length=MOST_POKES)]
    samples: Annotated[int, Field(gt=0, le=MOST_SAMPLES), WHOLE]
    seed: Seed
    temperature: Annotated[float, Field(ge=0, le=2)]
    frames: Frames | None = None
    guidance: Annotated[bool, Field(validation_alias=AliasChoices("guidance", "reaches"))] = False
    """Whether residuals were guided. The oldest sessions lack it; those were not."""
    draws: Annotated[tuple[Draws, ...], Field(max_length=MOST_SAMPLES)] | None = None
    """How many times each residual was drawn, see `ipoke.networks.round_trip`; as often as it takes if None."""
    made_with: MadeWith | None = None
    """None before the first sampling, as the draws and the hash of all frames' pixels are."""
    clips_sha256: Sha256 | None = None

    def request(self) -> SampleRequest:
        """Request what was sampled, with the draws that are noted.

        Raises:
            InputError: There are more or fewer draws than samples.
        """
        request = SampleRequest.of_seed(
            self.poke_list(),
            samples=self.samples,
            seed=self.seed,
            temperature=self.temperature,
            frames=self.frames,
            guidance=self.guidance,
        )
        if self.draws is None:
            return request
        if len(self.draws) != self.samples:
            raise InputError(
                f"draws: got {len(self.draws)}, expected {self.samples}, one per sample; restore the session"
            )
        named = [redrawn(residual, count - 1) for residual, count in zip(request.residuals, self.draws, strict=True)]
        return replace(request, residuals=tuple(residual for residual in named if residual is not None))

    def poke_list(self) -> list[Poke]:
        """Return the pokes, px of the picture."""
        return [Poke(row.x, row.y, row.dx, row.dy) for row in self.pokes]

    def save(self, path: Path) -> None:
        """Write the session as JSON."""
        write_text(path, self.as_json())

    def as_json(self) -> str:
        """Return the text of its file."""
        return json_text(self.model_dump(mode="json"), indent=2) + "\n"


class Sampled(NamedTuple):
    """Clips, and the session that replays them."""

    clips: UInt8[np.ndarray, "n t h w 3"]
    session: Session


def load_session(path: Path) -> Session:
    """Read a session.

    Raises:
        InputError: Missing, not JSON, or not a session of ours.
    """
    try:
        return Session.model_validate_json(read_bounded(path, LARGEST_SESSION, "session"))
    except ValidationError as error:
        raise InputError(
            f"{path}: not a session of ipoke ({problem_of(error)}); give the .json file that ipoke poke wrote"
        ) from error


def start_session(
    model: PokeModel,
    image: UInt8[np.ndarray, "h w 3"],
    pokes: list[Poke],
    *,
    names: tuple[Path, str],
    folder: Path,
    samples: int,
    seed: int,
    temperature: float,
    guidance: bool = True,
) -> Session:
    """Start the session of a sampling.

    Args:
        model: The model.
        image: The picture.
        pokes: In the picture's pixels.
        names: Paths of picture and model; a model may be a bundled name.
        folder: Folder of the session file; paths are noted relative to it.
        samples: Number of clips.
        seed: Of all residuals.
        temperature: Factor on the residuals.
        guidance: Whether to guide residuals, where the decoder predicts motion.

    Raises:
        InputError: A number is not finite or out of range.
    """
    image_file, model_name = names
    try:
        return Session(
            image=os.path.relpath(image_file, folder),
            image_sha256=image_sha256(image),
            model=model_name if model_name in bundled_models() else os.path.relpath(model_name, folder),
            model_sha256=model.sha256,
            pokes=tuple(PokeRow(x=p.x, y=p.y, dx=p.dx, dy=p.dy) for p in pokes),
            samples=samples,
            seed=seed,
            temperature=temperature,
            guidance=guidance and model.predicts_motion,
        )
    except ValidationError as error:
        raise InputError(problem_of(error)) from error


def reopen(path: Path) -> tuple[Session, PokeModel, UInt8[np.ndarray, "h w 3"]]:
    """Load model and picture of a session, and check that they are the same.

    Raises:
        InputError: One of them is missing or has changed.
    """
    session = load_session(path)
    image = read_image(regular_file(path.parent / session.image, "picture"))
    if image_sha256(image) != session.image_sha256:
        raise InputError(f"{session.image}: its pixels are not those of session {path}; restore the picture")
    model = load(session.model if session.model in bundled_models() else path.parent / session.model)
    if model.sha256 != session.model_sha256:
        raise InputError(
            f"{session.model}: got weights {model.sha256[:12]}, session {path} was made with "
            f"{session.model_sha256[:12]}; restore that model"
        )
    return session, model, image


def sample(session: Session, model: PokeModel, image: UInt8[np.ndarray, "h w 3"]) -> Sampled:
    """Sample what a session requests, and note in it how that came about.

    Raises:
        InputError: As of `ipoke.sampling.model.PokeModel.poke`; its samples would fill the memory, or there are more or
            fewer draws than samples.
    """
    _refuse_too_much(session, model, image)
    picture, request = model.open(image), session.request()
    samples = picture.draw(request)
    clips = picture.show(samples)
    before = session.draws or (1,) * session.samples
    made = {
        "draws": tuple(drawn + again - 1 for drawn, again in zip(before, samples.draws, strict=True)),
        "made_with": made_here(model.device),
        "clips_sha256": clips_sha256(clips),
    }
    return Sampled(clips, session.model_copy(update=made))


def _refuse_too_much(session: Session, model: PokeModel, image: UInt8[np.ndarray, "h w 3"]) -> None:
    frames = 1 + (session.frames or model.frames)
    height, width = image.shape[:2]
    shown = min(1.0, MAX_SIDE / max(height, width))
    wanted = session.samples * frames * 3 * height * width * shown**2
    if wanted > MOST_BYTES:
        raise InputError(
            f"samples: got {session.samples} clips of {frames} frames of this picture, {wanted / 2**30:.1f} GiB of "
            f"pixels, expected at most {MOST_BYTES / 2**30:g}; ask for fewer, or give a smaller picture"
        )


def unlike(then: Session, now: Session) -> str | None:
    """Explain in one line how a replay differs, or may differ, from what was made then; None if it is the same."""
    if then.clips_sha256 is None or then.made_with is None or now.made_with is None:
        return "replay: the session is of an older version and holds no hash of its clips; these may differ from them"
    other = differences(then.made_with, now.made_with)
    if then.clips_sha256 != now.clips_sha256:
        return f"replay: pixels differ from those of the session ({other or 'for no reason that it tells'})"
    if (then.made_with.pillow, then.made_with.av) != (now.made_with.pillow, now.made_with.av):
        return f"replay: the same pixels, in a file that other encoders write ({other})"
    return None


def check_ending(path: Path) -> None:
    """Refuse file endings that cannot be written.

    Raises:
        InputError: The ending is none of ours.
    """
    if path.suffix.lower() not in ENDINGS:
        raise InputError(f"--out: got {path.name!r}, expected a file ending in {', '.join(ENDINGS)}")


def write_samples(path: Path, clips: UInt8[np.ndarray, "n t h w 3"], pokes: list[Poke]) -> None:
    """Write samples by file ending: ``.png`` a film strip; the others play, one sample alone, several in a grid.

    Raises:
        InputError: An ending that is none of ours, or the file cannot be written.
    """
    check_ending(path)
    if path.suffix.lower() == ".png":
        write_png(path, film_strip(clips, pokes))
    elif len(clips) == 1:
        write_video(path, clips[0], FPS)
    else:
        write_video(path, grid(clips, pokes), FPS)


def write_answer(path: Path, clips: UInt8[np.ndarray, "n t h w 3"], session: Session) -> None:
    """Write samples, and beside them the session that they come from; both or neither.

    Raises:
        InputError: As `write_samples`, or the session's file cannot be written.
    """
    with replacing(path.with_suffix(".json")) as beside:
        beside.write_text(session.as_json(), encoding="utf-8")
        write_samples(path, clips, session.poke_list())


def clips_sha256(clips: UInt8[np.ndarray, "n t h w 3"]) -> str:
    """Hash all frames by their sizes and pixels."""
    return hashlib.sha256(repr(clips.shape).encode() + np.ascontiguousarray(clips).tobytes()).hexdigest()


def image_sha256(image: UInt8[np.ndarray, "h w 3"]) -> str:
    """Hash a picture by its size and pixels, so that the file format does not matter."""
    return hashlib.sha256(repr(image.shape).encode() + np.ascontiguousarray(image).tobytes()).hexdigest()
