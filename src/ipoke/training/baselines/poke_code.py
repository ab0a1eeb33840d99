"""Pokes on the latent grid, with the width of a latent."""

from jaxtyping import Float
from torch import Tensor, nn

from ipoke.core.recipe import Recipe
from ipoke.networks.conditions.condition import make_poke_encoder, poke_inputs


class PokeCode(nn.Module):
    """The recipe's poke encoder, Phi_c, then a projection to the channels of a latent; learned with what uses it."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.settings, self.shrink = recipe.poke_encoder, recipe.shrink
        self.encoder = make_poke_encoder(recipe.poke_encoder)
        self.project = nn.Conv2d(recipe.poke_encoder.widths[-1], recipe.latent_channels, 1)

    def forward(self, poke_map: Float[Tensor, "b 2 s s"], source: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b c 8 8"]:
        """Encode poke maps (px) and source frames in [-1, 1]."""
        return self.project(self.encoder(poke_inputs(self.settings, poke_map, source, self.shrink)))
