"""Models of a recipe's size with random weights, whose cost is that of trained ones."""

import torch

from ipoke.core.recipe import Recipe
from ipoke.sampling.model import PokeModel, Precision, coupling_weights

BLOCK = 2**20 + 7
"""Random numbers drawn; they are repeated, for a billion of them would take longer than the measurement."""


def empty_model(recipe: Recipe, precision: Precision = "float32") -> PokeModel:
    """Make a model with uninitialised weights."""
    with torch.device("meta"):
        model = PokeModel(recipe)
    if precision == "bfloat16":
        model.decoder_precision = torch.bfloat16
        for name in coupling_weights(model):
            parameter = model.get_parameter(name)
            parameter.data = parameter.data.to(torch.bfloat16)
    return model.to_empty(device="cpu").eval().requires_grad_(False)


def random_model(recipe: Recipe, precision: Precision = "float32") -> PokeModel:
    """Make a model whose weights neither explode nor vanish; ``precision`` is that of `ipoke.load`."""
    model = empty_model(recipe, precision)
    generator = torch.Generator().manual_seed(0)
    block = torch.randn(BLOCK, generator=generator)
    for name, parameter in model.named_parameters():
        if name.endswith(("gain", "log_scale", "shift", "bias")):
            parameter.normal_(0, 0.02, generator=generator)
        elif parameter.dim() > 1:
            _repeat(parameter.data.view(-1), block * parameter[0].numel() ** -0.5)
        else:
            parameter.fill_(1.0)
    for name, buffer in model.named_buffers():
        if name.endswith("initialised"):
            buffer.fill_(True)
        elif name.endswith("order"):
            buffer.copy_(torch.randperm(len(buffer), generator=generator))
        else:
            buffer.normal_(0, 1, generator=generator).div_(buffer.norm())
    return model


@torch.no_grad()
def reduced(model: PokeModel) -> PokeModel:
    """Make the model that `ipoke.load` would give in 16 bits."""
    half, exact = empty_model(model.recipe, "bfloat16"), model.state_dict()
    for name, tensor in half.state_dict().items():
        tensor.copy_(exact[name])
    return half


def _repeat(numbers: torch.Tensor, block: torch.Tensor) -> None:
    for part in numbers.split(len(block)):
        part.copy_(block[: len(part)])
