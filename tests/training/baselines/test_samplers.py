import pytest
import torch
from answers import DRAG, assert_alike, context, frozen

from ipoke.core.errors import InputError
from ipoke.core.model_files import read_tensors, write_tensors
from ipoke.sampling.model import PokeModel, load
from ipoke.scenes import write_scenes
from ipoke.training.baselines.copy_source import CopySource
from ipoke.training.baselines.methods import METHODS
from ipoke.training.baselines.nearest_clip import NearestClip
from ipoke.training.baselines.samplers import load_baseline, load_sampler
from tiny import FRAMES, tiny_model


@pytest.mark.parametrize("method", METHODS)
def test_a_baseline_comes_back_from_its_file(method, tmp_path):
    baseline, file = frozen(method), tmp_path / "model.safetensors"
    baseline.save(file, {"seed": "5"})
    loaded = load_baseline(tmp_path)
    assert type(loaded) is type(load_sampler(file, None)) is type(baseline)
    assert loaded.recipe == baseline.recipe
    assert loaded.facts == {"seed": "5"}
    assert not loaded.training
    given = context(0, frames=baseline.context)
    clips = [each.sample_clips(given, [DRAG], [[3]]) for each in (baseline, loaded)]
    assert_alike(*clips, atol=0.05)
    loaded.save(tmp_path / "again.safetensors", loaded.facts)
    assert load_sampler(tmp_path / "again.safetensors", None).sha256 == loaded.sha256 != baseline.sha256


def test_a_baseline_is_no_model_and_a_model_no_baseline(tmp_path):
    frozen("cvae").save(tmp_path / "baseline.safetensors", {})
    tiny_model().save(tmp_path / "model.safetensors", {})
    with pytest.raises(InputError, match=r"got the baseline cvae, .*only ipoke evaluate, ipoke table and figures"):
        load(tmp_path / "baseline.safetensors")
    with pytest.raises(InputError, match="got a model of method ipoke, expected a baseline"):
        load_baseline(tmp_path / "model.safetensors")
    assert isinstance(load_sampler(tmp_path / "model.safetensors", None), PokeModel)


def test_trivial_answers_are_known_by_name(clip_set):
    copy, nearest = (load_sampler(name, clip_set) for name in ("copy-x0", "nearest-clip"))
    assert isinstance(copy, CopySource)
    assert isinstance(nearest, NearestClip)
    assert (copy.size, copy.frames) == (nearest.size, nearest.frames) == (64, 4)
    with pytest.raises(InputError, match="copy-x0: got no prepared set"):
        load_sampler("copy-x0", None)
    with pytest.raises(InputError, match="model: got 'copy-x1'"):
        load_sampler("copy-x1", clip_set)


def test_a_set_without_training_clips_is_enough_unless_they_are_retrieved(tmp_path):
    write_scenes(
        tmp_path, clips=2, size=64, seed=1, workers=1, frames=FRAMES, test_fraction=1.0, progress=lambda *_: None
    )
    assert load_sampler("copy-x0", tmp_path).frames == FRAMES
    with pytest.raises(InputError, match="no clips of the train split"):
        load_sampler("nearest-clip", tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda tensors: tensors.pop("start.weight"), "lacks start.weight;"),
        (lambda tensors: tensors.update(stranger=torch.zeros(1)), "has the unknown stranger"),
        (lambda tensors: tensors["start.weight"].fill_(float("nan")), "not finite"),
    ],
)
def test_weights_that_do_not_fit_are_refused(tmp_path, change, said):
    frozen("recurrent").save(tmp_path / "whole.safetensors", {})
    tensors, metadata = read_tensors(tmp_path / "whole.safetensors")
    change(tensors)
    write_tensors(tmp_path / "changed.safetensors", tensors, metadata)
    with pytest.raises(InputError, match=said):
        load_sampler(tmp_path / "changed.safetensors", None)
