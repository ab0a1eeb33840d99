"""The commands that measure models."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from ipoke.cli.app import MEASURE, Count, Few, OutDir, OutFile, Pair, Seed, app
from ipoke.cli.arguments import cores, labelled, spare, splits
from ipoke.cli.terminal import err, out, progress_bar
from ipoke.core.errors import InputError, one_line

if TYPE_CHECKING:
    from ipoke.data.clips import ClipSet
    from ipoke.evaluation.metrics.report import Report


@dataclass(frozen=True)
class Measuring:
    """What is asked of how many clips, and how it is measured."""

    protocol: Annotated[
        Literal["paper", "official"],
        Parameter(help="What to do where the paper and the released code measure differently."),
    ] = "paper"
    samples: Annotated[Pair, Parameter(help="Clips drawn per question.")] = 5
    pokes: Annotated[Literal[1, 2, 3, 4, 5], Parameter(help="Pokes asked per question.")] = 1
    most: Annotated[Count, Parameter(help="At most this many test clips, spread over the split.")] = 1000
    calibrated: Annotated[
        Count, Parameter(help="Of these, how many are sampled more often and held against true futures.")
    ] = 100
    cloud: Annotated[Pair, Parameter(help="Samples of those, and true futures where clips are simulated.")] = 20
    seed: Annotated[Seed, Parameter(help="Of pokes and residuals.")] = 0
    batch: Annotated[Few, Parameter(help="Clips sampled in one call; it changes numbers by rounding alone.")] = 4
    as_drawn: Annotated[
        bool, Parameter(help="Measure samples as the latent flow draws them, not pulled until poked points arrive.")
    ] = False
    workers: Annotated[
        Few | None,
        Parameter(help="Threads, as many as there are cores if unset; the numbers do not depend on it."),
    ] = None


Asked = Annotated[Measuring, Parameter(name="*")]


@app.command(group=MEASURE, sort_key=1)
def evaluate(model: str, clips: Path, /, *, out_dir: OutDir, asked: Asked = Measuring()) -> None:
    """Measure a model or a baseline on held-out clips; repeating the command goes on where it stopped.

    The pokes are drawn once by the seed and stored beside the clips, so that every model answers the same questions.

    Args:
        model: Bundled name, run directory or .safetensors file of a model or a baseline; or copy-x0, which stands
            still, or nearest-clip, which retrieves training clips.
        clips: A prepared set; the clips of its test split are poked.
        out_dir: Folder for report.json, report.md, figures, film strips and a row per clip.
        asked: What is asked of how many clips, and how it is measured.
    """
    from ipoke.evaluation.figures.report_figures import draw_report
    from ipoke.evaluation.metrics.report import report_lines

    report = _evaluated(model, *splits(clips), out_dir, asked)
    for line in report_lines(report):
        out.print(line)
    _drawn(lambda: draw_report(report, out_dir))


@app.command(group=MEASURE, sort_key=2)
def table(
    number: Literal[1, 2, 3],
    clips: Path,
    /,
    *,
    models: Annotated[list[str], Parameter(name="--model", negative=())],
    out_dir: OutDir,
    asked: Asked = Measuring(),
) -> None:
    """Make a table of the paper: several models on the same questions, with their differences clip by clip.

    1 compares controlled synthesis, 2 stochastic synthesis, 3 the latent flow with a conditional VAE. Each model is
    evaluated as ipoke evaluate does, in a folder of its own; what is there already is not measured again.

    Args:
        number: 1, 2 or 3.
        clips: A prepared set; the clips of its test split are poked.
        models: A model, a baseline, copy-x0 or nearest-clip, as NAME or LABEL=NAME; given several times, the first one
            is what the others are compared with.
        out_dir: Folder for report.json, report.md, figures and a folder per model.
        asked: What is asked of how many clips, and how it is measured.
    """
    from ipoke.evaluation.figures.report_figures import draw_table
    from ipoke.evaluation.metrics.table import write_table

    by_label = dict(labelled(models))
    test, train = splits(clips)
    reports = {label: _evaluated(name, test, train, out_dir / label, asked, label) for label, name in by_label.items()}
    for line in write_table(number, reports, out_dir):
        out.print(line)
    _drawn(lambda: draw_table(number, reports, out_dir))


@app.command(group=MEASURE, sort_key=3)
def calibrate(
    model: str,
    clips: Path,
    /,
    *,
    out_file: OutFile,
    most: Count = 60,
    samples: Pair = 20,
    seed: Seed = 0,
) -> None:
    """Let a model's samples spread as true futures do: find by how much, and write the model that does.

    Models that saw few clips are too sure of themselves. Samples of several spreads are scored by the energy score, and
    the best spread is kept in the model file; its networks stay as they are.

    Args:
        model: Bundled name, run directory or .safetensors file.
        clips: A prepared set; the clips of its test split are poked. Take others than those that the model was trained
            on and than those on which it will be evaluated.
        out_file: The new model file, .safetensors.
        most: At most this many clips, spread over the split.
        samples: Clips drawn per question and spread.
        seed: Of pokes and residuals.
    """
    if out_file.suffix != ".safetensors":
        raise InputError(f"--out: got {out_file.name!r}, expected a file ending in .safetensors")

    import torch

    from ipoke.data.clips import ClipSet
    from ipoke.evaluation.metrics.spread import best_of, try_spreads
    from ipoke.sampling.model import find_model, load

    spare(find_model(model), out_file)
    loaded = load(model)
    torch.set_num_threads(1)
    with progress_bar("calibrating") as report:
        tried = try_spreads(
            loaded, ClipSet(clips, split="test"), most=most, samples=samples, seed=seed, progress=report
        )
    out.print("spread   energy score, px   coverage of the 90 % region")
    for one in tried:
        out.print(f"{one.spread:6.2f} {one.energy_score:18.3f} {one.coverage_90:29.3f}")
    loaded.spread = best_of(tried).spread
    facts = {key: value for key, value in loaded.facts.items() if key != "spread"}
    loaded.save(out_file, facts | {"spread_fitted_on": clips.name})
    out.print(f"wrote {out_file}, whose residuals spread by {loaded.spread:g}")


def _evaluated(
    model: str, test: "ClipSet", train: "ClipSet | None", out_dir: Path, asked: Measuring, label: str = "evaluating"
) -> "Report":
    from ipoke.evaluation.metrics.evaluate import Settings, evaluate
    from ipoke.evaluation.metrics.protocol import PROTOCOLS
    from ipoke.sampling.model import PokeModel
    from ipoke.training.baselines.samplers import load_sampler

    settings = Settings(
        PROTOCOLS[asked.protocol],
        samples=asked.samples,
        pokes=asked.pokes,
        most=asked.most,
        calibrated=asked.calibrated,
        cloud=asked.cloud,
        seed=asked.seed,
        batch=asked.batch,
        workers=asked.workers or cores(),
    )
    sampler = load_sampler(model, train)
    if isinstance(sampler, PokeModel):
        sampler.reaches &= not asked.as_drawn
    with progress_bar(label) as report:
        return evaluate(sampler, test, train, out_dir, settings, progress=report)


def _drawn(draw: Callable[[], list[Path]]) -> None:
    """Draw figures, or say what they need."""
    try:
        for file in draw():
            out.print(f"wrote {file}")
    except InputError as error:
        err.print(one_line(f"no figures: {error}"))
