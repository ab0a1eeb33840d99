"""Three processes, started as torchrun starts them, hold the same weights and learn what one would."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ipoke.core.errors import InputError
from ipoke.core.model_files import read_tensors
from ipoke.core.recipe import STAGES
from ipoke.training.loop import TrainingStopped
from ipoke.training.train import train
from tiny import Silent, clip_set, stop_after, tiny_recipe, training

# Four interpreters start, which takes a while on a busy machine.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

STEPS, BATCH = 3, 6
TOGETHER = (*(f"train.{stage}.batch={BATCH}" for stage in STAGES), f"train.checkpoint_every_clips={BATCH}")
COMPARABLE = (
    *training(clips=BATCH * STEPS),
    *TOGETHER,
    # Each process draws its own noise, so one and two can only be compared where noise and draws do nothing.
    "clip_encoder.initial_logvar=-30.0",
    "autoencoder_losses.frames_per_step=4",
    "autoencoder_losses.perceptual=0.0",  # each process compares frames that it draws itself
    "autoencoder_losses.adversarial_start=1.0",
    "train.image_encoder.adversarial_start=1.0",
    "train.autoencoder.precision=float32",
    "train.latent_flow.precision=float32",
    *(f"train.{stage}.warmup_clips=0" for stage in ("autoencoder", "latent_flow")),
    # Where the true gradient is zero, rounding alone would decide in which direction Adam goes.
    *(f"train.{stage}.weight_decay=0.1" for stage in ("autoencoder", "latent_flow")),
)
ADVERSARIAL = (*training(clips=2 * BATCH), *TOGETHER, "autoencoder_losses.adversarial_start=0.0")


def alone(out, stage, steps=None):
    recipe = tiny_recipe(*COMPARABLE)
    train(clip_set(), recipe, out, reporter=Silent(), stage=stage, should_stop=stop_after(steps or 1000))


def weights(path):
    return read_tensors(path)[0]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Train thrice in several processes: on from where one process began, and all stages with discriminators."""
    folder = tmp_path_factory.mktemp("parallel")
    alone(folder / "together-poke_encoder", "poke_encoder")
    for stage in ("autoencoder", "latent_flow"):
        begun = folder / f"together-{stage}"
        if stage == "latent_flow":
            (folder / "together-poke_encoder").rename(begun)
        with pytest.raises(TrainingStopped):
            alone(begun, stage, steps=1)
        shutil.copytree(begun, folder / f"alone-{stage}")
        alone(folder / f"alone-{stage}", stage)
    jobs = [
        (str(folder / "together-autoencoder"), "autoencoder", COMPARABLE),
        (str(folder / "together-latent_flow"), "latent_flow", COMPARABLE),
        (str(folder / "adversarial"), None, ADVERSARIAL),
    ]
    (folder / "jobs.json").write_text(json.dumps(jobs))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "3"]
    command += [str(Path(__file__).with_name("train_in_processes.py")), str(folder / "jobs.json")]
    done = subprocess.run(
        command, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=800
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.mark.parametrize("name", ["together-autoencoder", "together-latent_flow", "adversarial"])
def test_all_processes_end_with_the_same_weights(runs, name):
    first, *others = (weights(file) for file in sorted((runs / name).glob("rank-*.safetensors")))
    assert len(others) == 2
    for other in others:
        assert [key for key in first if not torch.equal(first[key], other[key])] == []


@pytest.mark.parametrize("stage", ["autoencoder", "latent_flow"])
def test_several_processes_learn_what_one_does_from_the_same_batches(runs, stage):
    one, several = (
        weights(runs / f"{kind}-{stage}" / "checkpoints" / f"{stage}.safetensors") for kind in ("alone", "together")
    )
    assert one.keys() == several.keys()
    gaps = torch.cat([(several[name].double() - tensor.double()).abs().flatten() for name, tensor in one.items()])
    # Where the true gradient is next to zero, rounding decides in which direction Adam goes; such weights are few.
    assert (gaps > 1e-4).float().mean() < 1e-4
    assert gaps.max() < 2e-3


def test_only_the_first_process_writes(runs):
    rows = [json.loads(line) for line in (runs / "adversarial" / "metrics.jsonl").read_text().splitlines()]
    seen = [(row["stage"], row["clips"]) for row in rows]
    assert len(set(seen)) == len(seen) >= 4
    processes = json.loads((runs / "adversarial" / "inputs.json").read_text())["processes"]
    assert len(list((runs / "adversarial").glob("rank-*.safetensors"))) == processes
    assert (runs / "together-latent_flow" / "model.safetensors").exists()


def test_a_batch_that_cannot_be_shared_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("ipoke.training.train.Workers", lambda device: type("Four", (), {"size": 4})())
    with pytest.raises(InputError, match=r"train\.autoencoder.batch: got 6, expected a multiple of the 4 processes"):
        alone(tmp_path, "autoencoder")
