import torch

from ipoke.networks.autoencoder.latent_rollout import LatentRollout


def make():
    torch.manual_seed(0)
    return LatentRollout(8, 2, -2.0).requires_grad_(False)


def test_the_roll_out_starts_every_state_at_the_latent():
    rollout, z = make(), torch.randn(2, 8, 8, 8, generator=torch.Generator().manual_seed(1))
    states = [z, z]
    for step in rollout(z, 3).unbind(1):
        states = rollout.gru(rollout.motion_bias.expand_as(z), states)
        torch.testing.assert_close(step, states[-1])


def test_low_update_gates_remember_the_latent_longer():
    z = torch.randn(2, 8, 8, 8, generator=torch.Generator().manual_seed(1))
    forgotten = []
    for bias in (-2.0, 0.0):
        torch.manual_seed(0)
        forgotten.append((LatentRollout(8, 2, bias)(z, 5)[:, -1] - z).abs().mean().item())
    assert forgotten[0] < 0.7 * forgotten[1]
