"""Training from weights that are there already."""

import json

import pytest
import torch

from ipoke.core.errors import InputError
from ipoke.core.model_files import read_tensors
from ipoke.sampling.model import PokeModel
from ipoke.training import start
from ipoke.training.start import take_over
from ipoke.training.train import train
from tiny import Silent, clip_set, tiny_model, tiny_recipe, training

SETTINGS = training(clips=4)


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    path = tmp_path_factory.mktemp("first") / "model.safetensors"
    torch.manual_seed(7)
    tiny_model().save(path, {})
    return path


def what_fits_is_taken_over(first) -> None:
    torch.manual_seed(8)
    model = PokeModel(tiny_recipe())
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    taken, wanted = take_over(model, str(first)), read_tensors(first)[0]
    assert taken.line() == f"start: 100% of the weights are those of {first}, the others start anew"
    assert any(not torch.equal(before[name], tensor) for name, tensor in wanted.items())
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, wanted[name]), name


def test_what_fits_is_taken_over(first):
    what_fits_is_taken_over(first)


def test_weights_that_are_not_copied_are_caught(first, monkeypatch):
    zeros = {n: 0 * t if t.is_floating_point() else t for n, t in tiny_model().state_dict().items()}
    monkeypatch.setattr(start, "read_tensors", lambda path: (zeros, {}))
    with pytest.raises(AssertionError):
        what_fits_is_taken_over(first)


def test_what_does_not_fit_starts_anew(first):
    torch.manual_seed(8)
    model = PokeModel(tiny_recipe("latent_flow.coupling_width=20"))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    taken = take_over(model, str(first))
    assert 0 < taken.numbers < taken.of
    wanted = read_tensors(first)[0]
    for name, tensor in model.state_dict().items():
        fits = name in wanted and wanted[name].shape == tensor.shape
        assert fits or torch.equal(tensor, before[name]), name


def test_a_run_says_from_what_it_started(first, tmp_path):
    reporter = Silent()
    asked = tiny_recipe(*SETTINGS, f"train.start={first}")
    train(clip_set(), asked, tmp_path / "run", reporter=reporter, stage="autoencoder")
    sha256 = start.start_sha256(str(first))
    assert json.loads((tmp_path / "run" / "inputs.json").read_text())["start_sha256"] == sha256
    with pytest.raises(InputError, match=r"train.start was .*, got unset"):
        train(clip_set(), tiny_recipe(*SETTINGS), tmp_path / "run", reporter=reporter, stage="autoencoder")


def test_another_model_of_the_same_name_is_refused(first, tmp_path):
    path = tmp_path / "start.safetensors"
    path.write_bytes(first.read_bytes())
    asked = tiny_recipe(*SETTINGS, f"train.start={path}")
    train(clip_set(), asked, tmp_path / "run", reporter=Silent(), stage="autoencoder")
    PokeModel(tiny_recipe()).save(path, {})
    with pytest.raises(InputError, match="start_sha256"):
        train(clip_set(), asked, tmp_path / "run", reporter=Silent(), stage="autoencoder")


def test_a_model_that_is_not_there_is_said(tmp_path):
    with pytest.raises(InputError, match="model: got 'nowhere', expected"):
        train(clip_set(), tiny_recipe(*SETTINGS, "train.start=nowhere"), tmp_path / "run", reporter=Silent())
    assert not (tmp_path / "run").exists()
