"""Fig. 6 of the paper: transfer of a clip's residual to another picture in a similar pose."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float, Float32, UInt8

from ipoke.core.errors import InputError
from ipoke.data.clips import ClipSet
from ipoke.data.images import write_png
from ipoke.data.poke import Poke
from ipoke.evaluation.figures.record import Made, write_record
from ipoke.evaluation.figures.samples import strips_with_displacements
from ipoke.evaluation.metrics.answer import measured_displacement
from ipoke.evaluation.metrics.questions import choose_questions, evenly_spaced, is_simulated
from ipoke.evaluation.metrics.sampler_calls import check_size, sample_frames, sample_seeds
from ipoke.evaluation.metrics.statistics import Estimate, estimate, paired_difference
from ipoke.sampling.model import PokeModel
from ipoke.sampling.transfer import encode_clip, residual_of, round_trip

MOST_CANDIDATES = 2000
"""Clips, evenly spaced over the split, that are searched for a pose."""
POSE_PX = 16
"""Side of the grey pictures that are compared where no keypoints are known."""
SHARED = 0.75
"""Two pictures are compared by keypoints if they share at least this part of all keypoint names of either."""
MOVING_PX = 1.0
"""Motions are compared where at least one of the clips moves further."""


@dataclass(frozen=True)
class Pose:
    """Pose in frame 0 of a clip."""

    clip: int
    video: str
    grey: Float[np.ndarray, " p"]
    """Coarse grey picture minus its mean, grey levels."""
    keypoints: Mapping[str, tuple[float, float]]
    """(x, y) in px by name; of simulated clips alone."""


@dataclass(frozen=True)
class Match:
    """The nearest pose, its distance, and the rule that measured it."""

    pose: Pose
    distance: float
    rule: str


def draw_transfer(
    model: PokeModel,
    clips: ClipSet,
    out: Path,
    *,
    numbers: Sequence[int] | None = None,
    most: int = 20,
    strips: int = 4,
    samples: int = 5,
    seed: int = 0,
    guidance: bool = True,
    progress: Callable[[int, int], None],
) -> Made:
    """Write film strips (source, transferred, random residual) of the first ``strips`` clips, and numbers of all.

    The target of a clip is the nearest pose among the other videos of the split (`nearest_pose`). The residual is that
    of the posterior mean, and the poke keeps its point and its displacement. The random residuals are guided unless
    ``guidance`` is off; the transferred residual never is. Differs from the original, which samples the posterior.

    Raises:
        InputError: Clips of another size than the model's, all of one video, or none with motion to poke.
    """
    check_size(model, clips)
    questions = choose_questions(clips, numbers=numbers, most=most, seed=seed)
    total = len(questions) + 1
    progress(0, total)
    poses = read_poses(clips)
    progress(1, total)
    files, rows = [], []
    for done, question in enumerate(questions, 1):
        pokes, source = question.first_pokes(), clips.clip(question.clip)
        match = nearest_pose(_pose(clips, question.clip), poses)
        target = clips.clip(match.pose.clip)
        transferred = model.transfer(source, target[0], pokes)[0]
        seeds = sample_seeds(seed, question.clip, samples)
        random = sample_frames(model, target, [pokes], [seeds], guidance=guidance)[0]
        shown = np.stack([source, transferred, *random])
        fields = [measured_displacement(clip) for clip in shown]
        rows.append(
            {
                "clip": question.clip,
                "poke": list(question.pokes[0]),
                "target_clip": match.pose.clip,
                "pose_distance": match.distance,
                "pose_rule": match.rule,
                **_round_trip(model, source, pokes),
                **motion_differences(fields[0], fields[1], fields[2:]),
            }
        )
        if done <= strips:
            files.append(out / f"transfer-clip-{question.clip:05d}.png")
            titles = ["source clip", "its residual\non another\npicture", "a random\nresidual on it"]
            write_png(files[-1], strips_with_displacements(shown[:3], fields[:3], [pokes] * 3, titles))
        progress(done + 1, total)
    metrics = _metrics(rows)
    settings = {
        "numbers": list(numbers or []),
        "most": most,
        "samples": samples,
        "candidates": len(poses),
        "moving_px": MOVING_PX,
        "latent": "posterior mean",
        "guidance": guidance,
    }
    files.append(out / "transfer.json")
    write_record(files[-1], "transfer", [model], clips, seed=seed, settings=settings, metrics=metrics, rows=rows)
    return Made(files, metrics)


def read_poses(clips: ClipSet) -> list[Pose]:
    """Read the poses of the clips of a split, of `MOST_CANDIDATES` at most.

    Raises:
        InputError: All clips are of one video.
    """
    poses = [_pose(clips, number) for number in evenly_spaced(len(clips), MOST_CANDIDATES)]
    if len({pose.video for pose in poses}) < 2:
        raise InputError(f"{clips.folder}: holds one video in this split, expected another to transfer to")
    return poses


def nearest_pose(source: Pose, poses: Sequence[Pose]) -> Match:
    """Find the nearest pose among other videos.

    If keypoints are known: by the mean distance of keypoints of the same name, px, among pictures that share at least
    three quarters of all names of either. Otherwise, and if no picture shares as many: by the root mean square
    difference of grey pictures of 16 px minus their means, grey levels. Paper: Sec. 4.2, "similar articulation".
    Differs from the original, which sums the distances of 16 joints.

    Raises:
        ValueError: There is no pose of another video.
    """
    others = [pose for pose in poses if pose.video != source.video]
    if not others:
        raise ValueError("nearest pose: got poses of one video, expected another")
    comparable = [pose for pose in others if _likeness_of_names(source, pose) >= SHARED]
    if comparable:
        distances = [_keypoint_distance(source, pose) for pose in comparable]
        rule, others = "mean distance of keypoints of the same name, px", comparable
    else:
        distances = [float(np.sqrt(np.mean((source.grey - pose.grey) ** 2))) for pose in others]
        rule = f"difference of grey pictures of {POSE_PX} px, grey levels"
    best = int(np.argmin(distances))
    return Match(others[best], distances[best], rule)


def motion_differences(
    source: Float32[np.ndarray, "2 s s"],
    transferred: Float32[np.ndarray, "2 s s"],
    random: Sequence[Float32[np.ndarray, "2 s s"]],
) -> dict[str, float]:
    """Compare the motion of a source clip with that of a transfer and of random samples, px.

    The mean distance of end points of tracks with the same start, over all pixels that move further than 1 px in the
    source, the transfer or any sample.
    """
    fields = np.stack([source, transferred, *random])
    moving = np.hypot(fields[:, 0], fields[:, 1]).max(0) > MOVING_PX
    if not moving.any():
        return {"motion_difference_px_transferred": 0.0, "motion_difference_px_random": 0.0}
    distances = [float(np.hypot(*(field - source))[moving].mean()) for field in fields[1:]]
    return {
        "motion_difference_px_transferred": distances[0],
        "motion_difference_px_random": float(np.mean(distances[1:])),
    }


def _round_trip(model: PokeModel, clip: UInt8[np.ndarray, "t s s 3"], pokes: Sequence[Poke]) -> dict[str, float]:
    encoded = encode_clip(model, clip, pokes)
    error = round_trip(model, encoded, residual_of(model, encoded))
    return {"round_trip_error": error.largest, "round_trip_error_rms": error.rms}


def _metrics(rows: Sequence[Mapping[str, Any]]) -> dict[str, Estimate]:
    transferred, random = (
        [row[f"motion_difference_px_{which}"] for row in rows] for which in ("transferred", "random")
    )
    return {
        "round_trip_error": estimate([row["round_trip_error"] for row in rows], ""),
        "round_trip_error_rms": estimate([row["round_trip_error_rms"] for row in rows], ""),
        "motion_difference_px_transferred": estimate(transferred, "px"),
        "motion_difference_px_random": estimate(random, "px"),
        "motion_difference_px_transferred_minus_random": paired_difference(transferred, random, "px"),
    }


def _pose(clips: ClipSet, number: int) -> Pose:
    first = clips.clip(number)[0]
    grey = cv2.resize(cv2.cvtColor(first, cv2.COLOR_RGB2GRAY), (POSE_PX, POSE_PX), interpolation=cv2.INTER_AREA)
    keypoints: dict[str, tuple[float, float]] = {}
    if is_simulated(clips):
        places = clips.numbers(number, "keypoints", clips.frames + 1, None, 2)[0].tolist()
        names = clips.extras(number).get("keypoint_names", np.empty(0))
        if names.shape != (len(places),):
            raise InputError(f"{clips.folder}: clip {number} has no keypoint names; write the set again")
        named = zip(map(str, names.tolist()), places, strict=True)
        # The poked point is another one in each clip, not a part that other clips have as well.
        keypoints = {name: (place[0], place[1]) for name, place in named if name != "poked"}
    grey = grey.astype(np.float64)
    return Pose(number, clips.row(number).source.video, (grey - grey.mean()).ravel(), keypoints)


def _likeness_of_names(a: Pose, b: Pose) -> float:
    either = a.keypoints.keys() | b.keypoints.keys()
    return len(a.keypoints.keys() & b.keypoints.keys()) / len(either) if either else 0.0


def _keypoint_distance(a: Pose, b: Pose) -> float:
    shared = sorted(a.keypoints.keys() & b.keypoints.keys())
    difference = np.array([a.keypoints[name] for name in shared]) - np.array([b.keypoints[name] for name in shared])
    return float(np.hypot(difference[:, 0], difference[:, 1]).mean())
