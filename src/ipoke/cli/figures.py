"""The commands that draw the paper's figures."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter
from cyclopts.validators import Number

from ipoke.cli.app import MEASURE, Count, OutDir, Samples, Seed, Unguided, Whole, app
from ipoke.cli.arguments import labelled
from ipoke.cli.terminal import out, progress_bar

if TYPE_CHECKING:
    from ipoke.data.clips import ClipSet
    from ipoke.evaluation.figures.record import Made

figure = App(
    name="figure",
    help="Draw one of the paper's figures: pictures, and a JSON file with the numbers.",
    group=MEASURE,
    sort_key=5,
)
app.command(figure)


@dataclass(frozen=True)
class Options:
    """Options of every figure."""

    seed: Annotated[Seed, Parameter(help="Seed of pokes and residuals.")] = 0
    split: Annotated[Literal["train", "test"], Parameter(help="Split of the set.")] = "test"
    unguided: Unguided = False

    def clips(self, folder: Path) -> "ClipSet":
        """Open the split."""
        from ipoke.data.clips import ClipSet

        return ClipSet(folder, split=self.split)


Common = Annotated[Options, Parameter(name="*")]
Numbers = Annotated[
    list[int] | None,
    Parameter(name="--clip", negative=()),
]


@figure.command(sort_key=1)
def samples(
    model: str,
    clips: Path,
    /,
    *,
    out_dir: OutDir,
    samples: Samples = 3,
    numbers: Numbers = None,
    most: Count = 6,
    common: Common = Options(),
) -> None:
    """Show samples for one poke beside the true clip (Figs. 3 to 5).

    Args:
        model: A model or a baseline: bundled name, run directory, .safetensors file, copy-x0 or nearest-clip.
        clips: A prepared set.
        out_dir: Folder for samples.png, a film strip per clip, and samples.json.
        samples: Samples per poke.
        numbers: Number of a clip in its split. Can be given several times.
        most: At most this many clips, evenly spaced over the split, if --clip chooses none.
        common: Options of every figure.
    """
    from ipoke.evaluation.figures.samples import draw_samples
    from ipoke.training.baselines.samplers import load_sampler

    opened, sampler = common.clips(clips), load_sampler(model, clips)
    with progress_bar("drawing") as report:
        made = draw_samples(
            sampler,
            opened,
            out_dir,
            samples=samples,
            numbers=numbers,
            most=most,
            seed=common.seed,
            guidance=not common.unguided,
            progress=report,
        )
    _print(made)


@figure.command(sort_key=2)
def transfer(
    model: str,
    clips: Path,
    /,
    *,
    out_dir: OutDir,
    numbers: Numbers = None,
    most: Count = 20,
    strips: Count = 4,
    samples: Samples = 5,
    common: Common = Options(),
) -> None:
    """Transfer the motion of clips to other pictures in a similar pose (Fig. 6).

    Args:
        model: Bundled name, run directory or .safetensors file.
        clips: A prepared set; the motion of a clip goes to the nearest pose in another video of the split.
        out_dir: Folder for film strips and transfer.json.
        numbers: Number of a clip in its split. Can be given several times.
        most: At most this many clips, evenly spaced over the split, if --clip chooses none.
        strips: Film strips, of the first clips.
        samples: Random residuals per clip, to compare with the transferred one.
        common: Options of every figure.
    """
    from ipoke.evaluation.figures.transfer import draw_transfer
    from ipoke.sampling.model import load

    opened, loaded = common.clips(clips), load(model)
    with progress_bar("drawing") as report:
        made = draw_transfer(
            loaded,
            opened,
            out_dir,
            numbers=numbers,
            most=most,
            strips=strips,
            samples=samples,
            seed=common.seed,
            guidance=not common.unguided,
            progress=report,
        )
    _print(made)


@figure.command(sort_key=3)
def sensitivity(
    model: str,
    clips: Path,
    /,
    *,
    out_dir: OutDir,
    numbers: Numbers = None,
    most: Count = 10,
    sheets: Count = 4,
    directions: Annotated[int, Parameter(validator=Number(gte=4, lte=64))] = 32,
    common: Common = Options(),
) -> None:
    """Poke one point in every direction of the full circle.

    Args:
        model: A model or a baseline: bundled name, run directory, .safetensors file, copy-x0 or nearest-clip.
        clips: A prepared set; the poke of a clip keeps its point and its length.
        out_dir: Folder for sensitivity.png, sheets of last frames, and sensitivity.json.
        numbers: Number of a clip in its split. Can be given several times.
        most: At most this many clips, evenly spaced over the split, if --clip chooses none.
        sheets: Sheets of last frames, of the first clips.
        directions: Number of directions.
        common: Options of every figure.
    """
    from ipoke.evaluation.figures.sensitivity import draw_sensitivity
    from ipoke.training.baselines.samplers import load_sampler

    opened, sampler = common.clips(clips), load_sampler(model, clips)
    with progress_bar("drawing") as report:
        made = draw_sensitivity(
            sampler,
            opened,
            out_dir,
            numbers=numbers,
            most=most,
            sheets=sheets,
            directions=directions,
            seed=common.seed,
            guidance=not common.unguided,
            progress=report,
        )
    _print(made)


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
    common: Common = Options(),
) -> None:
    """Compare the distance of the poked point from its target, for one or several models (Fig. 8).

    Args:
        model: A model or a baseline: bundled name, run directory, .safetensors file, copy-x0 or nearest-clip.
        clips: A prepared set.
        out_dir: Folder for control-error.png and control-error.json.
        others: Another model, as NAME or LABEL=NAME. Can be given several times.
        most: At most this many clips, evenly spaced over the split.
        drop_outliers: Drop clips beyond 3 standard deviations, as the original's plots do.
        common: Options of every figure.
    """
    from ipoke.evaluation.figures.control_error import draw_control_error
    from ipoke.training.baselines.samplers import load_sampler

    opened = common.clips(clips)
    samplers = {label: load_sampler(name, clips) for label, name in labelled([model, *(others or [])])}
    with progress_bar("measuring") as report:
        made = draw_control_error(
            samplers,
            opened,
            out_dir,
            most=most,
            drop_outliers=drop_outliers,
            seed=common.seed,
            guidance=not common.unguided,
            progress=report,
        )
    _print(made)


@figure.command(sort_key=5)
def ambiguity(
    model: str,
    clips: Path,
    /,
    *,
    out_dir: OutDir,
    samples: Annotated[int, Whole, Parameter(validator=Number(gte=2, lte=256))] = 50,
    most: Count = 50,
    common: Common = Options(),
) -> None:
    """Measure error and sample diversity against the number of pokes (Fig. 9).

    Args:
        model: A model or a baseline: bundled name, run directory, .safetensors file, copy-x0 or nearest-clip.
        clips: A prepared set.
        out_dir: Folder for ambiguity.png and ambiguity.json.
        samples: Samples per clip and number of pokes.
        most: At most this many clips, evenly spaced over the split.
        common: Options of every figure.
    """
    from ipoke.evaluation.figures.ambiguity import draw_ambiguity
    from ipoke.training.baselines.samplers import load_sampler

    opened, sampler = common.clips(clips), load_sampler(model, clips)
    with progress_bar("measuring") as report:
        made = draw_ambiguity(
            sampler,
            opened,
            out_dir,
            samples=samples,
            most=most,
            seed=common.seed,
            guidance=not common.unguided,
            progress=report,
        )
    _print(made)


def _print(made: "Made") -> None:
    for name, estimate in made.metrics.items():
        if estimate.value is None or estimate.low is None or estimate.high is None:
            out.print(f"{name}: unavailable: {estimate.reason}")
        else:
            unit = f" {estimate.unit}" if estimate.unit else ""
            interval = f"{estimate.low:.4g} to {estimate.high:.4g}"
            out.print(f"{name}: {estimate.value:.4g}{unit} ({interval}, {estimate.n} clips)")
    for file in made.files:
        out.print(f"wrote {file}")
