"""The commands that use a model."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from ipoke.cli.app import USE, Count, Few, OutDir, OutFile, Places, Seed, Unguided, app, check_file_to_write
from ipoke.cli.arguments import device_of, numbers, spare
from ipoke.cli.terminal import err, out, progress_bar
from ipoke.core.errors import InputError
from ipoke.core.settings import recipe_names
from ipoke.core.version import __version__
from ipoke.data.poke import Poke

if TYPE_CHECKING:
    from ipoke.sampling.model import PokeModel


@app.command(group=USE, sort_key=1)
def demo(*, out_dir: OutDir = Path("out")) -> None:
    """Poke the bundled still, and write the sampled clips.

    Args:
        out_dir: Folder for demo.webp, demo.mp4, demo.png (film strip), demo.json (session) and still.png.
    """
    from ipoke.cli.demo import run_demo

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
    unguided: Unguided = False,
    model: str = "scenes-64",
    replay: Path | None = None,
) -> None:
    """Sample videos of a picture in which poked points follow their drags.

    A session file (.json) beside the output records the sampling. A replay on the same machine with the same versions
    gives the same bytes, for any number of threads; elsewhere a note tells if pixels differ.

    Args:
        image: The picture. Pokes are given in its pixels, x to the right and y down from the top left.
        pokes: A drag x,y,dx,dy: the point x,y moves by dx,dy px. Can be given several times.
        pins: A point x,y that stays in place. Can be given several times.
        out_file: .webp, .gif or .mp4 for a video (several samples side by side), .png for a film strip.
        samples: Number of clips to sample.
        seed: Random seed; sample i is the same for any number of samples and threads.
        temperature: Scale of the residuals, 0 to 2: 1 samples the model's distribution, 0 gives its mode.
        unguided: Sample without guidance, which adjusts residuals until the poked points reach their targets.
        model: Bundled name, run directory or .safetensors file.
        replay: Session file of an earlier sampling, instead of a picture and its options.
    """
    from ipoke.data.images import read_image
    from ipoke.sampling.model import load
    from ipoke.sampling.open_picture import redraw_notes
    from ipoke.sampling.session import check_ending, reopen, sample, start_session, unlike, write_answer, write_samples

    check_ending(out_file)
    with progress_bar("sampling") as report:
        report(0, 2)
        if replay is not None:
            if image is not None or pokes or pins:
                raise InputError("--replay: got a picture or pokes as well, expected the session alone; leave them out")
            session, loaded, picture = reopen(replay)
        elif image is not None:
            spare(image, out_file)
            check_file_to_write(out_file.with_suffix(".json"))
            drags = [Poke(*numbers("--poke", text, 4)) for text in pokes or []]
            drags += [Poke(*numbers("--pin", text, 2), 0.0, 0.0) for text in pins or []]
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
                guidance=not unguided,
            )
        else:
            raise InputError("image: got none, expected the path of a picture, or --replay SESSION.json")
        report(1, 2)
        clips, noted = sample(session, loaded, picture)
        if replay is None:
            write_answer(out_file, clips, noted)
        else:
            write_samples(out_file, clips, session.poke_list())
        report(2, 2)
    difference = unlike(session, noted) if replay is not None else None
    for line in (*redraw_notes(noted.draws or ()), *([difference] if difference else [])):
        err.print(line)
    out.print(f"wrote {out_file}")


@app.command(group=USE, sort_key=3)
def transfer(video: Path, image: Path, /, *, out_file: OutFile, stride: Count = 1, model: str = "scenes-64") -> None:
    """Animate a picture with the motion of a video.

    Args:
        video: The video; the residual of its first clip is used.
        image: The picture to animate, ideally in a similar pose.
        out_file: .webp, .gif or .mp4 for a video, .png for a film strip.
        stride: Use every k-th frame of the video.
        model: Bundled name, run directory or .safetensors file.
    """
    from ipoke.data.images import read_image
    from ipoke.sampling.model import load
    from ipoke.sampling.session import check_ending, write_samples
    from ipoke.sampling.video_clip import first_clip, strongest_poke

    check_ending(out_file)
    spare(video, out_file)
    spare(image, out_file)
    picture, loaded = read_image(image), load(model)
    clip = first_clip(video, loaded.recipe, stride)
    write_samples(out_file, loaded.transfer(clip, picture, strongest_poke(clip, loaded.recipe)), [])
    out.print(f"wrote {out_file}")


@app.command(group=USE, sort_key=4)
def correlation(
    image: Path,
    /,
    *,
    at: Annotated[str, Parameter(allow_leading_hyphen=True)],
    out_file: OutFile,
    pokes: Few = 128,
    seed: Seed = 0,
    model: str = "scenes-64",
) -> None:
    """Map the motion correlation with a point: which pixels move with it when it is dragged.

    Args:
        image: The picture.
        at: The point x,y, px of the picture.
        out_file: The heat map, .png.
        pokes: Number of random drags of the point.
        seed: Random seed of the drags and the residuals.
        model: Bundled name, run directory or .safetensors file.
    """
    from ipoke.data.images import read_image, write_png
    from ipoke.sampling.model import load
    from ipoke.sampling.render import heat_map

    if out_file.suffix.lower() != ".png":
        raise InputError(f"--out: got {out_file.name!r}, expected a file ending in .png")
    spare(image, out_file)
    x, y = numbers("--at", at, 2)
    picture = read_image(image)
    values = load(model).motion_correlation(picture, x, y, pokes=pokes, seed=seed)
    write_png(out_file, heat_map(picture, values, (x, y)))
    out.print(f"wrote {out_file}")


app.command(correlation, name="affinity", show=False)


@app.command(group=USE, sort_key=5)
def score(
    video: Path,
    /,
    *,
    pokes: Annotated[Places | None, Parameter(name="--poke")] = None,
    stride: Count = 1,
    model: str = "scenes-64",
) -> None:
    """Print the log-likelihood of the first clip of a video under its poke.

    Args:
        video: The video; its first frame is the poked picture.
        pokes: A drag x,y,dx,dy, px of the model; by default the strongest motion of the clip. Several can be given.
        stride: Use every k-th frame of the video.
        model: Bundled name, run directory or .safetensors file.
    """
    from ipoke.sampling.model import load
    from ipoke.sampling.video_clip import first_clip, strongest_poke

    drags = [Poke(*numbers("--poke", text, 4)) for text in pokes or []]
    loaded = load(model)
    clip = first_clip(video, loaded.recipe, stride)
    result = loaded.score(clip, drags or strongest_poke(clip, loaded.recipe))
    out.print(f"log-likelihood {result.log_prob_nats:.2f} nats, {result.bits_per_dim:.4f} bits per latent dimension")


@app.command(group=USE, sort_key=6)
def export(model: str = "scenes-64", /, *, format: Literal["onnx"] = "onnx", out_file: OutFile | None = None) -> None:
    """Export a model to another format, and check the exported file against the model.

    Inputs are source (1, 3, s, s) in [-1, 1], poke_map (1, 2, s, s) in px and noise (n, c, 8, 8), standard normal;
    output is frames (n, t, 3, s, s) in [-1, 1].

    Args:
        model: Bundled name, run directory or .safetensors file.
        format: onnx, for onnxruntime and others.
        out_file: The exported file; by default named after the model.
    """
    out_file = out_file or Path(Path(model).stem + f".{format}")
    if out_file.suffix.lower() != f".{format}":
        raise InputError(f"--out: got {out_file.name!r}, expected a file ending in .{format}")
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise InputError(f"export: {error.name} is not installed; pip install 'ipoke[onnx]'") from error

    from ipoke.exchange.export.onnx_model import export_onnx
    from ipoke.sampling.model import load

    loaded = load(model)
    with progress_bar("exporting") as report:
        report(0, 1)
        agreement = export_onnx(loaded, out_file)
        report(1, 1)
    but = f", but for {agreement.beyond} of {agreement.pixels} pixels" if agreement.beyond else ""
    out.print(f"wrote {out_file}; its frames differ from the model's by at most {agreement.largest:.1g}{but}")


@app.command(group=USE, sort_key=7)
def info(model: str | None = None, /) -> None:
    """Describe this installation or a model.

    Args:
        model: Bundled name, run directory or .safetensors file.
    """
    facts = _about_here() if model is None else _about_model(model)
    width = max(len(name) for name, _ in facts)
    for name, value in facts:
        out.print(f"{name:{width}}  {value}")


def _about_here() -> list[tuple[str, str]]:
    import torch

    from ipoke.engine.library import compiled
    from ipoke.sampling.model import bundled_models

    return [
        ("ipoke", __version__),
        ("torch", f"{torch.__version__}, {torch.get_num_threads()} threads"),
        ("device", str(device_of(None))),
        ("C functions", "compiled" if compiled() else "none, as there is no C compiler: sampling is slower"),
        ("bundled models", ", ".join(bundled_models()) or "none"),
        ("recipes", ", ".join(recipe_names())),
    ]


def _round_trips(model: "PokeModel") -> Iterator[tuple[str, str]]:
    """Measure the round-trip error of residuals, r to z to r, under the bundled stills."""
    import torch

    from ipoke.evaluation.metrics.round_trips import measure_round_trips
    from ipoke.networks.round_trip import SCALES
    from ipoke.sampling.model import bundled_stills

    conds = torch.cat([model.open(still).condition([]) for still in bundled_stills().values()])
    for scale, found in zip(SCALES, measure_round_trips(model, conds).values(), strict=True):
        worst = found.reason if found.value is None else f"{found.value:.1e} {found.unit}, worst of {found.n}"
        yield f"round trip, {scale}x", worst or ""


def _about_model(name: str) -> list[tuple[str, str]]:
    from ipoke.core.recipe import LATENT_SIDE
    from ipoke.sampling.model import load

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
        *_round_trips(model),
        *model.facts.items(),
    ]
