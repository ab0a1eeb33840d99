from typing import Any

import pytest
import torch

from ipoke.data.batches import TrainingClips, training_batch
from ipoke.networks.autoencoder.decoded_frames import DecodedFrames
from ipoke.networks.autoencoder.losses import motion_error
from ipoke.sampling.model import PokeModel
from ipoke.training.autoencoder_stage import AutoencoderStage
from ipoke.training.stage import StepContext
from tiny import MovingSquares, tiny_recipe

FRAMES = 4


def moment(progress=0.0, seed=0):
    return StepContext(0, progress, torch.Generator().manual_seed(seed))


MOTION = ("autoencoder_losses.motion=3.0", "autoencoder_losses.motion_between=2.0")


def make(*overrides, motion=MOTION, with_tracks=True):
    recipe = tiny_recipe(*motion, *overrides)
    torch.manual_seed(0)
    stage = AutoencoderStage(PokeModel(recipe).autoencoder, recipe, None, torch.device("cpu"))
    poked = recipe.pokes.model_copy(update={"zero_poke_fraction": 0.0})
    batch = training_batch(
        TrainingClips(MovingSquares(), poked, None, seed=0, with_tracks=with_tracks), first=0, batch=2
    )
    return stage, batch


def exact_motion(batch):
    """Give the motion that the terms ask for: the tracks, and the optical flow in the last frame."""
    return torch.cat([batch.tracks[:, :-1], batch.optical_flow[:, None]], 1)


def terms(stage: Any, batch, motion=None, at=None):
    """Give the terms of the autoencoder's turn, of what its decoder says or of these motions."""
    if motion is not None:

        def decode(z, source, frames, *, only):
            clip = batch.clip[:, 1:][:, only]
            return DecodedFrames(clip, clip, motion[:, only], -motion[:, only], clip[:, :, :1])

        stage.autoencoder.decode = decode
    *_, loss_step = stage.loss_steps(batch, at or moment())
    return loss_step.terms


@pytest.mark.parametrize(("progress", "weight"), [(0.0, 0.5), (0.5, 0.5), (0.7, 3.7), (0.75, 4.5), (1.0, 4.5)])
def test_the_divergence_weighs_more_from_the_third_quarter_on(progress, weight):
    found = {}
    for last in ("", "autoencoder_losses.kl_last=4.5"):
        stage, batch = make("autoencoder_losses.kl=0.5", *([last] if last else []))
        found[last] = terms(stage, batch, at=moment(progress))["kl"]
    assert found[""] > 0
    torch.testing.assert_close(found["autoencoder_losses.kl_last=4.5"], weight / 0.5 * found[""])


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("frames_per_step", [2, 3, 4])
def test_the_exact_motion_of_the_chosen_frames_costs_nothing(seed, frames_per_step):
    stage, batch = make(f"autoencoder_losses.frames_per_step={frames_per_step}")
    found = terms(stage, batch, exact_motion(batch), moment(seed=seed))
    assert found["motion"] == found["motion_between"] == 0
    late = torch.cat([batch.tracks[:, 1:], batch.tracks[:, :1]], 1)
    found = terms(stage, batch, late, moment(seed=seed))
    assert found["motion"] > 0.1
    assert found["motion_between"] > 0.1


def test_motion_terms_are_weighted_errors_of_the_last_and_of_the_other_frames():
    stage, batch = make("autoencoder_losses.frames_per_step=4")
    source, motion = batch.clip[:, 0], 0 * batch.tracks
    found = terms(stage, batch, motion)
    last = motion_error(motion[:, -1], batch.optical_flow, source, batch.clip[:, -1])
    torch.testing.assert_close(found["motion"], 3 * last)
    between = [motion_error(motion[:, t], batch.tracks[:, t], source, batch.clip[:, t + 1]) for t in range(FRAMES - 1)]
    torch.testing.assert_close(found["motion_between"], 2 * torch.stack(between).mean())
    assert found["motion"] > found["motion_between"] > 0


@pytest.mark.parametrize(
    ("overrides", "present", "absent"),
    [
        ((), {"motion", "motion_between"}, set()),
        (("autoencoder_losses.motion_between=0.0",), {"motion"}, {"motion_between"}),
        (("autoencoder_losses.frames_per_step=1",), {"motion"}, {"motion_between"}),
        (("clip_decoder.kind=spade",), {"reconstruction_l1"}, {"motion", "motion_between"}),
    ],
)
def test_motion_terms_are_there_where_they_are_asked_for_and_possible(overrides, present, absent):
    stage, batch = make(*overrides, motion=() if "clip_decoder.kind=spade" in overrides else MOTION)
    found = terms(stage, batch)
    assert present <= found.keys()
    assert not absent & found.keys()


def test_motion_terms_reach_the_decoder_and_the_encoder():
    stage, batch = make()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in stage.autoencoder.decoder.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
    found = terms(stage, batch)
    (found["motion"] + found["motion_between"]).backward()
    for part in (stage.autoencoder.encoder.stem, stage.autoencoder.rollout, stage.autoencoder.decoder.coarse_motion):
        gradients = [parameter.grad for parameter in part.parameters()]
        assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)
        assert any(gradient.any() for gradient in gradients if gradient is not None)


def test_pictures_need_the_tracks_of_their_clips():
    stage, batch = make()
    with torch.no_grad():
        assert stage.picture(batch, moment()).ndim == 3
