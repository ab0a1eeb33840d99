import pytest
import torch
from answers import batch, context, frozen

from ipoke.networks.autoencoder.losses import kl_to_standard_normal
from ipoke.training.baselines.baseline import kl_ramp
from tiny import FRAMES


@pytest.mark.parametrize(("progress", "weight"), [(0, 0), (1 / 80, 0.01), (1 / 16, 0.05), (1 / 8, 0.1), (1, 0.1)])
def test_the_kl_divergence_counts_more_and_more_over_the_first_eighth(progress, weight):
    assert kl_ramp(progress) == pytest.approx(10 * weight)
    baseline, few = frozen("cvae"), batch()
    _, terms = baseline.generate(few, [FRAMES - 1], torch.Generator(), progress)
    mean, logvar = baseline.encoder(few.clip, few.tracks)
    torch.testing.assert_close(terms["kl"], weight * kl_to_standard_normal(mean, logvar))


def test_the_roll_out_is_fed_zeros_and_starts_at_latent_and_pokes(monkeypatch):
    baseline, seen = frozen("cvae"), []
    unroll = baseline.rollout.unroll
    monkeypatch.setattr(baseline.rollout, "unroll", lambda *given: seen.append(given) or unroll(*given))
    source, asked = context(0)[:, 0], batch(1).poke_map
    baseline.answer(source[:, None], asked, [[7]])
    ((fed, start, frames),) = seen
    assert frames == FRAMES
    assert not fed.any()
    noise = torch.randn(8, 8, 8, generator=torch.Generator().manual_seed(7))
    torch.testing.assert_close(start[0, :8], noise)
    torch.testing.assert_close(start[:, 8:], baseline.poke_code(asked, source))
