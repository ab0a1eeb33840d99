"""The commands that make and measure a model."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from ipoke.cli.app import MAKE, Count, Few, JsonFile, OutDir, Seed, app
from ipoke.cli.arguments import cores, device_of
from ipoke.cli.terminal import TrainingView, err, out, progress_bar, stop_requests
from ipoke.core.settings import load_recipe

Minutes = Annotated[float, Parameter(validator=Number(gt=0, lte=24 * 60))]
RESUME = "repeat the command to resume"
AGAIN = "give more --minutes, or a --json file, with which the same command resumes"


@app.command(group=MAKE, sort_key=1)
def scenes(
    *, out_dir: OutDir, clips: Count = 1000, size: Count = 64, seed: Seed = 0, workers: Few | None = None
) -> None:
    """Simulate clips of plants and puppets, and write them as a prepared set.

    Args:
        out_dir: Folder of the prepared set; the same command resumes, and a larger --clips extends the set.
        clips: Number of clips in the set.
        size: Side of the square frames, px.
        seed: Seed; clip i depends on the seed and i alone.
        workers: Number of processes; by default one per core.
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
    """Convert videos, or one of the paper's data sets, to a prepared set: clips, optical flow and a train/test split.

    Args:
        videos: Video files (MP4, MKV, AVI, MOV, WebM, GIF), folders of them, or folders of frames.
        out_dir: Folder of the prepared set; the same command resumes.
        size: Side of the square frames, px.
        frames: Number of frames of a clip after the first one.
        dataset: Name of the data set that the one given folder holds, as distributed; its split is the paper's.
        stride: Use every k-th frame; by default that of the data set, or 1.
        resize: Crop the middle square, letterbox the whole frame, or squeeze it to a square; by default that of the
            data set, or crop.
        optical_flow: Estimator of the optical flow, from which training pokes are read.
        test_fraction: Fraction of test videos, 0 to 1; 0.1 if neither this nor --test-videos is given.
        test_videos: Glob pattern of the names of the test videos, such as "b*.mp4".
        workers: Number of processes; by default one per core.
        ray: Run on a Ray cluster: its address, auto for the cluster of this machine, or local.
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
    dry_run: bool = False,
    device: str | None = None,
    threads: Few | None = None,
) -> None:
    """Train all stages in turn, and write a model; the same command resumes an interrupted run.

    Args:
        clips: A prepared set; its training split is used.
        recipe: Name of a bundled recipe (ipoke info lists them), or a TOML file.
        out_dir: Folder of the run: settings, metrics, checkpoints, samples, model.safetensors.
        stage: Stop after this stage: autoencoder, image_encoder, poke_encoder or latent_flow.
        settings: Override a recipe key, such as train.seed=1. Can be given several times.
        dry_run: Print the plan instead: stages, parameters, memory, and what is done already. Nothing is written.
        device: cpu or cuda; by default cuda where available.
        threads: Threads of PyTorch on the CPU; by default as many as PyTorch chooses.
    """
    resolved = load_recipe(recipe, settings or [])

    import torch

    from ipoke.data.clips import ClipSet
    from ipoke.training.dry_run import planned
    from ipoke.training.loop import TrainingStopped
    from ipoke.training.train import train as train_stages

    if threads is not None:
        torch.set_num_threads(threads)
    data = ClipSet(clips, split="train")
    if dry_run:
        for line in planned(data, resolved, out_dir, stage=stage):
            out.print(line)
        return
    with stop_requests() as should_stop, TrainingView() as view:
        try:
            model = train_stages(
                data, resolved, out_dir, reporter=view, stage=stage, device=device_of(device), should_stop=should_stop
            )
        except TrainingStopped:
            err.print(f"stopped; the checkpoint is written, repeat the command to resume ({out_dir})")
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
    """Convert a checkpoint of the paper's authors to a run; no code in it is executed.

    Args:
        checkpoint: A second-stage checkpoint: .ckpt of Lightning, or .safetensors with the same tensor names.
        out_dir: Folder of the run, which all commands accept as a model.
        first_stage: Separate file of the video autoencoder.
        image_encoder: Separate file of the encoder of the source frame.
        poke_encoder: Separate file of the encoder of the pokes.
        latent_flow: Separate file of the latent flow.
        ignore: A module of the checkpoint that is not part of the model. Can be given several times.
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
    minutes: Minutes = 5.0,
) -> None:
    """Benchmark sampling or training on this machine, against a model of the paper's size in plain PyTorch.

    Rounds of measurements go on until the time is over. A file is written after every measurement; where the time does
    not suffice for one round, it is marked as partial, and the same command resumes.

    Args:
        json_file: JSON file for all rows, ratios, the machine and its peak rates.
        size: Side of the clips, px; 64 measures the bundled model, 128 the recipe lean-128 with random weights.
        training: Benchmark training instead: clips per second of each stage, and of loading data.
        minutes: Time that the benchmark may take.
    """
    from ipoke.evaluation.bench import sampling
    from ipoke.evaluation.bench import training as steps
    from ipoke.evaluation.bench.kept import Kept
    from ipoke.evaluation.bench.results import lines

    reference, lean = load_recipe(f"plants-{size}", []), load_recipe(f"lean-{size}", [])
    kept = Kept(json_file, f"ipoke bench --size {size}" + " --training" * training)
    with progress_bar("measuring") as report:
        if training:
            result = steps.measure(reference, lean, progress=report, kept=kept, minutes=minutes)
        else:
            model = "scenes-64" if size == 64 else lean
            result = sampling.measure(reference, model, progress=report, kept=kept, minutes=minutes)
    for line in steps.lines(result) if training else lines(result):
        out.print(line)
    if not result["complete"]:
        err.print(f"partial: {minutes:g} minutes did not suffice for one round; " + (RESUME if json_file else AGAIN))
    if json_file is not None:
        out.print(f"wrote {json_file}")
