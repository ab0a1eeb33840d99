import shutil

import pytest

from commands import files, is_one_line
from ipoke.core.errors import InputError
from ipoke.core.recipe import STAGES
from ipoke.core.settings import load_recipe
from ipoke.training.dry_run import planned
from ipoke.training.train import check_networks
from tiny import RECIPE, clip_set, tiny_recipe, training

NO_DISCRIMINATORS = ("autoencoder_losses.adversarial_start=1.0", "train.image_encoder.adversarial_start=1.0")


def stage_lines(recipe, out, **more):
    return {line.partition(":")[0]: line for line in planned(clip_set(), recipe, out, **more)}


def test_every_stage_is_told_with_its_steps_networks_and_memory(tmp_path):
    lines = stage_lines(tiny_recipe(*training(clips=10, batch=4), *NO_DISCRIMINATORS), tmp_path / "run")
    assert [name for name in lines if name in STAGES] == list(STAGES)
    for name in STAGES:
        assert f"{name}: 10 clips, batch 4, 3 steps; parameters: {name} " in lines[name]
        assert "GiB; not begun" in lines[name]
    assert lines["perceptual loss"] == "perceptual loss: off, no weights found"
    assert not (tmp_path / "run").exists()


def test_discriminators_are_told_too(tmp_path):
    lines = stage_lines(tiny_recipe(), tmp_path, stage="autoencoder")
    assert ", temporal 36,688, static 3,617; about " in lines["autoencoder"]
    assert "image_encoder" not in lines


def test_more_clips_at_once_take_more_memory(tmp_path):
    def gib(batch):
        recipe = tiny_recipe(*training(clips=64, batch=batch), *NO_DISCRIMINATORS)
        line = stage_lines(recipe, tmp_path, stage="autoencoder")["autoencoder"]
        return float(line.partition("about ")[2].partition(" GiB")[0])

    assert 1.5 * gib(8) < gib(16) < 2.5 * gib(8)


@pytest.mark.slow
def test_what_is_done_is_told_and_a_run_with_other_settings_refused(whole, tmp_path):
    out = shutil.copytree(whole, tmp_path / "run")
    recipe = tiny_recipe(*training(clips=10))
    before = files(out)
    lines = stage_lines(recipe, out)
    assert all(lines[name].endswith("; done") for name in STAGES)
    assert f"{out}: complete" in lines.values()
    assert files(out) == before
    (out / "checkpoints" / "latent_flow.safetensors").unlink()
    assert stage_lines(recipe, out)["latent_flow"].endswith("; not begun")
    with pytest.raises(InputError, match=r"train\.seed was 5, got 6"):
        stage_lines(tiny_recipe(*training(clips=10), "train.seed=6"), out)


def test_the_command_prints_the_plan_and_writes_nothing(ipoke, clip_set, tmp_path):
    before = files(clip_set)
    words = ("--recipe", RECIPE, "--out", tmp_path / "run", "--dry-run", "--set", "method=deterministic")
    answer = ipoke("train", clip_set, *words)
    assert answer.code == 0
    assert "baseline: 4,000 clips" in answer.out
    assert not (tmp_path / "run").exists()
    assert files(clip_set) == before
    assert is_one_line(ipoke("train", clip_set, *words, "--set", "latent_flow.units=1"), "has no effect here")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["plants-64", "human36m-128"])
def test_models_of_the_papers_size_are_within_bounds(name):
    check_networks(load_recipe(name))
