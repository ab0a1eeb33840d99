import copy
import math
import os
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from checked_shapes import unchecked
from ipoke.core.errors import InputError
from ipoke.core.model_files import read_tensors, write_tensors
from ipoke.core.pixels import clip_from_frames
from ipoke.data.poke import Poke
from ipoke.sampling.model import bundled_models, find_model, load
from ipoke.sampling.open_picture import OpenPicture
from ipoke.sampling.residual_terms import draw_residuals, given, sample_seed
from ipoke.sampling.sampler import Sampler
from ipoke.sampling.still import Still
from tiny import MovingSquares, tiny_model

CLIP = MovingSquares().clip(0)
IMAGE = CLIP[0]
DRAG = [Poke(x=32, y=30, dx=8, dy=-4)]


def poked(image=IMAGE, pokes=DRAG, **asked):
    return tiny_model().poke(image, pokes, **asked).astype(int)


def condition(image=IMAGE, pokes=DRAG):
    return tiny_model().open(image).condition(pokes)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    tiny_model().save(path, {"seed": "5"})
    return path


def test_a_clip_starts_with_the_picture_and_has_as_many_frames_as_were_trained():
    clips = poked(samples=2)
    assert clips.shape == (2, 5, 64, 64, 3)
    assert (clips[:, 0] == IMAGE).all()
    assert np.abs(clips[:, -1] - IMAGE).max() > 5


def test_a_seed_gives_the_same_sample_in_any_number_of_samples():
    one, five = poked(samples=1, seed=3), poked(samples=5, seed=3)
    assert np.abs(five[0] - one[0]).max() <= 1
    assert (poked(samples=1, seed=3) == one).all()
    for other in five[1:]:
        assert np.abs(other - one[0]).max() > 1
    assert np.abs(poked(samples=1, seed=4) - one).max() > 1


def test_the_residual_std_is_kept_in_the_file_and_is_that_of_drawn_residuals(tmp_path):
    model = copy.deepcopy(tiny_model())
    model.residual_std = 1.25
    model.save(tmp_path / "residual-std.safetensors", {}, precision=torch.float32)
    again = load(tmp_path / "residual-std.safetensors")
    assert again.residual_std == 1.25
    assert again.sha256 == model.sha256 != tiny_model().sha256
    asked: dict[str, Any] = {"samples": 2, "seed": 3}
    wanted = tiny_model().poke(IMAGE, DRAG, **asked, temperature=1.25)
    assert np.abs(again.poke(IMAGE, DRAG, **asked).astype(int) - wanted).max() <= 1
    still = clip_from_frames(CLIP[:1])[None]
    inner = [[Poke(x=32, y=30, dx=8, dy=-4)]]
    drawn = [one.sample_clips(still, inner, [[sample_seed(3, 0)]]) for one in (again, tiny_model())]
    assert (drawn[0] - drawn[1]).abs().max() > 0.01


def test_a_given_residual_is_not_scaled():
    r = torch.randn(16, 8, 8)[: tiny_model().latent_flow.channels]
    (same,) = draw_residuals(tiny_model().latent_flow, [given(r)], residual_std=3.0)
    assert torch.equal(same, r)


@pytest.mark.parametrize("text", ["wide", "0", "nan", "99"])
def test_an_impossible_residual_std_is_refused(text, tmp_path):
    path = tmp_path / "residual-std.safetensors"
    tiny_model().save(path, {"spread": text})
    with pytest.raises(InputError, match=f"spread: got '{text}'"):
        load(path)


def test_a_residual_that_overflows_is_one_line():
    model = copy.deepcopy(tiny_model())
    with torch.no_grad():
        for name, parameter in model.latent_flow.named_parameters():
            if name.endswith("log_scale"):
                parameter.fill_(-90.0)
    with pytest.raises(
        InputError, match=r"sample 0: its residual does not survive .*another seed, a lower temperature"
    ):
        model.poke(IMAGE, DRAG, seed=3)


def test_without_temperature_all_samples_are_equal():
    clips = poked(samples=3, temperature=0.0)
    assert np.abs(clips - clips[:1]).max() <= 1
    assert (np.abs(poked(samples=3, temperature=1.0) - clips[:1]).max((1, 2, 3, 4)) > 1).all()
    assert np.abs(poked(temperature=0.0, seed=9)[0] - clips[0]).max() <= 1


def test_any_number_of_frames_can_be_asked_for():
    longer, shorter = poked(frames=20), poked(frames=1)
    assert longer.shape == (1, 21, 64, 64, 3)
    assert np.abs(longer[:, :5] - poked()).max() <= 1
    assert np.abs(longer[:, :2] - shorter).max() <= 1


@pytest.mark.parametrize(("height", "width"), [(40, 70), (300, 200), (64, 64)])
def test_pictures_of_any_size_come_back_in_it(height, width):
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    clips = poked(image, [Poke(width / 2, height / 2, 5, 5)], samples=2)
    assert clips.shape == (2, 5, height, width, 3)
    assert (clips[:, 0] == image).all()


def test_pokes_change_what_happens():
    away = [Poke(x=32, y=30, dx=-8, dy=4)]
    pinned = [*DRAG, Poke(x=10, y=10, dx=0, dy=0)]
    for other in ([], away, pinned):
        assert not torch.allclose(condition(pokes=other), condition(), atol=1e-3)
    assert np.abs(poked(pokes=away) - poked()).max() > 0


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"pokes": [Poke(64, 3, 1, 1)]}, "outside the image of 64 x 64 px"),
        ({"pokes": [Poke(3, -1, 1, 1)]}, "outside the image"),
        ({"pokes": [Poke(3, 3, float("nan"), 1)]}, "expected four finite numbers"),
        ({"pokes": [Poke(float("nan"), 3, 1, 1)]}, "expected four finite numbers"),
        ({"samples": 0}, "samples: got 0"),
        ({"samples": 257}, "samples: got 257"),
        ({"temperature": float("nan")}, "temperature: got nan"),
        ({"temperature": -0.1}, "temperature: got -0.1"),
        ({"frames": 0}, "frames: got 0"),
        ({"frames": 101}, "frames: got 101"),
        ({"image": IMAGE[..., 0]}, "image: got uint8 of shape"),
    ],
)
@unchecked()
def test_what_cannot_be_done_is_refused(asked, said):
    with pytest.raises(InputError, match=said):
        poked(**asked)


def test_decoding_does_not_depend_on_the_batch():
    model = tiny_model()
    z = torch.randn(3, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    x0 = torch.stack([clip_from_frames(MovingSquares().clip(index)[0]) for index in range(3)])
    together = model.decode(z, x0, 3)
    for index in range(3):
        alone = model.decode(z[index : index + 1], x0[index : index + 1], 3)
        torch.testing.assert_close(together[index : index + 1], alone, atol=1e-4, rtol=0)


def test_residuals_and_latents_are_each_others_inverse():
    model, cond = tiny_model(), condition().expand(4, -1, -1, -1)
    r = model.latent_flow.base_noise([sample_seed(0, i) for i in range(4)])
    z = model.to_latent(r, cond)
    assert (z - r).abs().max() > 0.1
    back, log_det = model.to_residual(z, cond)
    torch.testing.assert_close(back, r, atol=1e-4, rtol=0)
    assert log_det.shape == (4,)
    torch.testing.assert_close(model.to_latent(back, cond), z, atol=1e-4, rtol=0)


def test_a_transfer_keeps_the_residual(monkeypatch):
    model, other = tiny_model(), MovingSquares().clip(1)[0]
    show, seen = OpenPicture.show, []

    def watched(picture, drawn):
        seen.append((picture, drawn.z))
        return show(picture, drawn)

    monkeypatch.setattr(OpenPicture, "show", watched)
    frames = model.transfer(CLIP, other, DRAG)
    assert frames.shape == (1, 5, 64, 64, 3)
    assert (frames[0, 0] == other).all()
    ((picture, z),) = seen
    mean, _ = model.encode(clip_from_frames(CLIP)[None])
    kept, _ = model.to_residual(mean, condition())
    carried, _ = model.to_residual(z, picture.condition(DRAG))
    torch.testing.assert_close(carried, kept, atol=1e-4, rtol=0)
    assert (z - mean).abs().max() > 1e-3


def test_a_transfer_to_its_own_source_rebuilds_the_clip():
    model = tiny_model()
    mean, _ = model.encode(clip_from_frames(CLIP)[None])
    still = Still(IMAGE, 64)
    expected = still.compose(model.autoencoder.decode(mean, still.source, 4)).astype(int)
    assert np.abs(model.transfer(CLIP, IMAGE, DRAG) - expected).max() <= 1


def test_a_transfer_pokes_a_larger_picture_where_the_model_would_be_poked(monkeypatch):
    model, seen = tiny_model(), []
    encode = Sampler.condition

    def watched(sampler, sources, pokes):
        seen.extend(pokes)
        return encode(sampler, sources, pokes)

    monkeypatch.setattr(Sampler, "condition", watched)
    model.transfer(CLIP, np.zeros((160, 200, 3), np.uint8), DRAG)
    (of_clip,), (of_image,) = seen
    assert of_clip == DRAG[0]
    assert (of_image.x, of_image.y) == pytest.approx((32, 30))
    assert (of_image.dx, of_image.dy) == pytest.approx((8, -4))


def test_a_score_is_the_likelihood_of_the_posterior_mean():
    model = tiny_model()
    score = model.score(CLIP, DRAG)
    mean, _ = model.encode(clip_from_frames(CLIP)[None])
    expected = model.latent_flow.log_prob(mean, condition()).item()
    assert math.isfinite(score.log_prob_nats)
    assert score.log_prob_nats == pytest.approx(expected, rel=1e-5)
    assert score.bits_per_dim == pytest.approx(-expected / (512 * math.log(2)), rel=1e-5)


def test_motion_correlation_is_a_map_of_shares():
    first = tiny_model().motion_correlation(IMAGE, 32, 30, pokes=4, seed=1)
    assert first.shape == (64, 64)
    assert first.dtype == np.float32
    assert first.min() >= 0
    assert first.max() <= 1
    np.testing.assert_allclose(tiny_model().affinity(IMAGE, 32, 30, pokes=4, seed=1), first, atol=1e-6)
    with pytest.raises(InputError, match="outside the image"):
        tiny_model().affinity(IMAGE, 64, 30, pokes=4)


def test_a_model_comes_back_from_its_file(saved, tmp_path):
    loaded, original = load(saved), tiny_model()
    assert loaded.recipe == original.recipe
    assert loaded.facts == {"seed": "5"}
    assert not loaded.training
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    for name, tensor in original.state_dict().items():
        expected = tensor.half().float() if tensor.dtype == torch.float32 else tensor
        assert torch.equal(loaded.state_dict()[name], expected), name
    assert np.abs(loaded.poke(IMAGE, DRAG, seed=3).astype(int) - poked(seed=3)).max() <= 8
    loaded.save(tmp_path / "again.safetensors", loaded.facts)
    assert load(tmp_path / "again.safetensors").sha256 == loaded.sha256 != original.sha256


def test_a_run_directory_names_its_model(saved, tmp_path):
    with pytest.raises(InputError, match=r"holds no model\.safetensors; finish its training"):
        find_model(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(saved.read_bytes())
    assert find_model(tmp_path) == tmp_path / "model.safetensors"
    assert load(str(tmp_path)).sha256 == load(saved).sha256
    with pytest.raises(InputError, match="model: got 'no-such'"):
        load("no-such")


def test_bundled_models_are_found_by_name():
    for name in bundled_models():
        assert find_model(name).name == f"{name}.safetensors"


NAME = "autoencoder.encoder.mean.weight"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda tensors: tensors.pop(NAME), f"lacks {NAME};"),
        (lambda tensors: (tensors.pop(NAME), tensors.pop("autoencoder.encoder.mean.bias")), "lacks .* and 1 more"),
        (lambda tensors: tensors.update(stranger=torch.zeros(1)), "has the unknown stranger"),
        (lambda tensors: tensors.update({NAME: torch.zeros(2, 2)}), f"has another shape of {NAME}"),
        (lambda tensors: tensors[NAME].fill_(float("inf")), "not finite"),
        (lambda tensors: tensors[NAME].view(-1)[3].fill_(float("nan")), "not finite"),
    ],
    ids=["missing", "two missing", "foreign", "misshaped", "infinite", "nan"],
)
def test_weights_that_do_not_fit_are_refused(saved, tmp_path, change, said):
    tensors, metadata = read_tensors(saved)
    change(tensors)
    write_tensors(tmp_path / "changed.safetensors", tensors, metadata)
    with pytest.raises(InputError, match=said):
        load(tmp_path / "changed.safetensors")


class Payload:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


def test_nothing_is_unpickled(tmp_path):
    file = tmp_path / "model.safetensors"
    for write in (pickle.dump, torch.save):
        with file.open("wb") as stream:
            write(Payload(tmp_path / "executed"), stream)
        with pytest.raises(InputError, match="cannot read this checkpoint"):
            load(tmp_path)
    assert not (tmp_path / "executed").exists()


def test_the_weights_of_another_program_are_refused(tmp_path):
    save_file({"w": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(InputError, match="not an ipoke model"):
        load(tmp_path / "other.safetensors")


def test_seeds_are_derived_one_by_one():
    seeds = [sample_seed(seed, number) for seed in (7, 8) for number in range(50)]
    assert len(set(seeds)) == 100
    assert all(0 <= seed < 2**63 for seed in seeds)
