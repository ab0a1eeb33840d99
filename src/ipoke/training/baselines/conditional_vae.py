"""The paper's ablation: a conditional VAE in place of the latent flow."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from ipoke.core.recipe import LATENT_SIDE, Recipe
from ipoke.data.batches import Batch
from ipoke.engine.rollout import unroll
from ipoke.networks.autoencoder import losses
from ipoke.networks.autoencoder.clip_autoencoder import make_decoder
from ipoke.networks.autoencoder.clip_encoder import ClipEncoder, sample_posterior
from ipoke.networks.autoencoder.generated import Generated
from ipoke.networks.autoencoder.latent_rollout import GruRollout
from ipoke.training.baselines.baseline import Baseline, kl_ramp, noise_of
from ipoke.training.baselines.poke_code import PokeCode

KL_WEIGHT = 0.1


class ConditionalVae(Baseline):
    """A latent that is told of the pokes in the roll-out, and drawn from N(0, I) to sample. Paper: Table 3, cVAE.

    Encoder, decoder, discriminators and losses are those of the autoencoder. All cells of the ConvGRU start at latent
    and poke code together, twice as wide, and are fed zeros. Differs from the original: the poke code is the recipe's
    poke encoder and a projection, not an encoder that ends on the width of a latent; the weight of the KL divergence
    rises over the first eighth of the training, not over 5 of nominally 1000 epochs; there is no unused motion bias.
    """

    is_stochastic = True
    reads_tracks = True

    def __init__(self, recipe: Recipe) -> None:
        super().__init__(recipe)
        channels, decoder = recipe.latent_channels, recipe.clip_decoder
        self.encoder = ClipEncoder(recipe.clip_encoder, channels, recipe.shrink)
        self.poke_code = PokeCode(recipe)
        self.rollout = GruRollout(2 * channels, decoder.rollout_layers, decoder.rollout_update_bias)
        self.decoder = make_decoder(decoder, 2 * channels)

    def generate(self, batch: Batch, chosen: list[int], generator: torch.Generator, progress: float) -> Generated:
        """Reconstruct clips from their latents and pokes."""
        source = batch.clip[:, 0]
        mean, logvar = self.encoder(batch.clip, batch.tracks)
        z = sample_posterior(mean, logvar, generator)
        states = self._roll_out(z, self.poke_code(batch.poke_map, source))
        terms = {"kl": KL_WEIGHT * kl_ramp(progress) * losses.kl_to_standard_normal(mean, logvar)}
        return Generated(self.decoder(states[:, chosen], source), terms)

    def answer(
        self, context: Float[Tensor, "b k 3 s s"], poke_map: Float[Tensor, "b 2 s s"], seeds: Sequence[Sequence[int]]
    ) -> Float[Tensor, "b n t 3 s s"]:
        """Draw latents from the prior and decode them."""
        source, samples = context[:, 0], len(seeds[0])
        z = noise_of(seeds, (self.recipe.latent_channels, LATENT_SIDE, LATENT_SIDE)).to(source.device)
        code = self.poke_code(poke_map, source).float()
        states = self._roll_out(z, code.repeat_interleave(samples, 0))
        features = [one.repeat_interleave(samples) for one in self.decoder.source_features(source)]
        clips = self.decoder(states, source.repeat_interleave(samples, 0), features).clip
        return clips.unflatten(0, (len(source), samples))

    def _roll_out(self, z: Tensor, code: Tensor) -> Float[Tensor, "b t c h w"]:
        start = torch.cat([z, code], 1)
        return unroll(self.rollout, torch.zeros_like(start), start, self.frames)
