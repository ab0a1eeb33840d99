"""The command line: the one room that parses, prints, and chooses a device."""

import math
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Group, Parameter
from cyclopts.exceptions import CycloptsError, UnusedCliTokensError
from cyclopts.validators import Number

from ipoke.data.poke import Poke
from ipoke.errors import InputError
from ipoke.settings import load_recipe, recipe_names
from ipoke.terminal import TrainingView, err, out, progress_bar, stop_requests
from ipoke.version import __version__

if TYPE_CHECKING:
    import torch

app = App(
    name="ipoke",
    version=__version__,
    help="Poke a still image and sample many plausible videos.",
    default_parameter=Parameter(negative=()),
    suppress_keyboard_interrupt=False,
)
"""The commands; `main` runs one. PyTorch is imported inside them, so that help and mistakes answer at once."""
USE = Group.create_ordered("Use a model")
MAKE = Group.create_ordered("Make a model")
app["--help"].group = app["--version"].group = Group.create_ordered("This program")

Count = Annotated[int, Parameter(validator=Number(gte=1))]
Seed = Annotated[int, Parameter(validator=Number(gte=0, lt=2**63))]
OutFile = Annotated[Path, Parameter(name="--out")]
OutDir = Annotated[Path, Parameter(name="--out")]
Places = Annotated[list[str], Parameter(negative=(), allow_leading_hyphen=True)]


@app.command(group=USE, sort_key=1)
def demo(*, out_dir: OutDir = Path("out")) -> None:
    """Poke the bundled still and write what could happen.

    Args:
        out_dir: Folder for demo.webp, demo.mp4, demo.png (film strip), demo.json (session) and still.png.
    """
    from ipoke.demo import run_demo

    with progress_bar("sampling") as report:
        files = run_demo(out_dir, report)
    for file in files:
        out.print(f"wrote {file}")
    out.print(f"play it back: ipoke poke --replay {out_dir / 'demo.json'} --out replay.webp")


@app.command(group=USE, sort_key=2)
def poke(
    image: Path | None = None,
    /,
    *,
    pokes: Annotated[Places | None, Parameter(name="--poke")] = None,
    pins: Annotated[Places | None, Parameter(name="--pin")] = None,
    out_file: OutFile,
    samples: Count = 5,
    seed: Seed = 0,
    temperature: float = 1.0,
    model: str = "scenes-64",
    replay: Path | None = None,
) -> None:
    """Sample what could happen when a picture is poked.

    The sampling is noted beside the answer, in a session file ending in .json, and can be replayed to the same bytes.

    Args:
        image: Any picture; pokes are given in its pixels, x to the right and y down from its top left.
        pokes: A drag x,y,dx,dy: the point at x,y is asked to move by dx,dy px. May be given several times.
        pins: A place x,y that is asked to stay. May be given several times.
        out_file: .webp, .gif and .mp4 play (several samples side by side), .png is a film strip.
        samples: How many clips to draw.
        seed: Of all chance; sample i is the same for any number of samples.
        temperature: 1 samples what the model believes; lower is less surprising, 0 its mode.
        model: Bundled name, run directory or .safetensors file.
        replay: Session file of an earlier sampling, instead of a picture and all that goes with it.
    """
    from ipoke.data.images import read_image
    from ipoke.model import load
    from ipoke.session import check_ending, reopen, sample, start_session, write_samples

    check_ending(out_file)
    with progress_bar("sampling") as report:
        report(0, 2)
        if replay is not None:
            if image is not None or pokes or pins:
                raise InputError("--replay: got a picture or pokes as well, expected the session alone")
            session, loaded, picture = reopen(replay)
        elif image is not None:
            _spare(image, out_file)
            drags = [Poke(*_numbers("--poke", text, 4)) for text in pokes or []]
            drags += [Poke(*_numbers("--pin", text, 2), 0.0, 0.0) for text in pins or []]
            picture, loaded = read_image(image), load(model)
            session = start_session(
                loaded,
                picture,
                drags,
                names=(image, model),
                folder=out_file.parent,
                samples=samples,
                seed=seed,
                temperature=temperature,
            )
        else:
            raise InputError("image: got none, expected the path of a picture or --replay SESSION.json")
        report(1, 2)
        write_samples(out_file, sample(session, loaded, picture), session.poke_list())
        if replay is None:
            session.save(out_file.with_suffix(".json"))
        report(2, 2)
    out.print(f"wrote {out_file}")


@app.command(group=USE, sort_key=3)
def transfer(video: Path, image: Path, /, *, out_file: OutFile, stride: Count = 1, model: str = "scenes-64") -> None:
    """Animate a picture with the motion of a video.

    Args:
        video: The video; the motion residual of its first clip is taken.
        image: The picture to animate, best in a similar pose.
        out_file: .webp, .gif, .mp4, or .png for a film strip.
        stride: Take every k-th frame of the video.
        model: Bundled name, run directory or .safetensors file.
    """
    from ipoke.data.images import read_image
    from ipoke.model import load
    from ipoke.session import check_ending, write_samples
    from ipoke.video_clip import first_clip, strongest_poke

    check_ending(out_file)
    _spare(video, out_file)
    _spare(image, out_file)
    picture, loaded = read_image(image), load(model)
    clip = first_clip(video, loaded.recipe, stride)
    write_samples(out_file, loaded.transfer(clip, picture, strongest_poke(clip, loaded.recipe)), [])
    out.print(f"wrote {out_file}")


@app.command(group=USE, sort_key=4)
def affinity(
    image: Path,
    /,
    *,
    at: Annotated[str, Parameter(allow_leading_hyphen=True)],
    out_file: OutFile,
    pokes: Count = 64,
    seed: Seed = 0,
    model: str = "scenes-64",
) -> None:
    """Map what moves along when a place is pulled.

    Args:
        image: Any picture.
        at: The place x,y in its pixels.
        out_file: A .png.
        pokes: Number of random pulls.
        seed: Of the pulls and the residuals.
        model: Bundled name, run directory or .safetensors file.
    """
    from ipoke.data.images import read_image, write_png
    from ipoke.model import load
    from ipoke.render import heat_map

    if out_file.suffix.lower() != ".png":
        raise InputError(f"--out: got {out_file.name!r}, expected a file ending in .png")
    _spare(image, out_file)
    x, y = _numbers("--at", at, 2)
    picture = read_image(image)
    values = load(model).affinity(picture, x, y, pokes=pokes, seed=seed)
    write_png(out_file, heat_map(picture, values, (x, y)))
    out.print(f"wrote {out_file}")


@app.command(group=USE, sort_key=5)
def score(
    video: Path,
    /,
    *,
    pokes: Annotated[Places | None, Parameter(name="--poke")] = None,
    stride: Count = 1,
    model: str = "scenes-64",
) -> None:
    """Tell how likely the first clip of a video is.

    Args:
        video: The video; its first frame is the picture that is poked.
        pokes: A drag x,y,dx,dy in the model's pixels; the strongest motion of the clip if none is given.
        stride: Take every k-th frame.
        model: Bundled name, run directory or .safetensors file.
    """
    from ipoke.model import load
    from ipoke.video_clip import first_clip, strongest_poke

    drags = [Poke(*_numbers("--poke", text, 4)) for text in pokes or []]
    loaded = load(model)
    clip = first_clip(video, loaded.recipe, stride)
    result = loaded.score(clip, drags or strongest_poke(clip, loaded.recipe))
    out.print(f"log-likelihood {result.log_prob_nats:.2f} nats, {result.bits_per_dim:.4f} bits per latent dimension")


@app.command(group=USE, sort_key=6)
def info(model: str | None = None, /) -> None:
    """Describe this installation, or a model.

    Args:
        model: Bundled name, run directory or .safetensors file.
    """
    facts = _about_here() if model is None else _about_model(model)
    width = max(len(name) for name, _ in facts)
    for name, value in facts:
        out.print(f"{name:{width}}  {value}")


@app.command(group=MAKE, sort_key=1)
def scenes(
    *, out_dir: OutDir, clips: Count = 1000, size: Count = 64, seed: Seed = 0, workers: Count | None = None
) -> None:
    """Simulate clips of plants and puppets: a prepared set.

    Args:
        out_dir: Folder of the prepared set; repeating the command finishes or prolongs it.
        clips: How many clips the set shall hold.
        size: Side of the frames, px.
        seed: Clip i depends on the seed and i alone.
        workers: Processes; as many as there are cores if unset.
    """
    from ipoke.scenes import write_scenes

    with progress_bar("simulating") as report:
        count = write_scenes(out_dir, clips=clips, size=size, seed=seed, workers=workers or _cores(), progress=report)
    out.print(f"{out_dir}: {count} clips of {size} px")


@app.command(group=MAKE, sort_key=2)
def prepare(
    videos: list[Path],
    /,
    *,
    out_dir: OutDir,
    size: Count = 64,
    frames: Count = 10,
    stride: Count = 1,
    resize: Literal["crop", "letterbox"] = "crop",
    optical_flow: Literal["dis", "raft"] = "dis",
    test_fraction: float | None = None,
    test_videos: str | None = None,
    workers: Count | None = None,
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

    with progress_bar("preparing") as report:
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
        out.print(line)


@app.command(group=MAKE, sort_key=3)
def train(
    clips: Path,
    /,
    *,
    recipe: str,
    out_dir: OutDir,
    stage: str | None = None,
    settings: Annotated[list[str] | None, Parameter(name="--set", negative=())] = None,
    device: str | None = None,
    threads: Count | None = None,
) -> None:
    """Train all stages in turn; the same command goes on where it stopped.

    Args:
        clips: A prepared set; its training split is used.
        recipe: Name of a recipe that comes with ipoke (ipoke info lists them), or a TOML file.
        out_dir: The run: settings, metrics, checkpoints, samples, model.safetensors.
        stage: Stop after this stage: autoencoder, image_encoder, poke_encoder or latent_flow.
        settings: A recipe key to change, such as train.seed=1. May be given several times.
        device: cpu or cuda; a GPU is used where there is one.
        threads: Threads of tensor arithmetic; as many as PyTorch takes if unset.
    """
    resolved = load_recipe(recipe, settings or [])

    import torch

    from ipoke.data.clips import ClipSet
    from ipoke.training.loop import TrainingStopped
    from ipoke.training.train import train as train_stages

    if threads is not None:
        torch.set_num_threads(threads)
    data = ClipSet(clips, split="train")
    with stop_requests() as should_stop, TrainingView() as view:
        try:
            model = train_stages(
                data, resolved, out_dir, reporter=view, stage=stage, device=_device(device), should_stop=should_stop
            )
        except TrainingStopped:
            err.print(f"stopped; the checkpoint is written, repeat the command to go on ({out_dir})")
            raise SystemExit(130) from None
    out.print(f"wrote {model}")


@app.command(group=MAKE, sort_key=4)
def evaluate(
    model: str,
    clips: Path,
    /,
    *,
    out_dir: OutDir,
    samples: Annotated[int, Parameter(validator=Number(gte=2))] = 5,
    most: Count = 200,
    seed: Seed = 0,
) -> None:
    """Measure a model on held-out clips: a report and film strips.

    Args:
        model: Bundled name, run directory or .safetensors file.
        clips: A prepared set; the clips of its test split are poked.
        out_dir: Folder for report.json, report.md and strips/.
        samples: Clips drawn per poke.
        most: At most this many test clips, spread over the split.
        seed: Of pokes and residuals.
    """
    from ipoke.data.clips import ClipSet
    from ipoke.metrics.report import evaluate as measure
    from ipoke.model import load

    with progress_bar("evaluating") as report:
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
        out.print(line)


def main() -> None:
    """Run a command; a person's mistake is one line on standard error and exit code 2."""
    try:
        app(sys.argv[1:], exit_on_error=False, print_error=False)
    except UnusedCliTokensError as error:
        left = " ".join(error.unused_tokens or [])
        err.print(f"ipoke: got {left!r}, which nothing takes; give an option's name before each value", style="red")
        raise SystemExit(2) from None
    except (InputError, CycloptsError) as error:
        err.print(f"ipoke: {' '.join(str(error).split())}", style="red")
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        err.print("stopped; nothing half-written was left, repeat the command to go on")
        raise SystemExit(130) from None
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            raise SystemExit(1) from None
        err.print(f"ipoke: {' '.join(str(error).split())}", style="red")
        raise SystemExit(2) from None


def _about_here() -> list[tuple[str, str]]:
    import torch

    from ipoke.model import bundled_models

    return [
        ("ipoke", __version__),
        ("torch", f"{torch.__version__}, {torch.get_num_threads()} threads"),
        ("device", str(_device(None))),
        ("bundled models", ", ".join(bundled_models()) or "none"),
        ("recipes", ", ".join(recipe_names())),
    ]


def _about_model(name: str) -> list[tuple[str, str]]:
    from ipoke.model import load
    from ipoke.settings import LATENT_SIDE

    model = load(name)
    recipe, side = model.recipe, LATENT_SIDE
    parts = (
        ("autoencoder", model.autoencoder),
        ("condition encoders", model.conditions),
        ("latent flow", model.latent_flow),
    )
    return [
        ("recipe", recipe.name),
        ("clips", f"{recipe.clip.size} px, {recipe.clip.frames} frames after the still"),
        ("latent", f"{recipe.latent_channels} x {side} x {side} = {recipe.latent_channels * side**2} dimensions"),
        *((title, f"{sum(p.numel() for p in part.parameters()):,} parameters") for title, part in parts),
        ("weights sha256", model.sha256),
        *model.facts.items(),
    ]


def _device(asked: str | None) -> "torch.device":
    """Take the device that was asked for, or a GPU where there is one."""
    import torch

    if asked is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, _, number = asked.partition(":")
    if kind == "cuda" and number in ("", *map(str, range(torch.cuda.device_count()))) and torch.cuda.is_available():
        return torch.device(asked)
    if asked != "cpu":
        known = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
        raise InputError(f"--device: got {asked!r}, expected {' or '.join(known)} on this machine")
    return torch.device("cpu")


def _spare(given: Path, out_file: Path) -> None:
    """Refuse to write over what a person gave."""
    if out_file.exists() and given.exists() and out_file.samefile(given):
        raise InputError(f"--out: {out_file} is the file that was given; choose another name")


def _numbers(option: str, text: str, count: int) -> tuple[float, ...]:
    """Read ``count`` comma-separated numbers."""
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = ()
    if len(values) != count or not all(map(math.isfinite, values)):
        shape, example = ("x,y,dx,dy", "40,22,9,-4") if count == 4 else ("x,y", "40,22")
        raise InputError(f"{option}: got {text!r}, expected finite numbers {shape} in px, such as {example}")
    return values


def _cores() -> int:
    """Count the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
