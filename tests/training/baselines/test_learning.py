import pytest
import torch

from ipoke.core.pixels import clip_from_frames
from ipoke.data.batches import evaluation_item
from ipoke.networks.autoencoder.perceptual import WEIGHTS_VARIABLE
from ipoke.training.baselines.copy_source import CopySource
from ipoke.training.baselines.samplers import load_baseline
from ipoke.training.train import train
from tiny import Silent, clip_set, tiny_recipe

TWO_CLIPS = (
    *("train.autoencoder.clips=100", "train.autoencoder.batch=4", "train.autoencoder.learning_rate=4e-3"),
    *("train.autoencoder.warmup_clips=40", "train.autoencoder.ema_half_life_clips=40"),
    *("train.autoencoder.precision=float32", "pokes.zero_poke_fraction=0.0"),
    *("autoencoder_losses.adversarial_start=1.0", "autoencoder_losses.frames_per_step=2"),
    *("augment.colour_probability=0.0", "augment.geometry_probability=0.0", "augment.flip_probability=0.0"),
)
"""What it takes to learn two clips by heart in a few seconds."""


@pytest.mark.slow
@pytest.mark.parametrize("method", ["deterministic", "recurrent"])
def test_a_baseline_learns_to_move_squares(method, tmp_path, monkeypatch):
    monkeypatch.delenv(WEIGHTS_VARIABLE, raising=False)
    clips, recipe = clip_set(2), tiny_recipe(f"method={method}", *TWO_CLIPS)
    train(clips, recipe, tmp_path, reporter=Silent())
    items = [evaluation_item(clips, index, recipe.pokes, seed=1) for index in range(2)]
    truth, pokes = torch.stack([clip_from_frames(item.frames) for item in items]), [item.pokes for item in items]
    baseline, copy = load_baseline(tmp_path), CopySource(clips.size, clips.frames)
    given = baseline.context
    errors = [
        (sampler.sample_clips(still, pokes, [[7], [7]])[:, 0, given - 1 :] - truth[:, given:]).square().mean()
        for sampler, still in ((baseline, truth[:, :given]), (copy, truth[:, given - 1 : given]))
    ]
    assert errors[0] < 0.6 * errors[1]
