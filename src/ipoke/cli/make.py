"""The commands that make and measure a model."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from ipoke.cli.app import MAKE, Count, Few, JsonFile, OutDir, Seed, app
from ipoke.cli.arguments import cores, device_of
from ipoke.cli.terminal import TrainingView, err, out, progress_bar, stop_requests
from ipoke.core.settings import load_recipe


@app.command(group=MAKE, sort_key=1)
def scenes(
    *, out_dir: OutDir, clips: Count = 1000, size: Count = 64, seed: Seed = 0, workers: Few | None = None
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
        count = write_scenes(out_dir, clips=clips, size=size, seed=seed, workers=workers or cores(), progress=report)
    out.print(f"{out_dir}: {count} clips of {size} px")


@app.command(group=MAKE, sort_key=2)
def prepare(
    videos: list[Path],
    /,
    *,
    out_dir: OutDir,
    size: Count = 64,
    frames: Count = 10,
    dataset: Literal["plants", "iper", "taichi", "human36m"] | None = None,
    stride: Count | None = None,
    resize: Literal["crop", "letterbox", "squeeze"] | None = None,
    optical_flow: Literal["dis", "raft"] = "dis",
    test_fraction: float | None = None,
    test_videos: str | None = None,
    workers: Few | None = None,
    ray: str | None = None,
) -> None:
    """Turn videos and folders of videos, or one of the paper's data sets, into a prepared set.

    Args:
        videos: Video files (MP4, MKV, AVI, MOV, WebM, GIF), folders of them, folders of frames.
        out_dir: Folder of the prepared set; repeating the command finishes an interrupted one.
        size: Side of the frames, px.
        frames: Frames of a clip after its first.
        dataset: Take the one folder given for this data set as it is distributed, with the paper's split.
        stride: Take every k-th frame; 1, or what the data set asks for, if unset.
        resize: Crop the middle square, letterbox the whole frame between bars, or squeeze it to a square; crop, or what
            the data set asks for, if unset.
        optical_flow: Estimator of the displacements that pokes are read from.
        test_fraction: Share of the videos to hold out; 0.1 if neither this nor --test-videos is given.
        test_videos: Hold out the videos whose name matches this pattern.
        workers: Processes; as many as there are cores if unset.
        ray: Do the work on a Ray cluster: its address, auto for the one that this machine belongs to, or local.
    """
    from ipoke.data.prepare import prepare as prepare_videos

    with progress_bar("preparing") as report:
        result = prepare_videos(
            videos,
            out_dir,
            size=size,
            frames=frames,
            dataset=dataset,
            stride=stride,
            resize=resize,
            optical_flow=optical_flow,
            test_fraction=test_fraction,
            test_videos=test_videos,
            workers=workers or cores(),
            ray=ray,
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
    threads: Few | None = None,
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
                data, resolved, out_dir, reporter=view, stage=stage, device=device_of(device), should_stop=should_stop
            )
        except TrainingStopped:
            err.print(f"stopped; the checkpoint is written, repeat the command to go on ({out_dir})")
            raise SystemExit(130) from None
    out.print(f"wrote {model}")


@app.command(group=MAKE, sort_key=4)
def import_official(
    checkpoint: Path | None = None,
    /,
    *,
    out_dir: OutDir,
    first_stage: Path | None = None,
    image_encoder: Path | None = None,
    poke_encoder: Path | None = None,
    latent_flow: Path | None = None,
    ignore: Annotated[list[str] | None, Parameter(negative=())] = None,
) -> None:
    """Make a run of a checkpoint that the paper's authors released; nothing in it is executed.

    Args:
        checkpoint: A second-stage checkpoint: Lightning's .ckpt, or .safetensors with the same names.
        out_dir: The run, which all commands then take as a model.
        first_stage: A file of its own for the video autoencoder.
        image_encoder: A file of its own for the encoder of the source frame.
        poke_encoder: A file of its own for the encoder of the pokes.
        latent_flow: A file of its own for the latent flow.
        ignore: A module of the checkpoint that is not part of the model. May be given several times.
    """
    from ipoke.exchange.official.import_official import import_official as make_run
    from ipoke.exchange.official.names import PARTS

    files = zip(PARTS, (first_stage, image_encoder, poke_encoder, latent_flow), strict=True)
    imported = make_run(checkpoint, {part: file for part, file in files if file}, out_dir, ignored=ignore or [])
    for part, count in imported.parameters.items():
        out.print(f"{part}: {count:,} parameters")
    out.print(f"wrote {imported.weights}")


@app.command(group=MAKE, sort_key=5)
def bench(
    *,
    json_file: JsonFile | None = None,
    size: Literal[64, 128] = 64,
    training: bool = False,
) -> None:
    """Measure what sampling costs on this machine, beside a model of the paper's size computed as its code does.

    Args:
        json_file: File for all rows, ratios, the machine and its ceilings.
        size: Side of the clips, px; at 64 the bundled model is measured, at 128 random weights of lean-128.
        training: Measure training instead: clips per second of each stage, and of the data alone.
    """
    from ipoke.evaluation.bench import sampling
    from ipoke.evaluation.bench import training as steps
    from ipoke.evaluation.bench.results import lines, save

    reference, lean = load_recipe(f"plants-{size}", []), load_recipe(f"lean-{size}", [])
    with progress_bar("measuring") as report:
        if training:
            result = steps.measure(reference, lean, progress=report)
        else:
            result = sampling.measure(reference, "scenes-64" if size == 64 else lean, progress=report)
    for line in steps.lines(result) if training else lines(result):
        out.print(line)
    if json_file is not None:
        save(json_file, result, command=f"ipoke bench --size {size}" + " --training" * training)
        out.print(f"wrote {json_file}")
