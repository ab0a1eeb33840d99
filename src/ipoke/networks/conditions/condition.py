"""The condition of the latent flow: features of the source frame (Phi_x0) and of the pokes (Phi_c)."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ipoke.core.recipe import Recipe
from ipoke.core.sections import PokeEncoderSettings
from ipoke.networks.conditions.condition_encoder import ConditionEncoder
from ipoke.networks.nn.shrink import shrunk, shrunk_pokes


class ConditionEncoders(nn.Module):
    """Two separate networks for the source frame and the pokes, concatenated, image first. Paper: Sec. 3.2."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.poke_settings, self.shrink = recipe.poke_encoder, recipe.shrink
        self.image = ConditionEncoder(recipe.image_encoder, inputs=3)
        self.poke = make_poke_encoder(recipe.poke_encoder)
        self.channels = recipe.image_encoder.widths[-1] + recipe.poke_encoder.widths[-1]

    def encode_image(self, source: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b k 8 8"]:
        """Encode source frames in [-1, 1]."""
        return self.image(shrunk(source, self.shrink))

    def encode_pokes(
        self, poke_map: Float[Tensor, "b 2 s s"], source: Float[Tensor, "b 3 s s"]
    ) -> Float[Tensor, "b k 8 8"]:
        """Encode poke maps (px), with the source frame and a mask of the poked places, if the recipe has them."""
        return self.poke(poke_inputs(self.poke_settings, poke_map, source, self.shrink))

    def forward(
        self,
        source: Float[Tensor, "b 3 s s"],
        poke_map: Float[Tensor, "b 2 s s"],
    ) -> Float[Tensor, "b k 8 8"]:
        """Encode source frames in [-1, 1] and poke maps in px."""
        return torch.cat([self.encode_image(source), self.encode_pokes(poke_map, source)], 1)


def make_poke_encoder(settings: PokeEncoderSettings) -> ConditionEncoder:
    """Make an encoder of what `poke_inputs` gives."""
    return ConditionEncoder(settings, 2 + 3 * settings.sees_source + settings.sees_poked, norm=settings.norm)


def poke_inputs(
    settings: PokeEncoderSettings,
    poke_map: Float[Tensor, "b 2 s s"],
    source: Float[Tensor, "b 3 s s"],
    shrink: int,
) -> Float[Tensor, "b c s2 s2"]:
    """Stack poke maps (px), the source frame and a mask of the poked places, as far as the recipe has them."""
    poke_map = shrunk_pokes(poke_map, shrink)
    inputs = [poke_map]
    if settings.sees_source:
        inputs.append(shrunk(source, shrink))
    if settings.sees_poked:
        inputs.append(poked_places(poke_map))
    return torch.cat(inputs, 1)


def poked_places(poke_map: Float[Tensor, "b 2 s s"]) -> Float[Tensor, "b 1 s s"]:
    """Mark where a map was poked or pinned."""
    return (poke_map != 0).any(1, keepdim=True).to(poke_map.dtype)
