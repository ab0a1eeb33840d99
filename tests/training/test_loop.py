import json
import os
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from ipoke.core.errors import InputError
from ipoke.core.model_files import read_tensors
from ipoke.core.recipe import STAGES
from ipoke.core.runs import Run
from ipoke.data.batches import TrainingClips, training_batches
from ipoke.networks.autoencoder import losses
from ipoke.sampling.model import PokeModel, load
from ipoke.training.autoencoder_stage import AutoencoderStage
from ipoke.training.loop import TrainingStopped
from ipoke.training.train import train
from tiny import Silent, clip_set, loop_of, stop_after, tiny_recipe, training

SETTINGS = training(clips=10)


def go_on(out, stage=None, steps=None, overrides=()):
    """Train in a run, up to a stage if given, and stop after some steps if given."""
    reporter = Silent()
    recipe = tiny_recipe(*SETTINGS, *overrides)
    train(clip_set(), recipe, out, reporter=reporter, stage=stage, should_stop=stop_after(steps or 1000))
    return reporter


def stopped(out, stage, steps):
    with pytest.raises(TrainingStopped):
        go_on(out, stage, steps)
    tensors, metadata = checkpoint(out, stage)
    assert json.loads(metadata["finished"]) is False
    return tensors, int(metadata["clips"])


def checkpoint(out, stage):
    return read_tensors(Run(out).checkpoint(stage))


def rows(out, stage):
    kept = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    timeless = [{key: row[key] for key in row if key not in ("time", "clips_per_s")} for row in kept]
    return [row for row in timeless if row["stage"] == stage]


def assert_same(first, second):
    assert first.keys() == second.keys()
    assert [name for name in first if not torch.equal(first[name], second[name])] == []


@pytest.mark.parametrize(
    "stage",
    [
        pytest.param(stage, marks=[] if stage in ("autoencoder", "latent_flow") else [pytest.mark.slow])
        for stage in STAGES
    ],
)
def test_a_run_that_was_stopped_and_resumed_is_the_run_that_was_not(stage, whole, begun):
    once, twice = begun("once", stage), begun("twice", stage)
    uninterrupted, clips = stopped(once, stage, 4)
    half, half_clips = stopped(twice, stage, 2)
    resumed, resumed_clips = stopped(twice, stage, 2)
    assert (half_clips, resumed_clips, clips) == (4, 8, 8)
    assert_same(resumed, uninterrupted)
    kinds = {name.split("/")[0] for name in resumed}
    assert kinds == {"average", "module", "optimizer", "outliers"}
    assert any(not torch.equal(half[name], resumed[name]) for name in half if name.startswith("module"))
    assert rows(twice, stage) == rows(once, stage)
    assert [row["clips"] for row in rows(twice, stage)] == [2, 4, 6, 8]
    go_on(twice, stage)
    assert_same(checkpoint(twice, stage)[0], checkpoint(whole, stage)[0])
    assert rows(twice, stage) == rows(whole, stage)


def test_a_finished_run_holds_what_it_promises(whole):
    assert {entry.name for entry in whole.iterdir()} == {
        "settings.toml",
        "inputs.json",
        "metrics.jsonl",
        "checkpoints",
        "samples",
        "model.safetensors",
    }
    for stage in STAGES:
        assert (whole / "samples" / f"{stage}-00000010.png").stat().st_size > 100
        assert all(name.startswith("average/") for name in checkpoint(whole, stage)[0])
    assert "adversarial_temporal" in rows(whole, "autoencoder")[-1]
    assert "adversarial_temporal" not in rows(whole, "autoencoder")[0]
    assert "image_hinge" in rows(whole, "image_encoder")[-1]
    assert {"motion", "motion_between"} <= rows(whole, "autoencoder")[0].keys()
    assert "unexplained_variance" in rows(whole, "poke_encoder")[0]


def test_the_model_holds_the_average_weights_of_every_stage(whole):
    state = load(whole).state_dict()
    for stage, prefix in (("autoencoder", "autoencoder."), ("latent_flow", "")):
        for name, tensor in checkpoint(whole, stage)[0].items():
            inner = name.removeprefix("average/")
            expected = tensor.half().float() if tensor.dtype == torch.float32 else tensor
            assert torch.equal(state[prefix + inner], expected), name


@pytest.mark.parametrize("foreign", ["another stage", "no metadata", "half of it"])
def test_a_foreign_checkpoint_is_refused_and_kept(whole, begun, foreign):
    out = begun("run", "poke_encoder")
    path = out / "checkpoints" / "image_encoder.safetensors"
    tensors, metadata = checkpoint(whole, "image_encoder")
    if foreign == "another stage":
        shutil.copy(whole / "checkpoints" / "autoencoder.safetensors", path)
    elif foreign == "no metadata":
        save_file(tensors, path)
    else:
        save_file(dict(list(tensors.items())[::2]), path, metadata=metadata)
    before = path.read_bytes()
    with pytest.raises(InputError, match=r"expected one of stage image_encoder by this recipe; remove it"):
        go_on(out, "poke_encoder")
    assert path.read_bytes() == before


def test_a_finished_stage_is_not_repeated(whole, begun):
    before = {file: file.read_bytes() for file in whole.rglob("*") if file.is_file() and file.suffix != ".safetensors"}
    model = read_tensors(whole / "model.safetensors")[0]
    assert go_on(whole).heard == []
    assert {file: file.read_bytes() for file in before} == before
    assert_same(read_tensors(whole / "model.safetensors")[0], model)
    out = begun("partly", "poke_encoder")
    assert {stage for stage, _ in go_on(out, "poke_encoder").heard} == {"poke_encoder"}
    assert not (out / "model.safetensors").exists()


def test_another_recipe_is_refused(whole):
    with pytest.raises(InputError, match=r"train\.seed was 5, got 6"):
        go_on(whole, overrides=["train.seed=6"])


def test_clips_of_another_size_and_unknown_stages_are_refused(tmp_path):
    with pytest.raises(InputError, match="holds clips of 64 px and 5 frames, recipe tiny-64 expects 64 px and 4"):
        train(clip_set(frames=5), tiny_recipe(), tmp_path, reporter=Silent())
    with pytest.raises(InputError, match="--stage: got 'autoencodr'"):
        go_on(tmp_path, "autoencodr")
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_save_leaves_the_old_checkpoint(whole, tmp_path, monkeypatch):
    saves, real = [], os.replace

    def second_fails(partial, path):
        if path.parent.name == "checkpoints":
            saves.append(read_tensors(partial)[1]["clips"])
            if len(saves) == 2:
                partial.write_bytes(b"half a checkpoint")
                raise OSError(28, "No space left on device")
        real(partial, path)

    every = ["train.checkpoint_every_clips=4"]
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", second_fails)
        with pytest.raises(InputError, match="No space left on device"):
            go_on(tmp_path, "autoencoder", overrides=every)
    assert saves == ["4", "8"]
    assert [file.name for file in (tmp_path / "checkpoints").iterdir()] == ["autoencoder.safetensors"]
    assert checkpoint(tmp_path, "autoencoder")[1]["clips"] == "4"
    go_on(tmp_path, "autoencoder", overrides=every)
    assert_same(checkpoint(tmp_path, "autoencoder")[0], checkpoint(whole, "autoencoder")[0])


def test_an_interrupt_from_the_keyboard_leaves_the_run_as_it_was(whole, begun):
    out = begun("interrupted", "poke_encoder")

    class Impatient(Silent):
        def progress(self, stage, clips, total, figures):
            if clips == 6:
                raise KeyboardInterrupt

    recipe = tiny_recipe(*SETTINGS)
    with pytest.raises(KeyboardInterrupt):
        train(clip_set(), recipe, out, reporter=Impatient(), stage="poke_encoder")
    assert not Run(out).checkpoint("poke_encoder").exists()
    go_on(out, "poke_encoder")
    assert [row["clips"] for row in rows(out, "poke_encoder")] == [2, 4, 6, 8, 10]
    assert_same(checkpoint(out, "poke_encoder")[0], checkpoint(whole, "poke_encoder")[0])


MISTAKES = {
    "the loss diverges": ["train.autoencoder.learning_rate=10", "autoencoder_losses.kl=1e9"],
    "weights are none": ["autoencoder_losses.perceptual_weights=README.md"],
    "nothing fits": ["train.start=nowhere"],
}


@pytest.mark.parametrize("what", MISTAKES)
def test_after_a_mistaken_setting_the_corrected_command_works(whole, tmp_path, monkeypatch, what):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "README.md").write_text("no weights")
    with pytest.raises(InputError):
        go_on(tmp_path / "run", "autoencoder", overrides=MISTAKES[what])
    assert (tmp_path / "run").exists() == (what == "the loss diverges")
    go_on(tmp_path / "run", "autoencoder")
    assert rows(tmp_path / "run", "autoencoder") == rows(whole, "autoencoder")
    assert_same(checkpoint(tmp_path / "run", "autoencoder")[0], checkpoint(whole, "autoencoder")[0])


def test_a_run_that_is_trained_is_not_trained_by_another_process(tmp_path):
    def second():
        with pytest.raises(InputError, match=r"another process .* is writing this run; wait for it"):
            go_on(tmp_path, "autoencoder")
        return True

    with pytest.raises(TrainingStopped):
        train(clip_set(), tiny_recipe(*SETTINGS), tmp_path, reporter=Silent(), should_stop=second)
    assert len(rows(tmp_path, "autoencoder")) == 1
    assert not (tmp_path / ".lock").exists()


def test_a_recipe_may_balance_the_objects(tmp_path, monkeypatch):
    clips, read = clip_set(), []
    monkeypatch.setattr(clips, "clip", lambda index: read.append(index) or type(clips).clip(clips, index))
    monkeypatch.setattr(clips, "objects", lambda: {"fern": np.array([3]), "agave": np.array([1, 5])}, raising=False)
    for name, seen in (("plain", set(range(len(clips)))), ("balanced", {1, 3, 5})):
        read.clear()
        recipe = tiny_recipe(*SETTINGS, f"train.balance_objects={str(name == 'balanced').lower()}")
        train(clips, recipe, tmp_path / name, reporter=Silent(), stage="autoencoder")
        assert set(read) == seen


def test_objects_that_are_not_named_are_refused_before_a_run_is_begun(tmp_path, monkeypatch):
    def refuse():
        raise InputError("no objects")

    clips = clip_set()
    monkeypatch.setattr(clips, "objects", refuse, raising=False)
    with pytest.raises(InputError, match="no objects"):
        train(clips, tiny_recipe("train.balance_objects=true"), tmp_path / "run", reporter=Silent())
    assert not (tmp_path / "run").exists()


def autoencoder_loop(out, should_stop):
    torch.manual_seed(0)
    recipe = tiny_recipe(*SETTINGS)
    stage = AutoencoderStage(PokeModel(recipe).autoencoder, recipe, None, torch.device("cpu"))
    return loop_of(stage, out, should_stop)


def batches_from(start):
    recipe = tiny_recipe()
    return training_batches(
        TrainingClips(clip_set(), recipe.pokes, recipe.augment, seed=0, with_tracks=True), batch=2, start=start
    )


def not_a_number(mean, logvar):
    return mean.sum() * float("nan")


def endless_slope(mean, logvar):
    return (0 * mean.square().sum()).sqrt()


@pytest.mark.parametrize(
    ("planted", "named"),
    [(not_a_number, "the loss term kl became nan"), (endless_slope, "the gradient of autoencoder became nan")],
)
def test_a_nan_stops_before_the_update_and_is_named(tmp_path, monkeypatch, planted, named):
    loop = autoencoder_loop(tmp_path, stop_after(2))
    with pytest.raises(TrainingStopped):
        loop.train(batches_from)
    on_disk = Run(tmp_path).checkpoint("autoencoder").read_bytes()
    weights = {name: tensor.clone() for name, tensor in loop.stage.players["autoencoder"].state_dict().items()}
    moments = {
        index: {role: value.clone() for role, value in state.items()}
        for index, state in loop.optimizers["autoencoder"].state_dict()["state"].items()
    }
    monkeypatch.setattr(losses, "kl_to_standard_normal", planted)
    with pytest.raises(InputError, match=named) as caught:
        loop.train(batches_from)
    assert "stage autoencoder" in str(caught.value)
    assert "at clip 4" in str(caught.value)
    assert_same(loop.stage.players["autoencoder"].state_dict(), weights)
    for index, state in loop.optimizers["autoencoder"].state_dict()["state"].items():
        assert_same(state, moments[index])
    assert Run(tmp_path).checkpoint("autoencoder").read_bytes() == on_disk


def test_pictures_are_drawn_without_touching_the_training(tmp_path, whole):
    go_on(tmp_path, "autoencoder", overrides=["train.sample_every_clips=2"])
    assert len(list((tmp_path / "samples").iterdir())) == 5
    assert_same(checkpoint(tmp_path, "autoencoder")[0], checkpoint(whole, "autoencoder")[0])


def test_the_seed_decides_what_is_learned(tmp_path, whole):
    go_on(tmp_path, "autoencoder", overrides=["train.seed=6"])
    changed, kept = checkpoint(tmp_path, "autoencoder")[0], checkpoint(whole, "autoencoder")[0]
    assert not torch.equal(changed["average/encoder.mean.weight"], kept["average/encoder.mean.weight"])
