"""Python and C name the channels of a warp decoder alike."""

import re
from importlib import resources

import torch

from ipoke.networks.autoencoder.heads import CHANNELS, Heads


def channels_in_c() -> dict[str, int]:
    source = resources.files("ipoke.engine").joinpath("pictures.c").read_text()
    (names,) = re.findall(r"enum \{(.* CHANNELS .*)\};", source)
    return {name: int(number) for name, number in re.findall(r"(\w+) = (\d+)", names)}


def test_channels_are_the_same_in_c():
    heads = Heads.split(torch.arange(float(CHANNELS)).view(1, CHANNELS, 1, 1))
    order = heads.motion[:, 2:]
    first = {name.upper(): int(part.flatten()[0]) for name, part in (heads._asdict() | {"order": order}).items()}
    assert channels_in_c() == first | {"CHANNELS": CHANNELS}


def test_parts_are_joined_as_they_were_split():
    channels = torch.randn(2, CHANNELS, 4, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(Heads.split(channels).cat(), channels)
