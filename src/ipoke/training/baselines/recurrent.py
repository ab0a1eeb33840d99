"""A stochastic recurrent model of video: two frames in, a latent at every step, no pokes."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ipoke.core.recipe import LATENT_SIDE, Recipe
from ipoke.data.batches import Batch
from ipoke.networks.autoencoder.clip_autoencoder import make_decoder
from ipoke.networks.autoencoder.clip_encoder import sample_posterior
from ipoke.networks.autoencoder.generated import Generated
from ipoke.networks.conditions.condition_encoder import ConditionEncoder
from ipoke.networks.nn.conv_gru import ConvGRU
from ipoke.networks.nn.shrink import shrunk
from ipoke.training.baselines.baseline import Baseline, kl_ramp, noise_of

KL_WEIGHT = 2e-3
"""Of the KL divergence per place of the latent grid, beside mean absolute errors weighted with 10 to 20.

A likelihood of Laplace noise of scale b counts a mean error of the 192 values above a place as 192 / b nats; so this
is the weight of an evidence bound with b of 0.02, about two grey levels.
"""


class Gaussian(NamedTuple):
    """A diagonal normal distribution on the latent grid."""

    mean: Float[Tensor, "b c h w"]
    logvar: Float[Tensor, "b c h w"]


class StochasticRecurrent(Baseline):
    """Two frames become a state; every step draws a latent that moves the state on, and a decoder renders it.

    In the manner of Franceschi et al., "Stochastic latent residual video prediction" (SRVP, ICML 2020), and Castrejon,
    Ballas and Courville, "Improved conditional VRNNs for video prediction" (ICCV 2019). In training the latent of frame
    t comes from a posterior that sees the state and the frame, later from a prior that sees the state alone; the KL
    divergence between the two is the price. Nothing generated is fed back. Differs from the originals: states are a
    ConvGRU on the latent grid instead of a residual network (SRVP) or a hierarchy with dense connections (IVRNN);
    errors are the recipe's reconstruction and motion terms; every frame is seen together with the one before; frames
    are rendered from the last given one by the recipe's decoder; the weight of the KL divergence rises over the first
    eighth of the training, and posteriors start as narrow as the recipe's. Pokes are ignored.
    """

    context = 2
    is_stochastic = True
    reads_tracks = True

    def __init__(self, recipe: Recipe) -> None:
        super().__init__(recipe)
        channels, decoder, width = recipe.latent_channels, recipe.clip_decoder, recipe.image_encoder.widths[-1]
        self.look = ConditionEncoder(recipe.image_encoder, inputs=6)
        self.start = nn.Conv2d(width, channels, 3, padding=1)
        self.prior = _gaussian_network(channels, width, channels)
        self.posterior = _gaussian_network(channels + width, width, channels, recipe.clip_encoder.initial_logvar)
        self.gru = ConvGRU(channels, decoder.rollout_layers, decoder.rollout_update_bias)
        self.decoder = make_decoder(decoder, channels)

    def generate(self, batch: Batch, chosen: list[int], generator: torch.Generator, progress: float) -> Generated:
        """Reconstruct the chosen frames from the posterior of every step."""
        clip = batch.clip
        seen = self._look(clip[:, 1:].flatten(0, 1), clip[:, :-1].flatten(0, 1)).unflatten(0, (len(clip), -1))
        states, divergences = self._first_states(seen[:, 0]), []
        tops = []
        for features in seen[:, 1:].unbind(1):
            prior = _gaussian(self.prior, states[-1])
            posterior = _gaussian(self.posterior, torch.cat([states[-1], features], 1))
            divergences.append(kl_divergence(posterior, prior))
            states = self.gru(sample_posterior(*posterior, generator), states)
            tops.append(states[-1])
        rolled = torch.stack([tops[index - 1] for index in chosen], 1)
        weight = KL_WEIGHT * kl_ramp(progress)
        return Generated(self.decoder(rolled, clip[:, 1]), {"kl": weight * torch.stack(divergences).mean()})

    def answer(
        self, context: Float[Tensor, "b k 3 s s"], poke_map: Float[Tensor, "b 2 s s"], seeds: Sequence[Sequence[int]]
    ) -> Float[Tensor, "b n t 3 s s"]:
        """Give back frame 1 and roll on from it, with the latents of the prior; the pokes are ignored."""
        last, samples, steps = context[:, 1], len(seeds[0]), self.frames - 1
        noise = noise_of(seeds, (steps, self.recipe.latent_channels, LATENT_SIDE, LATENT_SIDE)).to(last.device)
        seen = self._look(last, context[:, 0]).repeat_interleave(samples, 0)
        states, tops = self._first_states(seen), []
        for of_step in noise.unbind(1):
            prior = _gaussian(self.prior, states[-1])
            states = self.gru(prior.mean + (0.5 * prior.logvar).exp() * of_step, states)
            tops.append(states[-1])
        features = [one.repeat_interleave(samples) for one in self.decoder.source_features(last)]
        given = last.repeat_interleave(samples, 0)
        clips = self.decoder(torch.stack(tops, 1), given, features).clip
        return torch.cat([given[:, None], clips], 1).unflatten(0, (len(last), samples))

    def _look(self, frame: Float[Tensor, "n 3 s s"], before: Float[Tensor, "n 3 s s"]) -> Float[Tensor, "n k 8 8"]:
        return self.look(shrunk(torch.cat([frame, before], 1), self.recipe.shrink))

    def _first_states(self, seen: Float[Tensor, "b k h w"]) -> list[Tensor]:
        return [self.start(seen)] * len(self.gru.cells)


def kl_divergence(posterior: Gaussian, prior: Gaussian) -> Float[Tensor, ""]:
    """KL of one normal distribution to another: summed over channels, averaged over batch and places, nats."""
    gap = (posterior.mean - prior.mean).square() / prior.logvar.exp()
    excess = (posterior.logvar - prior.logvar).exp() - (posterior.logvar - prior.logvar)
    return 0.5 * (gap + excess - 1).sum(1).mean()


def _gaussian_network(inputs: int, width: int, channels: int, initial_logvar: float = 0.0) -> nn.Sequential:
    last = nn.Conv2d(width, 2 * channels, 3, padding=1)
    if last.bias is not None:
        nn.init.constant_(last.bias[channels:], initial_logvar)
    return nn.Sequential(nn.Conv2d(inputs, width, 3, padding=1), nn.SiLU(), last)


def _gaussian(network: nn.Module, seen: Tensor) -> Gaussian:
    return Gaussian(*network(seen).float().chunk(2, 1))
