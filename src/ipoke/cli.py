"""The command line: the one room that prints, parses, and chooses a device."""

import os
import signal
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated, Literal

import torch
from cyclopts import App, Parameter
from cyclopts.exceptions import CycloptsError
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from ipoke.data.clips import ClipSet
from ipoke.data.images import read_image
from ipoke.data.poke import Poke
from ipoke.errors import InputError
from ipoke.model import bundled_models, load
from ipoke.settings import STAGES, load_recipe, recipe_names
from ipoke.version import __version__

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)
app = App(
    name="ipoke",
    version=__version__,
    help="Poke a still image and sample many plausible videos.",
    default_parameter=Parameter(negative=()),
)
"""The commands; `main` runs one."""


@app.command
def demo(*, out_dir: Annotated[Path, Parameter(name="--out")] = Path("out")) -> None:
    """Poke the bundled still with the bundled model and write what could happen.

    Args:
        out_dir: Folder for demo.webp, demo.mp4, demo.png (film strip), demo.json (session) and still.png.
    """
    from ipoke.demo import run_demo

    with _progress("sampling") as report:
        files = run_demo(out_dir, report)
    for file in files:
        out.print(f"wrote {file}")
    out.print(f"play it back: ipoke poke --replay {out_dir / 'demo.json'} --out replay.webp")


@app.command
def scenes(
    *,
    out_dir: Annotated[Path, Parameter(name="--out")],
    clips: int = 1000,
    size: int = 64,
    seed: int = 0,
    workers: int | None = None,
) -> None:
    """Simulate clips of plants and puppets in the prepared format.

    Args:
        out_dir: Folder of the prepared set; repeating the command finishes or prolongs it.
        clips: How many clips the set shall hold.
        size: Side of the frames, px.
        seed: Clip i depends on the seed and i alone.
        workers: Processes; as many as there are cores if unset.
    """
    from ipoke.scenes import write_scenes

    with _progress("simulating") as report:
        count = write_scenes(out_dir, clips=clips, size=size, seed=seed, workers=workers or _cores(), progress=report)
    out.print(f"{out_dir}: {count} clips of {size} px")


@app.command
def prepare(
    videos: list[Path],
    /,
    *,
    out_dir: Annotated[Path, Parameter(name="--out")],
    size: int = 64,
    frames: int = 10,
    stride: int = 1,
    resize: Literal["crop", "letterbox"] = "crop",
    optical_flow: Literal["dis", "raft"] = "dis",
    test_fraction: float | None = None,
    test_videos: str | None = None,
    workers: int | None = None,
) -> None:
    """Turn videos and folders of videos into a prepared set.

    Args:
        videos: Video files (MP4, MKV, AVI, MOV, WebM, GIF), folders of them, folders of frames.
        out_dir: Folder of the prepared set; repeating the command finishes an interrupted one.
        size: Side of the frames, px.
        frames: Frames of a clip after its first.
        stride: Take every k-th frame.
        resize: Crop the middle square, or letterbox the whole frame.
        optical_flow: Estimator of the displacements that pokes are read from.
        test_fraction: Share of the videos to hold out; 0.1 if neither this nor --test-videos is given.
        test_videos: Hold out the videos whose name matches this pattern.
        workers: Processes; as many as there are cores if unset.
    """
    from ipoke.data.prepare import prepare as prepare_videos

    with _progress("preparing") as report:
        result = prepare_videos(
            videos,
            out_dir,
            size=size,
            frames=frames,
            stride=stride,
            resize=resize,
            optical_flow=optical_flow,
            test_fraction=test_fraction,
            test_videos=test_videos,
            workers=workers or _cores(),
            progress=lambda done, total, _: report(done, total),
        )
    for line in result.lines():
        out.print(line, markup=False)


@app.command
def train(
    clips: Path,
    /,
    *,
    recipe: str,
    out_dir: Annotated[Path, Parameter(name="--out")],
    stage: str | None = None,
    settings: Annotated[list[str], Parameter(name="--set", negative=())] | None = None,
    device: str | None = None,
    threads: int | None = None,
) -> None:
    """Train all stages in turn; the same command goes on where it stopped.

    Args:
        clips: A prepared set; its training split is used.
        recipe: Name of a recipe that comes with ipoke, or a TOML file.
        out_dir: The run: settings, metrics, checkpoints, samples, model.safetensors.
        stage: Stop after this stage.
        settings: Recipe keys to change, such as train.seed=1.
        device: cpu or cuda; a GPU is used where there is one.
        threads: Threads of tensor arithmetic.
    """
    from ipoke.training.loop import TrainingStopped
    from ipoke.training.train import train as train_stages

    torch.set_num_threads(threads or _cores())
    chosen = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    resolved = load_recipe(recipe, settings or [])
    data = ClipSet(clips, split="train")
    with _stopping() as stopping, _TrainingView() as view:
        try:
            model = train_stages(
                data,
                resolved,
                out_dir,
                reporter=view,
                stage=stage,
                device=chosen,
                should_stop=stopping,
            )
        except TrainingStopped:
            err.print(f"stopped; the checkpoint is written, repeat the command to go on ({out_dir})")
            raise SystemExit(130) from None
    out.print(f"wrote {model}")


@app.command
def poke(
    image: Path | None = None,
    /,
    *,
    pokes: Annotated[list[str], Parameter(name="--poke", negative=())] | None = None,
    pins: Annotated[list[str], Parameter(name="--pin", negative=())] | None = None,
    model: str = "scenes-64",
    samples: int = 5,
    seed: int = 0,
    temperature: float = 1.0,
    out_file: Annotated[Path, Parameter(name="--out")],
    replay: Path | None = None,
) -> None:
    """Sample what could happen when a picture is poked.

    Args:
        image: Any picture; pokes are given in its pixels.
        pokes: A drag x,y,dx,dy in px; may be given several times.
        pins: A place x,y that shall stay; may be given several times.
        model: Bundled name, run directory or .safetensors file.
        samples: How many clips to draw.
        seed: Of all chance; sample i is the same for any number of samples.
        temperature: Below 1 less surprising, 0 the mode.
        out_file: .webp, .gif and .mp4 play (several samples in a grid), .png is a film strip.
        replay: Session JSON of an earlier sampling, instead of the picture and all else.
    """
    from ipoke.session import check_ending, reopen, sample, start_session, write_samples

    check_ending(out_file)
    with _progress("sampling") as report:
        report(0, 2)
        if replay is not None:
            if image is not None or pokes or pins:
                raise InputError("--replay: got a picture or pokes as well, expected the session alone")
            session, loaded, picture = reopen(replay)
        elif image is not None:
            picture, loaded = read_image(image), load(model)
            asked = [_numbers("--poke", text, 4) for text in pokes or []]
            asked += [(*_numbers("--pin", text, 2), 0.0, 0.0) for text in pins or []]
            drags = [Poke(*values) for values in asked]
            name = os.path.relpath(image, out_file.parent)
            session = start_session(
                loaded, model, name, picture, drags, samples=samples, seed=seed, temperature=temperature
            )
        else:
            raise InputError("image: got none, expected the path of a picture or --replay SESSION.json")
        report(1, 2)
        write_samples(out_file, sample(session, loaded, picture), session.poke_list())
        if replay is None:
            session.save(out_file.with_suffix(".json"))
        report(2, 2)
    out.print(f"wrote {out_file}")


@app.command
def transfer(
    video: Path,
    image: Path,
    /,
    *,
    model: str = "scenes-64",
    stride: int = 1,
    out_file: Annotated[Path, Parameter(name="--out")],
) -> None:
    """Animate a picture with the motion residual of a video's first clip.

    Args:
        video: The video to take the motion from.
        image: The picture to animate, best in a similar pose.
        model: Bundled name, run directory or .safetensors file.
        stride: Take every k-th frame of the video.
        out_file: .webp, .gif, .mp4, or .png for a film strip.
    """
    from ipoke.session import check_ending, write_samples
    from ipoke.video_clip import first_clip, strongest_poke

    check_ending(out_file)
    loaded = load(model)
    clip = first_clip(video, loaded.recipe, stride)
    drag = strongest_poke(clip, loaded.recipe)
    write_samples(out_file, loaded.transfer(clip, read_image(image), drag), [])
    out.print(f"wrote {out_file}")


@app.command
def affinity(
    image: Path,
    /,
    *,
    at: str,
    model: str = "scenes-64",
    pokes: int = 64,
    seed: int = 0,
    out_file: Annotated[Path, Parameter(name="--out")],
) -> None:
    """Map what moves along when a place is pulled.

    Args:
        image: Any picture.
        at: The place x,y in its pixels.
        model: Bundled name, run directory or .safetensors file.
        pokes: Number of random pulls.
        seed: Of the pulls and the residuals.
        out_file: A .png.
    """
    from ipoke.data.images import write_png
    from ipoke.render import heat_map

    if out_file.suffix.lower() != ".png":
        raise InputError(f"--out: got {out_file.name!r}, expected a file ending in .png")
    picture = read_image(image)
    x, y = _numbers("--at", at, 2)
    write_png(out_file, heat_map(picture, load(model).affinity(picture, x, y, pokes=pokes, seed=seed), (x, y)))
    out.print(f"wrote {out_file}")


@app.command
def score(
    video: Path,
    /,
    *,
    model: str = "scenes-64",
    pokes: Annotated[list[str], Parameter(name="--poke", negative=())] | None = None,
    stride: int = 1,
) -> None:
    """Tell how likely the first clip of a video is, given its first frame and pokes.

    Args:
        video: The video.
        model: Bundled name, run directory or .safetensors file.
        pokes: Drags x,y,dx,dy in the model's pixels; the strongest motion of the clip if none is given.
        stride: Take every k-th frame.
    """
    from ipoke.video_clip import first_clip, strongest_poke

    loaded = load(model)
    clip = first_clip(video, loaded.recipe, stride)
    drags = [Poke(*_numbers("--poke", text, 4)) for text in pokes or []] or strongest_poke(clip, loaded.recipe)
    result = loaded.score(clip, drags)
    out.print(f"log-likelihood {result.log_prob_nats:.2f} nats, {result.bits_per_dim:.4f} bits per latent dimension")


@app.command
def evaluate(
    model: str,
    clips: Path,
    /,
    *,
    out_dir: Annotated[Path, Parameter(name="--out")],
    samples: int = 5,
    most: int = 200,
    seed: int = 0,
) -> None:
    """Measure a model on the test split of a prepared set: report.json, report.md and film strips.

    Args:
        model: Bundled name, run directory or .safetensors file.
        clips: A prepared set.
        out_dir: Folder of the report.
        samples: Clips drawn per poke.
        most: At most this many test clips, spread over the split.
        seed: Of pokes and residuals.
    """
    from ipoke.metrics.report import evaluate as measure

    with _progress("evaluating") as report:
        lines = measure(
            load(model),
            ClipSet(clips, split="test"),
            ClipSet(clips, split="train"),
            out_dir,
            samples=samples,
            most=most,
            seed=seed,
            progress=report,
        )
    for line in lines:
        out.print(line, markup=False)


@app.command
def info(model: str | None = None, /) -> None:
    """Describe this installation, or a model.

    Args:
        model: Bundled name, run directory or .safetensors file.
    """
    table = Table(show_header=False, box=None)
    if model is None:
        table.add_row("ipoke", __version__)
        table.add_row("torch", f"{torch.__version__}, {torch.get_num_threads()} threads")
        table.add_row("device", "cuda" if torch.cuda.is_available() else "cpu")
        table.add_row("bundled models", ", ".join(bundled_models()) or "none")
        table.add_row("recipes", ", ".join(recipe_names()))
        out.print(table)
        return
    loaded = load(model)
    table.add_row("recipe", loaded.recipe.name)
    table.add_row("clips", f"{loaded.recipe.clip.size} px, {loaded.recipe.clip.frames} frames after the still")
    latent = loaded.recipe.latent_channels
    table.add_row("latent", f"{latent} x 8 x 8 = {latent * 64} dimensions")
    for name, part in (
        ("autoencoder", loaded.autoencoder),
        ("condition encoders", loaded.conditions),
        ("latent flow", loaded.latent_flow),
    ):
        table.add_row(name, f"{sum(p.numel() for p in part.parameters()):,} parameters")
    table.add_row("weights sha256", loaded.sha256)
    for key, value in loaded.facts.items():
        table.add_row(key, value)
    out.print(table)


def main() -> None:
    """Run a command; a person's mistake is one line on standard error and exit code 2."""
    try:
        app(exit_on_error=False, print_error=False)
    except InputError as error:
        err.print(f"ipoke: {' '.join(str(error).split())}", style="red", markup=False)
        raise SystemExit(2) from None
    except CycloptsError as error:
        err.print(f"ipoke: {' '.join(str(error).split())}", style="red", markup=False)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        err.print("stopped; nothing half-written was left, repeat the command to go on")
        raise SystemExit(130) from None
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None


class _TrainingView:
    """A progress bar per stage with an ETA, and the losses behind it."""

    def __init__(self) -> None:
        self._bars = _bars(TextColumn("{task.fields[figures]}"))
        self._tasks: dict[str, TaskID] = {}
        self._plain = 0.0

    def __enter__(self) -> "_TrainingView":
        self._bars.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bars.stop()

    def progress(self, stage: str, clips: int, total: int, figures: dict[str, float]) -> None:
        """Move the stage's bar, or print a line a minute where nobody watches."""
        shown = {name: value for name, value in figures.items() if not name.startswith("gradient_norm")}
        text = " ".join(f"{name} {value:.3g}" for name, value in shown.items())
        if stage not in self._tasks:
            number = STAGES.index(stage) + 1
            self._tasks[stage] = self._bars.add_task(
                f"{number}/{len(STAGES)} {stage}", total=total, completed=clips, figures=""
            )
        self._bars.update(self._tasks[stage], completed=clips, figures=text)
        if not err.is_terminal and (time.monotonic() - self._plain > 60 or clips >= total):
            self._plain = time.monotonic()
            err.print(f"{stage} {clips}/{total} {text}", markup=False)

    def note(self, text: str) -> None:
        """Print a line above the bars."""
        self._bars.console.print(text, markup=False)


def _bars(*columns: TextColumn) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        *columns,
        console=err,
        disable=not err.is_terminal,
    )


@contextmanager
def _progress(what: str) -> Generator[Callable[[int, int], None]]:
    """Show a bar, with an ETA, that the yielded function moves: (done, total)."""
    with _bars() as bars:
        task = bars.add_task(what, total=None)

        def report(done: int, total: int) -> None:
            bars.update(task, completed=done, total=total)

        yield report


@contextmanager
def _stopping() -> Generator[Callable[[], bool]]:
    """Turn the first Ctrl-C into a wish that the yielded function tells of; the second one kills."""
    asked = False

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        asked = True
        err.print("stopping after this step; Ctrl-C again kills")

    previous = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _numbers(option: str, text: str, count: int) -> tuple[float, ...]:
    """Read ``count`` comma-separated numbers."""
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = ()
    if len(values) != count:
        shape, example = ("x,y,dx,dy", "40,22,9,-4") if count == 4 else ("x,y", "40,22")
        raise InputError(f"{option}: got {text!r}, expected {shape} in px, such as {example}")
    return values


def _cores() -> int:
    """Count the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
