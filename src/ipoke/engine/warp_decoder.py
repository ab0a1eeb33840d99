"""The warp decoder, prepared for sampling: networks with channels last, and one compiled call after them."""

import copy
import ctypes
from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from ipoke.engine.library import Compiled, Rules
from ipoke.engine.ranges import in_ranges
from ipoke.networks.autoencoder import fill, splat, warp_decoder
from ipoke.networks.autoencoder.decoded_frames import DecodedFrames
from ipoke.networks.autoencoder.heads import CHANNELS
from ipoke.networks.autoencoder.warp_decoder import WarpDecoder
from ipoke.networks.nn.spade import Modulation

FRAMES_AT_ONCE = 10
"""More would not fit the processor's caches."""


class PreparedWarpDecoder:
    """A `WarpDecoder` from its weights as they are now, for sides that are powers of two.

    Args:
        decoder: The decoder.
        functions: Those of the C files.
        precision: Of the networks; what follows them is float32.
    """

    def __init__(self, decoder: WarpDecoder, functions: Compiled, precision: torch.dtype) -> None:
        self._functions, self._precision = functions, precision
        self._networks = copy.deepcopy(decoder).to(precision).requires_grad_(False)
        for parameter in self._networks.parameters():
            if parameter.dim() == 4:
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
        self._rules = Rules(
            order_per_px=warp_decoder.ORDER_PER_PX,
            largest_order=warp_decoder.LARGEST_ORDER,
            nearness_per_px=warp_decoder.NEARNESS_PER_PX,
            least_nearness=warp_decoder.LEAST_NEARNESS,
            gap=splat.GAP,
            gap_weight=splat.GAP_WEIGHT,
            splat_tiny=splat.TINY,
            steep=splat.STEEP,
            steepest=splat.STEEPEST,
            smallest_miss=splat.SMALLEST_MISS,
            largest_miss=splat.LARGEST_MISS,
            least_weight=fill.LEAST_WEIGHT,
            fill_tiny=fill.TINY,
            fill_range=warp_decoder.FILL_RANGE,
        )

    @torch.no_grad()
    def source_features(self, source: Float[Tensor, "b 3 s s"]) -> list[Modulation]:
        """Compute what depends on the source alone, once for all frames and samples."""
        return self._networks.source_features(source.to(self._precision))

    @torch.no_grad()
    def __call__(
        self,
        states: Float[Tensor, "b t c h w"],
        source: Float[Tensor, "b 3 s s"],
        features: list[Modulation] | None = None,
    ) -> DecodedFrames:
        """Decode roll-out states into frames."""
        batch, frames, side = *states.shape[:2], source.shape[-1]
        features = self.source_features(source) if features is None else features
        heads = torch.empty(batch, frames, side, side, CHANNELS)
        coarse = torch.empty(batch, frames, 3, side // 2, side // 2)
        for samples, times in _parts(batch, frames):
            own = [one.rows(samples) for one in features]
            given = states[samples, times].to(self._precision)
            fine, wide = (part.unflatten(0, given.shape[:2]) for part in self._networks.predict(given, own))
            heads[samples, times], coarse[samples, times] = fine.permute(0, 1, 3, 4, 2), wide
        return self._compose(heads, coarse, source)

    def _compose(
        self, heads: Float[Tensor, "b t s s 8"], coarse: Float[Tensor, "b t 3 s2 s2"], source: Float[Tensor, "b 3 s s"]
    ) -> DecodedFrames:
        batch, frames, side = heads.shape[:3]
        source = source if source[0].is_contiguous() else source.contiguous()
        parts = [source.new_empty(batch, frames, channels, side, side) for channels in (3, 3, 2, 2, 1)]
        size = self._functions.warp_scratch(side)

        def warp(first: int, count: int) -> None:
            scratch = torch.empty(size)
            self._functions.warp_frames(
                *(count, side, heads.data_ptr(), coarse.data_ptr(), source.data_ptr(), frames, source.stride(0), first),
                *(part.data_ptr() for part in parts),
                *(scratch.data_ptr(), ctypes.byref(self._rules)),
            )

        in_ranges(batch * frames, warp)
        return DecodedFrames(*parts)


def _parts(batch: int, frames: int) -> Iterator[tuple[slice, slice]]:
    """Cut samples and frames into parts of about `FRAMES_AT_ONCE`."""
    together = max(1, FRAMES_AT_ONCE // frames)
    for sample in range(0, batch, together):
        for start in range(0, frames, FRAMES_AT_ONCE):
            yield slice(sample, sample + together), slice(start, start + FRAMES_AT_ONCE)
