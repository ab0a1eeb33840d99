"""Evaluate a sampler on held-out clips: one set of questions for all samplers, a row per clip, then a report."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from ipoke.core.errors import InputError
from ipoke.core.files import refuse_links
from ipoke.core.folders import writing_alone
from ipoke.data.clips import ClipSet
from ipoke.data.images import write_png
from ipoke.engine.one_by_one import one_thread
from ipoke.evaluation.metrics.answer import Answer, answer_questions
from ipoke.evaluation.metrics.clouds import CloudMaker
from ipoke.evaluation.metrics.density import DiagonalGaussian
from ipoke.evaluation.metrics.i3d import FEWEST_FRAMES, find_i3d, load_i3d
from ipoke.evaluation.metrics.i3d import MISSING as I3D_MISSING
from ipoke.evaluation.metrics.keypoints import find_movenet, load_movenet
from ipoke.evaluation.metrics.measure import (
    ClipValues,
    Instruments,
    clip_features,
    encode_one,
    measure_density,
    measure_frames,
    measure_motion,
    measure_simulated,
)
from ipoke.evaluation.metrics.protocol import Protocol
from ipoke.evaluation.metrics.questions import Question, evenly_spaced, is_simulated, questions_of
from ipoke.evaluation.metrics.report import Report, summarise, write_report
from ipoke.evaluation.metrics.round_trips import measure_round_trips
from ipoke.evaluation.metrics.rows import Rows
from ipoke.evaluation.metrics.sampler_calls import check_size
from ipoke.networks.autoencoder.clip_encoder import sample_posterior
from ipoke.networks.autoencoder.lpips import MISSING as LPIPS_MISSING
from ipoke.networks.autoencoder.lpips import Lpips, Network, find_lpips, load_lpips
from ipoke.sampling.clip_sampler import ClipSampler
from ipoke.sampling.model import PokeModel
from ipoke.sampling.render import film_strip

STILLS = 4
"""Stills, with their pokes, whose conditions the round trips of residuals are measured under."""
STRIPS = 8
"""Film strips of a report."""
OF_MOTION = (
    *("poke", "pin", "keypoint", "still_pixels_change", "frechet_motion_grid"),
    *("energy", "coverage", "spread_error_ratio", "likelihood_ranking"),
)
"""Names, or prefixes of names, of metrics that track points from the still."""
GAUSSIAN_CLIPS = 256
"""Training clips that the diagonal Gaussian is fitted to."""


@dataclass(frozen=True)
class Settings:
    """Settings of an evaluation.

    All of them decide the numbers, except the last two: ``batch`` changes them by rounding alone, ``workers`` not at
    all.
    """

    protocol: Protocol
    samples: int = 5
    pokes: int = 1
    most: int = 1000
    calibrated: int = 100
    """Clips whose samples are compared with true futures."""
    cloud: int = 20
    """Samples of each of those clips, and true futures where there are several."""
    seed: int = 0
    guidance: bool = True
    """Whether a model's samples are guided to the targets of the pokes."""
    batch: int = 4
    """Clips that are sampled in one call."""
    workers: int = 1
    """Threads; each samples and measures one batch at a time."""


def evaluate(
    sampler: ClipSampler,
    test: ClipSet,
    train: ClipSet | None,
    out: Path,
    settings: Settings,
    *,
    progress: Callable[[int, int], None],
) -> Report:
    """Write clips.jsonl, calibration.jsonl, report.json, report.md and film strips; return the report.

    Repeating the call resumes an interrupted evaluation. Frame 0 is never compared. A diagonal Gaussian is fitted to
    the training clips, as the baseline of a model's density; without them there is none.

    Raises:
        InputError: Clips of another size than the sampler's, numbers out of range, or rows of another evaluation.
    """
    _check(sampler, test, settings)
    header, questions = questions_of(test, seed=settings.seed, most=settings.most)
    instruments, missing = find_instruments(test, settings.protocol)
    facts = {
        "format": "ipoke-report-2",
        "model": sampler.name,
        "model_sha256": sampler.sha256,
        "clips": test.folder.name,
        "clips_sha256": test.sha256,
        "split": header.split,
        "protocol": settings.protocol._asdict(),
        "samples": settings.samples,
        "pokes": settings.pokes,
        "context_frames": sampler.context,
        "frames": sampler.frames,
        "seed": settings.seed,
        "guidance": isinstance(sampler, PokeModel) and sampler.predicts_motion and settings.guidance,
        "most": settings.most,
        "cloud": settings.cloud,
        "instruments": sorted([f"lpips_{name}" for name in instruments.lpips])
        + ["i3d"] * (instruments.i3d is not None)
        + ["keypoints"] * (instruments.keypoints is not None),
    }
    chosen = _spaced(questions, settings.calibrated) if sampler.shows_still else []
    with writing_alone(out, "report"):
        refuse_links(out / "strips")
        rows, clouds = Rows(out / "clips.jsonl", facts), Rows(out / "calibration.jsonl", facts)
        strips = {question.clip for question in _spaced(questions, STRIPS)}
        work = _Work(sampler, test, train, settings, instruments, out, strips)
        batches = [questions[start : start + settings.batch] for start in range(0, len(questions), settings.batch)]
        # A batch that lacks a row is computed again as a whole: the last digits of a row depend on its batch.
        todo = [
            (target, [job for job in jobs if not all(question.clip in target.by_clip for question in job)], one)
            for target, jobs, one in (
                (rows, batches, work.measure),
                (clouds, [[question] for question in chosen], work.calibrate),
            )
        ]
        total = len(questions) + len(chosen)
        done = total - sum(len(job) for _, jobs, _ in todo for job in jobs)
        progress(done, total)
        for target, jobs, one in todo:
            for job, measured in zip(jobs, _in_threads(one, jobs, settings.workers), strict=True):
                made = {question.clip: row for question, row in zip(job, measured, strict=True)}
                target.add({clip: row for clip, row in made.items() if clip not in target.by_clip})
                done += len(job)
                progress(done, total)
        report = summarise(
            facts
            | {"test_clips": len(questions), "still_clips_left_out": header.still, "calibrated_clips": len(chosen)},
            [rows.by_clip[question.clip] for question in questions],
            [clouds.by_clip[question.clip] for question in chosen],
            missing | work.reasons,
            seed=settings.seed,
        )
        if isinstance(sampler, PokeModel):
            report.metrics.update(measure_round_trips(sampler, conditions(sampler, test, _spaced(questions, STILLS))))
        write_report(report, out)
    return report


def find_instruments(test: ClipSet, protocol: Protocol) -> tuple[Instruments, dict[str, str]]:
    """Load the networks whose weights are found; for metrics without weights, return how to get them."""
    missing: dict[str, str] = {}
    lpips: dict[Network, Lpips] = {}
    for network, reason in LPIPS_MISSING.items():
        folder = find_lpips(network)
        if folder is None:
            missing[f"lpips_{network}"] = reason
        else:
            lpips[network] = load_lpips(folder, network)
    i3d, path = None, find_i3d()
    frames = test.frames + protocol.with_source
    if path is None:
        missing["fvd_i3d"] = I3D_MISSING
    elif frames < FEWEST_FRAMES:
        missing["fvd_i3d"] = f"I3D needs {FEWEST_FRAMES} frames, these clips have {frames}"
    else:
        i3d = load_i3d(path)
    keypoints = None
    if not is_simulated(test):
        try:
            keypoints = load_movenet(find_movenet())
        except InputError as error:
            missing["keypoint_error_px"] = str(error)
    return Instruments(lpips, i3d, keypoints), missing


class _Work:
    """The work on one batch of questions; safe to call from several threads."""

    def __init__(
        self,
        sampler: ClipSampler,
        test: ClipSet,
        train: ClipSet | None,
        settings: Settings,
        instruments: Instruments,
        out: Path,
        strips: set[int],
    ) -> None:
        self.sampler, self.test, self.settings, self.instruments = sampler, test, settings, instruments
        self.out, self.strips = out, strips
        self.simulated = is_simulated(test)
        self.model = sampler if isinstance(sampler, PokeModel) else None
        self.clouds = CloudMaker(
            sampler,
            test,
            samples=settings.cloud,
            pokes=settings.pokes,
            seed=settings.seed,
            guidance=settings.guidance,
        )
        self.gaussian = None if self.model is None or train is None else _fit_gaussian(self.model, train, settings.seed)
        self.reasons = dict(self.clouds.reasons)
        if not sampler.shows_still:
            self.reasons |= dict.fromkeys(OF_MOTION, f"{sampler.name} cuts to other clips, so no point can be tracked")
        if self.model is None or not self.model.autoencoder.predicts_motion:
            predicted = ("poke_endpoint_error_px_said", "poke_reach_said", "pin_leakage_px_said")
            self.reasons |= dict.fromkeys(predicted, f"{sampler.name} does not predict motion")
        if self.model is None:
            self.reasons |= dict.fromkeys(
                ("nll_bits_per_dim", "round_trip_error"), f"{sampler.name} has no invertible density"
            ) | dict.fromkeys(
                ("reconstruction_psnr", "reconstruction_lpips_squeeze"), f"{sampler.name} has no autoencoder"
            )

    def measure(self, questions: Sequence[Question]) -> list[dict[str, Any]]:
        """Sample and measure a batch of questions; return their rows."""
        settings = self.settings
        clips = [self.test.clip(question.clip) for question in questions]
        answers = answer_questions(
            self.sampler,
            questions,
            clips,
            pokes=settings.pokes,
            samples=settings.samples,
            seed=settings.seed,
            guidance=settings.guidance,
        )
        return [self._row(answer) for answer in answers]

    def calibrate(self, questions: Sequence[Question]) -> list[dict[str, Any]]:
        """Compute the clouds of samples and true futures of questions."""
        return [self.clouds(question) for question in questions]

    def _row(self, answer: Answer) -> dict[str, Any]:
        clip, settings = answer.question.clip, self.settings
        values: ClipValues = measure_frames(answer, settings.protocol, self.instruments)
        if self.sampler.shows_still:
            values |= measure_motion(answer, self.instruments)
            if self.simulated:
                values |= measure_simulated(answer, self.test.numbers(clip, "keypoints", self.test.frames + 1, None, 2))
        if self.model is not None:
            seed = int(np.random.SeedSequence([settings.seed, clip]).generate_state(1)[0])
            lpips, optical_flow = self.instruments.lpips.get("squeeze"), self.test.optical_flow(clip)
            values |= measure_density(self.model, answer, optical_flow, self.gaussian, lpips, seed)
        if clip in self.strips:
            both = np.concatenate([answer.frames[None], answer.clips])
            write_png(self.out / "strips" / f"clip-{clip:05d}.png", film_strip(both, answer.pokes))
        features = clip_features(answer, settings.protocol, self.instruments, of_motion=self.sampler.shows_still)
        return {"figures": {name: round(value, 9) for name, value in values.items()}, "features": features}


def _in_threads(
    one: Callable[[Sequence[Question]], list[dict[str, Any]]], jobs: Sequence[Sequence[Question]], workers: int
) -> Iterator[list[dict[str, Any]]]:
    """Run jobs in threads and yield their results in order; each computes its tensors with one thread."""
    if workers == 1:
        with one_thread():
            yield from map(one, jobs)
        return
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    pool = ThreadPoolExecutor(workers, thread_name_prefix="evaluate")
    waiting: deque[Future[list[dict[str, Any]]]] = deque()
    try:
        for job in jobs:
            waiting.append(pool.submit(one, job))
            if len(waiting) > 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)


def _spaced(questions: Sequence[Question], most: int) -> list[Question]:
    return [questions[index] for index in evenly_spaced(len(questions), most)]


@torch.no_grad()
def conditions(model: PokeModel, test: ClipSet, questions: Sequence[Question]) -> Float[torch.Tensor, "b k 8 8"]:
    """Encode the stills and first pokes of questions."""
    return torch.cat([model.open(test.clip(one.clip)[0]).condition(one.first_pokes()) for one in questions])


@torch.no_grad()
def _fit_gaussian(model: PokeModel, train: ClipSet, seed: int) -> DiagonalGaussian:
    """Fit a diagonal Gaussian to posterior samples of training clips."""
    generator = torch.Generator().manual_seed(seed)
    latents = []
    for index in evenly_spaced(len(train), GAUSSIAN_CLIPS):
        mean, logvar = encode_one(model, train.clip(index), train.optical_flow(index))
        latents.append(sample_posterior(mean, logvar, generator).cpu())
    return DiagonalGaussian(torch.cat(latents))


def _check(sampler: ClipSampler, test: ClipSet, settings: Settings) -> None:
    check_size(sampler, test)
    for name, value, least in (
        ("samples", settings.samples, 2),
        ("pokes", settings.pokes, 1),
        ("most", settings.most, 1),
        ("batch", settings.batch, 1),
        ("workers", settings.workers, 1),
        ("cloud", settings.cloud, 2),
    ):
        if value < least:
            raise InputError(f"--{name}: got {value}, expected at least {least}")
