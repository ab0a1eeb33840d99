"""Shapes and parameter counts at the paper's sizes, counted on tensors without memory."""

import pytest
import torch
from torch import nn

from ipoke.core.recipe import Recipe
from ipoke.core.sections import AutoencoderLossSettings, DiscriminatorSettings, WarpDecoderSettings
from ipoke.core.settings import load_recipe
from ipoke.networks.autoencoder.clip_autoencoder import ClipAutoencoder
from ipoke.networks.autoencoder.discriminators import StaticDiscriminator, TemporalDiscriminator
from ipoke.networks.conditions.condition import ConditionEncoders
from ipoke.networks.conditions.condition_encoder import ConditionDecoder, ConditionEncoder
from ipoke.networks.latent_flow import LatentFlow

REFERENCE = [f"{name}-{size}" for name in ("plants", "iper", "human36m", "taichi") for size in (64, 128)]


def paper_recipe(size, latent_channels):
    """Give the shipped recipe of the paper's Poking-Plants, for another latent if asked."""
    return load_recipe(f"plants-{size}", [f"latent_channels={latent_channels}"])


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(
    ("size", "latent_channels", "encoder", "gru", "decoder", "total"),
    [
        (64, 32, 15_108_096, 221_568, 4_477_059, 19_808_771),
        (64, 64, 15_255_616, 885_504, 4_624_515, 20_769_731),
        (128, 32, 22_254_080, 221_568, 6_841_219, 29_318_915),
        (128, 64, 22_401_600, 885_504, 6_988_675, 30_279_875),
    ],
)
def test_the_autoencoder_has_the_papers_size(size, latent_channels, encoder, gru, decoder, total):
    with torch.device("meta"):
        autoencoder = ClipAutoencoder(paper_recipe(size, latent_channels))
    assert count(autoencoder.encoder) == encoder
    assert count(autoencoder.rollout.gru) == gru
    assert autoencoder.rollout.motion_bias.numel() == latent_channels * 64
    assert count(autoencoder.decoder) == decoder
    assert count(autoencoder) == total


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name.endswith("128") else []) for name in REFERENCE]
)
def test_a_reference_recipe_builds_the_published_model(name):
    recipe = load_recipe(name, [])
    wide = name in ("plants-128", "human36m-64", "human36m-128")
    with torch.device("meta"):
        latent_flow = LatentFlow(
            recipe.latent_flow, channels=recipe.latent_channels, cond_channels=ConditionEncoders(recipe).channels
        )
        autoencoder = ClipAutoencoder(recipe)
        image, poke = ConditionEncoders(recipe).image, ConditionEncoders(recipe).poke
    assert count(latent_flow) == (1_237_326_840 if wide else 1_054_426_620)
    totals = {(64, 32): 19_808_771, (64, 64): 20_769_731, (128, 32): 29_318_915, (128, 64): 30_279_875}
    assert count(autoencoder) == totals[recipe.clip.size, 64 if wide else 32]
    assert (count(image), count(poke)) == ((260_288, 260_864) if recipe.clip.size == 64 else (371_328, 371_904))
    assert recipe.train.latent_flow.batch == (20 if wide else 40)
    assert recipe.pokes.foreground == ("grabcut" if name.startswith(("iper", "taichi")) else "motion")
    assert recipe.pokes.max_pokes == (1 if name.startswith("human36m") else 5)


def test_the_discriminators_have_the_papers_size():
    with torch.device("meta"):
        assert count(TemporalDiscriminator(DiscriminatorSettings())) == 37_639_616
        assert count(StaticDiscriminator(DiscriminatorSettings())) == 2_764_737
        assert count(StaticDiscriminator(DiscriminatorSettings(), norm="group")) == 2_765_633


@pytest.mark.parametrize(
    ("size", "inputs", "encoder", "decoder"),
    [
        (64, 3, 260_288, 343_363),
        (64, 2, 260_000, 343_074),
        (64, 5, 260_864, 343_074),
        (128, 3, 371_328, 454_403),
        (128, 2, 371_040, 454_114),
        (128, 5, 371_904, 454_114),
    ],
)
def test_the_condition_encoders_have_the_papers_size(size, inputs, encoder, decoder):
    settings = paper_recipe(size, 32).poke_encoder
    pictured = inputs == 3
    with torch.device("meta"):
        assert count(ConditionEncoder(settings, inputs)) == encoder
        assert count(ConditionDecoder(settings, 3 if pictured else 2, bounded=pictured)) == decoder


def test_the_defaults_are_the_papers_for_64_px():
    recipe = Recipe()
    assert (recipe.clip.size, recipe.clip.frames, recipe.latent_channels) == (64, 10, 32)
    assert recipe.pokes.model_dump(include={"max_pokes", "patch", "zero_poke_fraction", "max_pins"}) == {
        "max_pokes": 5,
        "patch": 5,
        "zero_poke_fraction": 1 / 12,
        "max_pins": 0,
    }
    losses = AutoencoderLossSettings()
    assert (losses.reconstruction_l1, losses.perceptual, losses.kl) == (10, 10, 1e-7)
    assert (losses.adversarial_static, losses.adversarial_temporal) == (1, 1)
    assert (losses.feature_matching, losses.gradient_penalty, losses.adversarial_start) == (1, 1, 0)
    assert (losses.pyramid_l1, losses.motion, losses.motion_between) == (0, 0, 0)
    assert recipe.latent_flow.steps == (10, 5, 5, 4, 4, 4, 3, 3, 3, 2, 2, 2, 1, 1, 1)
    assert (recipe.latent_flow.coupling_width, recipe.latent_flow.masked_width) == (2048, 4)
    assert not recipe.latent_flow.conditional_couplings
    autoencoder, latent_flow = recipe.train.autoencoder, recipe.train.latent_flow
    assert (autoencoder.batch, autoencoder.learning_rate, autoencoder.betas) == (20, 2e-4, (0.5, 0.9))
    assert (autoencoder.weight_decay, autoencoder.schedule, autoencoder.decay) == (1e-5, "exponential", 0.98)
    assert autoencoder.decay_clips == 2000 * autoencoder.batch
    assert (latent_flow.batch, latent_flow.learning_rate, latent_flow.amsgrad) == (40, 1e-3, True)
    assert (latent_flow.weight_decay, latent_flow.schedule) == (1e-5, "linear")
    assert (latent_flow.warmup_clips, latent_flow.clips) == (500 * 40, 200_000 * 40)
    image, poke = recipe.train.image_encoder, recipe.train.poke_encoder
    assert (image.learning_rate, image.batch, image.betas) == (2e-4, 128, (0.9, 0.999))
    assert (poke.learning_rate, poke.batch, poke.betas) == (1e-3, 64, (0.9, 0.999))


@pytest.mark.parametrize(
    ("size", "shapes"),
    [
        (64, [(64, 6, 32), (128, 3, 32), (256, 2, 16), (256, 1, 8)]),
        (128, [(64, 6, 64), (128, 3, 64), (256, 2, 32), (256, 1, 16), (256, 1, 8)]),
    ],
)
def test_the_encoder_passes_through_the_papers_shapes(size, shapes):
    with torch.device("meta"):
        encoder = ClipAutoencoder(paper_recipe(size, 32)).encoder
        x = encoder.stem(torch.empty(2, 3, 11, size, size))
        seen = [x.shape]
        for index, block in enumerate(encoder.blocks):
            x = block(x)
            if index % 2:
                seen.append(x.shape)
        mean, logvar = encoder(torch.empty(2, 11, 3, size, size))
    assert seen == [(2, channels, time, side, side) for channels, time, side in shapes]
    assert mean.shape == logvar.shape == (2, 32, 8, 8)


@pytest.mark.parametrize("size", [64, 128])
def test_the_decoder_doubles_from_the_latent_grid_to_the_clip(size):
    recipe = paper_recipe(size, 32)
    with torch.device("meta"):
        decoder = ClipAutoencoder(recipe).decoder
        source = torch.empty(2, 3, size, size)
        scales = [modulation.scale.shape for modulation in decoder.source_features(source)]
        clip = decoder(torch.empty(2, 10, 32, 8, 8), source).clip
    sides = [16, 32, 64, 128][: len(scales)]
    assert scales == [(2, width, side, side) for width, side in zip(recipe.clip_decoder.widths[1:], sides, strict=True)]
    assert clip.shape == (2, 10, 3, size, size)


@pytest.mark.parametrize(
    ("size", "widths", "source_widths"),
    [(64, (32, 24, 16, 8), (20, 12, 10, 6)), (128, (32, 24, 16, 8, 4), (20, 12, 10, 6, 3))],
)
def test_the_warp_decoder_meets_the_source_at_every_side_from_the_latent_grid_on(size, widths, source_widths):
    decoder = WarpDecoderSettings(widths=widths, source_widths=source_widths)
    recipe = paper_recipe(size, 32).model_copy(update={"clip_decoder": decoder})
    with torch.device("meta"):
        autoencoder = ClipAutoencoder(recipe)
        source = torch.empty(2, 3, size, size)
        scales = [modulation.scale.shape for modulation in autoencoder.decoder.source_features(source)]
        decoded = autoencoder.decoder(torch.empty(2, 10, 32, 8, 8), source)
    sides = [8, 16, 32, 64, 128][: len(widths)]
    assert scales == [(2, width, side, side) for width, side in zip(widths, sides, strict=True)]
    channels = {"clip": 3, "paint": 3, "motion": 2, "backward_flow": 2, "coverage": 1}
    for name, part in decoded._asdict().items():
        assert part is not None
        assert part.shape == (2, 10, channels[name], size, size)


@pytest.mark.parametrize(("size", "patches"), [(64, 6), (128, 14)])
def test_the_discriminators_judge_patches_and_steps(size, patches):
    with torch.device("meta"):
        static = StaticDiscriminator(DiscriminatorSettings())
        temporal = TemporalDiscriminator(DiscriminatorSettings())
        assert static(torch.empty(2, 3, size, size)).shape == (2, 1, patches, patches)
        logits, features = temporal(torch.empty(2, 10, 3, size, size))
    assert logits.shape == (2, 2)
    assert [tuple(one.shape[1:3]) for one in features] == [(64, 10), (128, 5), (256, 3), (512, 2)]


@pytest.mark.parametrize("size", [64, 128])
def test_conditions_lie_on_the_latent_grid(size):
    settings = paper_recipe(size, 32).image_encoder
    with torch.device("meta"):
        features = ConditionEncoder(settings, 5)(torch.empty(2, 5, size, size))
        assert features.shape == (2, 64, 8, 8)
        assert ConditionDecoder(settings, 2, bounded=False)(features).shape == (2, 2, size, size)
