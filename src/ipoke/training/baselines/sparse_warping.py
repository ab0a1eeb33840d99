"""Sparse vectors become dense displacements, which warp the still."""

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ipoke.core.recipe import Recipe
from ipoke.data.batches import Batch
from ipoke.data.optical_flow import warp
from ipoke.networks.autoencoder.decoded_frames import DecodedFrames
from ipoke.networks.autoencoder.generated import Generated
from ipoke.networks.conditions.condition import poked_places
from ipoke.networks.nn.residual import PlainResidualBlock
from ipoke.training.baselines.baseline import Baseline, one_for_all


class SparseWarping(Baseline):
    """Every frame by itself: hints of displacement, densified, move the still's pixels; the rest is made up.

    In the manner of Hao, Huang and Belongie, "Controllable video generation with sparse trajectories" (CVPR 2018): a
    network reads the still and a map of sparse vectors, and gives a dense displacement, what to trust of the warped
    still, and colours for the rest. Differs from the original: it has a hint of its own for each frame, here only the
    pokes, of which frame t gets the share t / T as if all moved evenly; it wants several trajectories, here as many as
    there are pokes; losses are the recipe's reconstruction terms alone.
    """

    def __init__(self, recipe: Recipe) -> None:
        super().__init__(recipe)
        widths = (*recipe.clip_decoder.widths, *recipe.detail_widths)[::-1]
        self.look = nn.Conv2d(6, widths[0], 3, padding=1)
        self.narrow = nn.ModuleList(nn.Conv2d(a, b, 3, 2, 1) for a, b in itertools.pairwise(widths))
        self.inner = nn.Sequential(
            *(PlainResidualBlock(widths[-1]) for _ in range(recipe.poke_encoder.bottleneck_blocks))
        )
        self.widen = nn.ModuleList(nn.Conv2d(b, a, 3, padding=1) for a, b in reversed(list(itertools.pairwise(widths))))
        self.join = nn.ModuleList(nn.Conv2d(2 * a, a, 3, padding=1) for a in reversed(widths[:-1]))
        self.last = nn.Conv2d(widths[0], 6, 3, padding=1)
        nn.init.zeros_(self.last.weight)
        if self.last.bias is not None:
            nn.init.zeros_(self.last.bias)
            with torch.no_grad():
                self.last.bias[2] = SHOWN_AT_START

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
        shares = torch.tensor([(index + 1) / self.frames for index in chosen], device=source.device)
        hint = poke_map[:, None] * shares[:, None, None, None]
        known = torch.cat([poked_places(poke_map), source], 1)[:, None].expand(-1, len(chosen), -1, -1, -1)
        predicted = self._estimate(torch.cat([hint, known], 2).flatten(0, 1)).float()
        displacement, trust, colour = predicted.split([2, 1, 3], 1)
        warped = warp(source[:, None].expand(-1, len(chosen), -1, -1, -1).flatten(0, 1), displacement)
        coverage, paint = trust.sigmoid(), colour.tanh()
        parts = (torch.lerp(paint, warped, coverage), paint, displacement, coverage)
        clip, paint, backward_flow, coverage = (part.unflatten(0, (len(source), len(chosen))) for part in parts)
        return DecodedFrames(clip, paint, None, backward_flow, coverage)

    def _estimate(self, x: Float[Tensor, "n 6 s s"]) -> Float[Tensor, "n 6 s s"]:
        """Predict where each pixel comes from, px, how far to trust it, and what to paint; down to 8 x 8 and up."""
        x = F.silu(self.look(x))
        finer = []
        for narrow in self.narrow:
            finer.append(x)
            x = F.silu(narrow(x))
        x = F.silu(self.inner(x))
        for widen, join, beside in zip(self.widen, self.join, reversed(finer), strict=True):
            x = widen(F.interpolate(x, scale_factor=2, mode="bilinear"))
            x = F.silu(join(torch.cat([x, beside], 1)))
        return self.last(x)


SHOWN_AT_START = 3.0
"""Logit of the warped still's share before anything is learned."""
