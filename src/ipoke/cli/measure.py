"""The commands that measure models."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from ipoke.cli.app import MEASURE, Count, Few, OutDir, OutFile, Pair, Seed, Unguided, app
from ipoke.cli.arguments import cores, labelled, spare, splits
from ipoke.cli.terminal import err, out, progress_bar
from ipoke.core.errors import InputError, one_line

if TYPE_CHECKING:
    from ipoke.evaluation.metrics.evaluate import Settings
    from ipoke.evaluation.metrics.report import Report


@dataclass(frozen=True)
class Options:
    """Options of an evaluation."""

    protocol: Annotated[
        Literal["paper", "official"],
        Parameter(help="Which to follow where the paper and the released code measure differently."),
    ] = "paper"
    samples: Annotated[Pair, Parameter(help="Samples per clip.")] = 5
    pokes: Annotated[Literal[1, 2, 3, 4, 5], Parameter(help="Pokes per clip.")] = 1
    most: Annotated[Count, Parameter(help="At most this many test clips, evenly spaced over the split.")] = 1000
    calibrated: Annotated[
        Count, Parameter(help="How many of these to sample more often and compare with true futures.")
    ] = 100
    cloud: Annotated[Pair, Parameter(help="Samples of each of those, and true futures of simulated clips.")] = 20
    seed: Annotated[Seed, Parameter(help="Seed of pokes and residuals.")] = 0
    batch: Annotated[Few, Parameter(help="Clips sampled in one call; it changes numbers by rounding alone.")] = 4
    unguided: Unguided = False
    workers: Annotated[
        Few | None,
        Parameter(help="Threads, as many as cores by default; the numbers do not depend on it."),
    ] = None

    def settings(self) -> "Settings":
        """Return the settings of an evaluation."""
        from ipoke.evaluation.metrics.evaluate import Settings
        from ipoke.evaluation.metrics.protocol import PROTOCOLS

        return Settings(
            PROTOCOLS[self.protocol],
            samples=self.samples,
            pokes=self.pokes,
            most=self.most,
            calibrated=self.calibrated,
            cloud=self.cloud,
            seed=self.seed,
            guidance=not self.unguided,
            batch=self.batch,
            workers=self.workers or cores(),
        )


Common = Annotated[Options, Parameter(name="*")]


@app.command(group=MEASURE, sort_key=1)
def evaluate(model: str, clips: Path, /, *, out_dir: OutDir, common: Common = Options()) -> None:
    """Measure a model or a baseline on held-out clips; the same command resumes an interrupted evaluation.

    The pokes are drawn once per seed and stored beside the clips, so that all models are measured under the same pokes.

    Args:
        model: Bundled name, run directory or .safetensors file of a model or a baseline; or copy-x0, which repeats the
            still, or nearest-clip, which retrieves training clips.
        clips: A prepared set, of which the test split is measured.
        out_dir: Folder for report.json, report.md, figures, film strips and a row per clip.
        common: Options of an evaluation.
    """
    from ipoke.evaluation.figures.report_figures import draw_report
    from ipoke.evaluation.metrics.report import report_lines

    report = _evaluated(model, clips, out_dir, common)
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
    common: Common = Options(),
) -> None:
    """Make a table of the paper: several models under the same pokes, with their differences clip by clip.

    1 compares controlled synthesis, 2 stochastic synthesis, 3 the latent flow with a conditional VAE. Each model is
    evaluated as by ipoke evaluate, in a folder of its own; results that exist are reused.

    Args:
        number: 1, 2 or 3.
        clips: A prepared set, of which the test split is measured.
        models: A model, a baseline, copy-x0 or nearest-clip, as NAME or LABEL=NAME. Can be given several times; the
            others are compared with the first.
        out_dir: Folder for report.json, report.md, figures and a folder per model.
        common: Options of an evaluation.
    """
    from ipoke.evaluation.figures.report_figures import draw_table
    from ipoke.evaluation.metrics.table import write_table

    by_label = dict(labelled(models))
    reports = {label: _evaluated(name, clips, out_dir / label, common, label) for label, name in by_label.items()}
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
    """Calibrate a model: fit the standard deviation of its residuals to true futures, and write a new model file.

    Models that saw few clips are over-confident. The energy score chooses among several standard deviations, and the
    new model file keeps the best; its networks stay unchanged.

    Args:
        model: Bundled name, run directory or .safetensors file.
        clips: A prepared set, of which the test split is used. Take other clips than those of the training and of a
            later evaluation.
        out_file: The new model file, .safetensors.
        most: At most this many clips, evenly spaced over the split.
        samples: Samples per clip and standard deviation.
        seed: Seed of pokes and residuals.
    """
    if out_file.suffix != ".safetensors":
        raise InputError(f"--out: got {out_file.name!r}, expected a file ending in .safetensors")

    import torch

    from ipoke.data.clips import ClipSet
    from ipoke.evaluation.metrics.residual_std import best_of, try_residual_stds
    from ipoke.sampling.model import RESIDUAL_STD, find_model, load

    spare(find_model(model), out_file)
    loaded = load(model)
    torch.set_num_threads(1)
    with progress_bar("calibrating") as report:
        trials = try_residual_stds(
            loaded, ClipSet(clips, split="test"), most=most, samples=samples, seed=seed, progress=report
        )
    out.print("residual std   energy score, px   coverage of the 90 % region")
    for trial in trials:
        out.print(f"{trial.residual_std:12.2f} {trial.energy_score:18.3f} {trial.coverage_90:29.3f}")
    loaded.residual_std = best_of(trials).residual_std
    old = (RESIDUAL_STD, "spread_fitted_on")
    facts = {name: fact for name, fact in loaded.facts.items() if name not in old}
    loaded.save(out_file, facts | {"residual_std_fitted_on": clips.name})
    out.print(f"wrote {out_file}, whose residuals have the standard deviation {loaded.residual_std:g}")


def _evaluated(model: str, clips: Path, out_dir: Path, common: Options, label: str = "evaluating") -> "Report":
    from ipoke.evaluation.metrics.evaluate import evaluate
    from ipoke.training.baselines.samplers import load_sampler

    sampler, (test, train) = load_sampler(model, clips), splits(clips)
    with progress_bar(label) as report:
        return evaluate(sampler, test, train, out_dir, common.settings(), progress=report)


def _drawn(draw: Callable[[], list[Path]]) -> None:
    """Draw figures, or print why not."""
    try:
        for file in draw():
            out.print(f"wrote {file}")
    except InputError as error:
        err.print(one_line(f"no figures: {error}"))
