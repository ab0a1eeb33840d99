"""The paper's decoder for sampling: spectral normalisation folded into the weights, laid out for the processor."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ipoke.networks.autoencoder.decoded_frames import DecodedFrames
from ipoke.networks.autoencoder.spade_decoder import SpadeDecoder
from ipoke.networks.nn.spade import Modulation


class ChannelsLastNorm(nn.InstanceNorm2d):
    """Instance normalisation of pictures whose channels lie last: sums over places are matrix products.

    PyTorch's own is five times as slow there, and lays its result out another way.
    """

    def forward(self, input: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """Normalise each channel of each picture."""
        count, channels, height, width = input.shape
        rows = input.permute(0, 2, 3, 1).reshape(count, height * width, channels)
        averaging = rows.new_full((count, 1, height * width), 1 / (height * width))
        rows = rows - averaging @ rows
        variance = (averaging @ rows.square()).float()
        rows *= (variance + self.eps).rsqrt().to(rows.dtype)
        return rows.view(count, height, width, channels).permute(0, 3, 1, 2)


class PreparedSpadeDecoder:
    """A `SpadeDecoder` from its weights as they are now, with networks in ``precision``; it paints the same."""

    def __init__(self, decoder: SpadeDecoder, precision: torch.dtype) -> None:
        self._precision, self._decoder = precision, _folded(decoder, precision)

    @torch.no_grad()
    def source_features(self, source: Float[Tensor, "b 3 s s"]) -> list[Modulation]:
        """Compute what depends on the source alone, once for all frames and samples."""
        return self._decoder.source_features(source.to(self._precision))

    @torch.no_grad()
    def __call__(
        self,
        states: Float[Tensor, "b t c h w"],
        source: Float[Tensor, "b 3 s s"],
        features: list[Modulation] | None = None,
    ) -> DecodedFrames:
        """Decode roll-out states into frames."""
        return self._decoder(states.to(self._precision), source.to(self._precision), features)


def _folded(decoder: SpadeDecoder, precision: torch.dtype) -> SpadeDecoder:
    """Copy a decoder that is not going to be trained, without spectral normalisation and with channels last."""
    settings = decoder.settings.model_copy(update={"spectral_norm": False})
    with torch.device("meta"):
        copy = SpadeDecoder(settings, decoder.latent_channels)
    state = {name: tensor for name, tensor in decoder.state_dict().items() if ".parametrizations." not in name}
    for name, module in decoder.named_modules():
        if parametrize.is_parametrized(module) and isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            state[f"{name}.weight"] = module.weight.detach()
    copy.load_state_dict(state, assign=True)
    for parameter in copy.to(precision).parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    for parent in list(copy.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.InstanceNorm2d):
                setattr(parent, name, ChannelsLastNorm(child.num_features, child.eps))
    return copy.eval().requires_grad_(False)
