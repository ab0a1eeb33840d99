"""The paper's decoder for sampling: spectral normalisation folded into the weights, laid out for the processor."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ipoke.autoencoder.painting_decoder import PaintingDecoder


class ChannelsLastNorm(nn.InstanceNorm2d):
    """Instance normalisation that keeps channels last, so that what is added to it lies alike."""

    def forward(self, input: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """Normalise each channel of each picture."""
        return super().forward(input).contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def folded(decoder: PaintingDecoder, precision: torch.dtype) -> PaintingDecoder:
    """Copy a decoder that is not going to be trained, in ``precision``; it paints the same up to rounding."""
    settings = decoder.settings.model_copy(update={"spectral_norm": False})
    with torch.device("meta"):
        copy = PaintingDecoder(settings, decoder.latent_channels)
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
