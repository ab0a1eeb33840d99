import torch

from ipoke.core.recipe import Recipe
from ipoke.data.poke import Poke
from ipoke.data.pokes import poke_map
from ipoke.networks.conditions.condition import ConditionEncoders
from ipoke.networks.conditions.condition_encoder import ConditionDecoder, ConditionEncoder
from tiny import tiny_recipe


def make(*overrides):
    torch.manual_seed(0)
    return ConditionEncoders(tiny_recipe(*overrides)).eval().requires_grad_(False)


def drawn(*pokes):
    return torch.from_numpy(poke_map(pokes, 64))[None]


def source(seed=0):
    return torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(seed)) * 2 - 1


PIN = Poke(x=30, y=20, dx=0, dy=0)
DRAG = Poke(x=4, y=4, dx=6, dy=-3)


def test_a_pin_differs_from_no_poke_where_the_encoder_sees_what_was_poked():
    for sees, least, most in (("true", 1e-2, 1e2), ("false", 0.0, 1e-2)):
        encoders = make(f"poke_encoder.sees_poked={sees}")
        pinned, nothing = (encoders.encode_pokes(drawn(*pokes), source()) for pokes in ((PIN,), ()))
        assert least <= (pinned - nothing).abs().max() < most


def test_the_image_comes_first_and_does_not_see_the_pokes():
    encoders = make()
    x0 = source()
    poked, other = encoders(x0, drawn(DRAG)), encoders(x0, drawn(PIN))
    assert poked.shape == (1, encoders.channels, 8, 8)
    assert torch.equal(poked[:, :16], encoders.image(x0))
    assert torch.equal(poked[:, :16], other[:, :16])
    assert not torch.allclose(poked[:, 16:], other[:, 16:])


def test_the_poke_encoder_sees_the_source_only_where_asked():
    for sees, channels in (("true", 5), ("false", 2)):
        encoders = make(f"poke_encoder.sees_source={sees}", "poke_encoder.sees_poked=false")
        assert encoders.poke.stem[0].in_channels == channels
        first, second = (encoders.encode_pokes(drawn(DRAG), source(seed)) for seed in (0, 1))
        assert torch.allclose(first, second) == (sees == "false")


def test_by_default_pokes_are_seen_with_the_source_as_in_the_original():
    with torch.device("meta"):
        encoders = ConditionEncoders(Recipe())
    assert encoders.poke.stem[0].in_channels == 5
    assert encoders.channels == 128


def far_change(blocks):
    """How much features in the far corner change with a poke in the near one."""
    encoders = make(f"poke_encoder.bottleneck_blocks={blocks}")
    change = encoders.encode_pokes(drawn(DRAG), source()) - encoders.encode_pokes(drawn(), source())
    assert change[..., 0, 0].abs().max() > 1e-2
    return change[..., 7, 7].abs().max().item()


def test_a_poke_is_felt_far_away_with_enough_blocks_on_the_latent_grid():
    assert far_change(1) == 0
    assert far_change(4) > 1e-6


def test_conditions_of_a_batch_do_not_meet():
    encoders = make()
    x0, maps = torch.cat([source(0), source(1)]), torch.cat([drawn(DRAG), drawn(PIN)])
    torch.testing.assert_close(encoders(x0, maps)[1:], encoders(x0[1:], maps[1:]), atol=1e-5, rtol=1e-4)


def test_a_decoder_is_bounded_only_where_it_paints():
    settings = tiny_recipe().image_encoder
    torch.manual_seed(0)
    features = 50 * torch.randn(2, 16, 8, 8)
    for bounded in (True, False):
        decoder = ConditionDecoder(settings, 3, bounded=bounded)
        with torch.no_grad():
            decoder.last.weight *= 50
            pictures = decoder(features)
        assert pictures.shape == (2, 3, 64, 64)
        assert (pictures.abs().max() <= 1) == bounded


def test_more_blocks_come_without_spectral_normalisation():
    settings = Recipe().poke_encoder.model_copy(update={"bottleneck_blocks": 3})
    with torch.device("meta"):
        encoder = ConditionEncoder(settings, 5)
    assert len(encoder.bottleneck) == 3
    assert not any("parametrizations" in name for name, _ in encoder.bottleneck.named_parameters())
    assert any("parametrizations" in name for name, _ in encoder.down.named_parameters())
