"""The smallest model, trained once for all tests of the room."""

import shutil

import pytest

from ipoke.core.recipe import STAGES
from ipoke.networks.autoencoder.perceptual import WEIGHTS_VARIABLE
from ipoke.training import loop
from ipoke.training.train import train
from tiny import Silent, clip_set, tiny_recipe, training


@pytest.fixture(autouse=True)
def every_step_is_logged(monkeypatch):
    monkeypatch.setattr(loop, "LOG_EVERY_S", -1)
    monkeypatch.delenv(WEIGHTS_VARIABLE, raising=False)


@pytest.fixture(scope="session")
def whole(tmp_path_factory):
    """Train all stages for five steps each, discriminators in the last two of them, without a stop."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "LOG_EVERY_S", -1)
        patch.delenv(WEIGHTS_VARIABLE, raising=False)
        train(clip_set(), tiny_recipe(*training(clips=10)), out, reporter=Silent())
    return out


@pytest.fixture
def begun(whole, tmp_path):
    """Copy the run as it was before a stage began."""

    def copy(name, stage):
        out = tmp_path / name
        (out / "checkpoints").mkdir(parents=True)
        for file in ("settings.toml", "inputs.json"):
            shutil.copy(whole / file, out)
        for earlier in STAGES[: STAGES.index(stage)]:
            shutil.copy(whole / "checkpoints" / f"{earlier}.safetensors", out / "checkpoints")
        return out

    return copy
