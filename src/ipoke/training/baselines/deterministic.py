"""A roll-out without a latent: one answer per still and pokes."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ipoke.core.recipe import Recipe
from ipoke.data.batches import Batch
from ipoke.engine.rollout import unroll
from ipoke.networks.autoencoder.clip_autoencoder import make_decoder
from ipoke.networks.autoencoder.decoded_frames import DecodedFrames
from ipoke.networks.autoencoder.generated import Generated
from ipoke.networks.autoencoder.latent_rollout import GruRollout
from ipoke.networks.conditions.condition_encoder import ConditionEncoder
from ipoke.networks.nn.shrink import shrunk
from ipoke.training.baselines.baseline import Baseline, one_for_all
from ipoke.training.baselines.poke_code import PokeCode


class DeterministicRollout(Baseline):
    """The still becomes the state of an object, the poke drives it, and a ConvGRU tells how both go on.

    In the manner of Blattmann, Milbich, Dorkenwald and Ommer, "Understanding object dynamics for interactive
    image-to-video synthesis" (CVPR 2021). Reconstruction, motion and adversarial losses are those of the autoencoder.
    Differs from the original: one resolution of states instead of a hierarchy; still and pokes are encoded by the
    recipe's condition encoders, learned along; frames are decoded by the recipe's decoder; trained end to end with the
    autoencoder's losses, without the original's pre-trained image autoencoder and losses on its features.
    """

    reads_tracks = True

    def __init__(self, recipe: Recipe) -> None:
        super().__init__(recipe)
        channels, decoder = recipe.latent_channels, recipe.clip_decoder
        self.image = ConditionEncoder(recipe.image_encoder, inputs=3)
        self.poke_code = PokeCode(recipe)
        self.start = nn.Conv2d(recipe.image_encoder.widths[-1] + channels, channels, 3, padding=1)
        self.rollout = GruRollout(channels, decoder.rollout_layers, decoder.rollout_update_bias)
        self.decoder = make_decoder(decoder, channels)

    def generate(self, batch: Batch, chosen: list[int], generator: torch.Generator, progress: float) -> Generated:
        """Predict the chosen frames from still and pokes."""
        return Generated(self._predict(batch.clip[:, 0], batch.poke_map, chosen), {})

    def answer(
        self, context: Float[Tensor, "b k 3 s s"], poke_map: Float[Tensor, "b 2 s s"], seeds: Sequence[Sequence[int]]
    ) -> Float[Tensor, "b n t 3 s s"]:
        """Predict all frames, once for all seeds."""
        return one_for_all(self._predict(context[:, 0], poke_map, list(range(self.frames))).clip, seeds)

    def _predict(
        self, source: Float[Tensor, "b 3 s s"], poke_map: Float[Tensor, "b 2 s s"], chosen: list[int]
    ) -> DecodedFrames:
        code = self.poke_code(poke_map, source)
        start = self.start(torch.cat([self.image(shrunk(source, self.recipe.shrink)), code], 1))
        return self.decoder(unroll(self.rollout, code, start, self.frames)[:, chosen], source)
