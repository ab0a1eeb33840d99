"""The commands that draw the paper's figures."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter
from cyclopts.validators import Number

from ipoke.cli.app import MEASURE, Count, OutDir, Samples, Seed, app
from ipoke.cli.arguments import labelled
from ipoke.cli.terminal import out, progress_bar

if TYPE_CHECKING:
    from ipoke.data.clips import ClipSet
    from ipoke.evaluation.figures.record import Made
    from ipoke.sampling.clip_sampler import ClipSampler

figure = App(
    name="figure",
    help="Draw one of the paper's figures: pictures, and a JSON file with the numbers.",
    group=MEASURE,
    sort_key=5,
)
app.command(figure)

Clips = Annotated[list[int] | None, Parameter(name="--clip", negative=())]
Which = Literal["train", "test"]


@figure.command(sort_key=1)
def samples(
    model: str,
    clips: Path,
    /,
    *,
    out_dir: OutDir,
    samples: Samples = 3,
    numbers: Clips = None,
    most: Count = 6,
    seed: Seed = 0,
    split: Which = "test",
) -> None:
    """Show what could happen after a poke, beside what did (Figs. 3 to 5).

    Args:
        model: A model or a baseline: bundled name, run directory, .safetensors file, copy-x0 or nearest-clip.
        clips: A prepared set.
        out_dir: Folder for samples.png, a film strip per clip, and samples.json.
        samples: Clips drawn per poke.
        numbers: Number of a clip in its split. May be given several times.
        most: Clips, spread over the split, where none are given by number.
        seed: Of pokes and residuals.
        split: Part of the set.
    """
    from ipoke.evaluation.figures.samples import draw_samples

    opened, sampler = _clips(clips, split), _sampler(model, clips)
    with progress_bar("drawing") as report:
        made = draw_samples(
            sampler, opened, out_dir, samples=samples, numbers=numbers, most=most, seed=seed, progress=report
        )
    _tell(made)


@figure.command(sort_key=2)
def transfer(
    model: str,
    clips: Path,
    /,
    *,
    out_dir: OutDir,
    numbers: Clips = None,
    most: Count = 20,
    strips: Count = 4,
    samples: Samples = 5,
    seed: Seed = 0,
    split: Which = "test",
) -> None:
    """Carry the motion of clips over to other pictures in a similar pose (Fig. 6).

    Args:
        model: Bundled name, run directory or .safetensors file.
        clips: A prepared set; a clip's motion goes to the nearest pose in another video of the split.
        out_dir: Folder for film strips and transfer.json.
        numbers: Number of a clip in its split. May be given several times.
        most: Clips, spread over the split, where none are given by number.
        strips: Film strips, of the first clips.
        samples: Random residuals per clip that the transferred one is compared with.
        seed: Of pokes and residuals.
        split: Part of the set.
    """
    from ipoke.evaluation.figures.transfer import draw_transfer
    from ipoke.sampling.model import load

    opened, loaded = _clips(clips, split), load(model)
    with progress_bar("drawing") as report:
        made = draw_transfer(
            loaded,
            opened,
            out_dir,
            numbers=numbers,
            most=most,
            strips=strips,
            samples=samples,
            seed=seed,
            progress=report,
        )
    _tell(made)


@figure.command(sort_key=3)
def sensitivity(
    model: str,
    clips: Path,
    /,
    *,
    out_dir: OutDir,
    numbers: Clips = None,
    most: Count = 10,
    sheets: Count = 4,
    directions: Annotated[int, Parameter(validator=Number(gte=4, lte=64))] = 32,
    seed: Seed = 0,
    split: Which = "test",
) -> None:
    """Poke one place in every direction of the full circle.

    Args:
        model: A model or a baseline: bundled name, run directory, .safetensors file, copy-x0 or nearest-clip.
        clips: A prepared set; a clip's poke keeps its place and its length.
        out_dir: Folder for sensitivity.png, sheets of last frames, and sensitivity.json.
        numbers: Number of a clip in its split. May be given several times.
        most: Clips, spread over the split, where none are given by number.
        sheets: Sheets of last frames, of the first clips.
        directions: How many.
        seed: Of pokes and residuals.
        split: Part of the set.
    """
    from ipoke.evaluation.figures.sensitivity import draw_sensitivity

    opened, sampler = _clips(clips, split), _sampler(model, clips)
    with progress_bar("drawing") as report:
        made = draw_sensitivity(
            sampler,
            opened,
            out_dir,
            numbers=numbers,
            most=most,
            sheets=sheets,
            directions=directions,
            seed=seed,
            progress=report,
        )
    _tell(made)


@figure.command(sort_key=4)
def control_error(
    model: str,
    clips: Path,
    /,
    *,
    out_dir: OutDir,
    others: Annotated[list[str] | None, Parameter(name="--model", negative=())] = None,
    most: Count = 200,
    drop_outliers: bool = False,
    seed: Seed = 0,
    split: Which = "test",
) -> None:
    """Compare how far from its target the poked point ends, for one or several models (Fig. 8).

    Args:
        model: A model or a baseline: bundled name, run directory, .safetensors file, copy-x0 or nearest-clip.
        clips: A prepared set.
        out_dir: Folder for control-error.png and control-error.json.
        others: A further model, as NAME or LABEL=NAME. May be given several times.
        most: Clips, spread over the split.
        drop_outliers: Leave out clips beyond 3 standard deviations, as the original's plots do.
        seed: Of pokes and residuals.
        split: Part of the set.
    """
    from ipoke.evaluation.figures.control_error import draw_control_error

    opened = _clips(clips, split)
    samplers = {label: _sampler(name, clips) for label, name in labelled([model, *(others or [])])}
    with progress_bar("measuring") as report:
        made = draw_control_error(
            samplers, opened, out_dir, most=most, drop_outliers=drop_outliers, seed=seed, progress=report
        )
    _tell(made)


@figure.command(sort_key=5)
def ambiguity(
    model: str,
    clips: Path,
    /,
    *,
    out_dir: OutDir,
    samples: Annotated[int, Parameter(validator=Number(gte=2))] = 50,
    most: Count = 50,
    seed: Seed = 0,
    split: Which = "test",
) -> None:
    """Measure how much is left to chance as more pokes are asked (Fig. 9).

    Args:
        model: A model or a baseline: bundled name, run directory, .safetensors file, copy-x0 or nearest-clip.
        clips: A prepared set.
        out_dir: Folder for ambiguity.png and ambiguity.json.
        samples: Clips drawn per clip and number of pokes.
        most: Clips, spread over the split.
        seed: Of pokes and residuals.
        split: Part of the set.
    """
    from ipoke.evaluation.figures.ambiguity import draw_ambiguity

    opened, sampler = _clips(clips, split), _sampler(model, clips)
    with progress_bar("measuring") as report:
        made = draw_ambiguity(sampler, opened, out_dir, samples=samples, most=most, seed=seed, progress=report)
    _tell(made)


def _clips(folder: Path, split: Which) -> "ClipSet":
    from ipoke.data.clips import ClipSet

    return ClipSet(folder, split=split)


def _sampler(name: str, clips: Path) -> "ClipSampler":
    """Load what answers; every figure but transfer asks no more of it than that."""
    from ipoke.training.baselines.samplers import load_sampler

    return load_sampler(name, _clips(clips, "train"))


def _tell(made: "Made") -> None:
    for name, estimate in made.metrics.items():
        if estimate.value is None or estimate.low is None or estimate.high is None:
            out.print(f"{name}: unavailable: {estimate.reason}")
        else:
            unit = f" {estimate.unit}" if estimate.unit else ""
            interval = f"{estimate.low:.4g} to {estimate.high:.4g}"
            out.print(f"{name}: {estimate.value:.4g}{unit} ({interval}, {estimate.n} clips)")
    for file in made.files:
        out.print(f"wrote {file}")
