"""A model as an ONNX file: a still, a poke map and residuals go in, frames come out."""

import logging
import math
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnxruntime
import torch
from jaxtyping import Float, Float32
from onnx import TensorProto, compose, helper
from torch import Tensor, nn

from ipoke.core.errors import InputError
from ipoke.core.files import replacing
from ipoke.core.version import __version__
from ipoke.exchange.export.onnx_inverse import InverseGraph
from ipoke.sampling.model import PokeModel

OPSET = 20
LARGEST_BYTES = 2**31 - 2**20
"""Most that one ONNX file can hold."""
LARGEST_DIFFERENCE = 1e-3
"""In [-1, 1], between frames of the file and of the model."""
SHARE_BEYOND = 1e-4
"""Of pixels that may differ by more: whether something is still seen at its edge, rounding decides."""


class Agreement(NamedTuple):
    """How near frames of the file are to those of the model."""

    largest: float
    """Difference, in [-1, 1], of all pixels but those beyond `LARGEST_DIFFERENCE`."""
    beyond: int
    pixels: int


def export_onnx(model: PokeModel, out: Path) -> Agreement:
    """Write a model, run what was written, and compare its frames with the model's.

    Inputs: ``source`` (1, 3, s, s) in [-1, 1]; ``poke_map`` (1, 2, s, s) in px; ``noise`` (n, c, 8, 8), standard
    normal. Output: ``frames`` (n, t, 3, s, s) in [-1, 1].

    Returns:
        What the comparison of two samples found.

    Raises:
        InputError: The model is too large for one file, or what was written computes something else.
    """
    if 4 * sum(p.numel() for p in model.parameters()) > LARGEST_BYTES:
        raise InputError(
            "export: got a model of more than 2 GiB, expected one that fits an ONNX file; export a lean one"
        )
    graph = _assembled(model)
    with replacing(out) as partial:
        onnx.save(graph, str(partial))
        agreement = _agreement(model, partial)
        if agreement.beyond > SHARE_BEYOND * agreement.pixels:
            raise InputError(
                f"export: {agreement.beyond} of {agreement.pixels} pixels of the ONNX file differ by more than "
                f"{LARGEST_DIFFERENCE:g}, expected at most one in {1 / SHARE_BEYOND:.0f}; nothing was written"
            )
    return agreement


class OnnxModel:
    """An exported model, run by onnxruntime."""

    def __init__(self, path: Path, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def frames(
        self, source: Float[Tensor, "1 3 s s"], poke_map: Float[Tensor, "1 2 s s"], noise: Float[Tensor, "n c h w"]
    ) -> Float32[np.ndarray, "n t 3 s s"]:
        """Sample one clip per residual."""
        given = {"source": source.numpy(), "poke_map": poke_map.numpy(), "noise": noise.numpy()}
        (frames,) = self._session.run(["frames"], given)
        return np.asarray(frames)


def _assembled(model: PokeModel) -> onnx.ModelProto:
    recipe = model.recipe
    side, frames = recipe.clip.size, recipe.clip.frames
    source, poke_map = torch.zeros(1, 3, side, side), torch.zeros(1, 2, side, side)
    latents = torch.zeros(3, *model.latent_flow.base_noise([0]).shape[1:])
    # Without gradients, parts would take their prepared forms, which cannot be traced.
    with torch.enable_grad():
        before = _traced(_Condition(model), (source, poke_map), ("source", "poke_map"), "cond", None)
        samples = torch.export.Dim("samples", min=1, max=256)
        after = _traced(
            _Decoder(model), (latents, source), ("z", "source"), "frames", {"z": {0: samples}, "source": None}
        )
    before = compose.add_prefix(before, "condition_", rename_inputs=False, rename_outputs=False)
    after = compose.add_prefix(after, "decoder_", rename_inputs=False, rename_outputs=False)
    inverse = InverseGraph(model.latent_flow.bijection, "noise", "cond")
    naming = helper.make_node("Identity", [inverse.output], ["z"])
    given = {"source": [1, 3, side, side], "poke_map": [1, 2, side, side], "noise": ["samples", *latents.shape[1:]]}
    result = helper.make_tensor_value_info("frames", TensorProto.FLOAT, ["samples", frames, 3, side, side])
    graph = helper.make_graph(
        [*before.graph.node, *inverse.nodes, naming, *after.graph.node],
        "ipoke",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in given.items()],
        [result],
        [*before.graph.initializer, *inverse.weights, *after.graph.initializer],
    )
    made = helper.make_model(
        graph,
        producer_name="ipoke",
        producer_version=__version__,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=10,
    )
    onnx.checker.check_model(made)
    return made


class _Condition(nn.Module):
    def __init__(self, model: PokeModel) -> None:
        super().__init__()
        self.conditions = model.conditions

    def forward(self, source: Tensor, poke_map: Tensor) -> Tensor:
        return self.conditions(source, poke_map)


class _Decoder(nn.Module):
    def __init__(self, model: PokeModel) -> None:
        super().__init__()
        self.rollout, self.decoder = model.autoencoder.rollout, model.autoencoder.decoder
        self.frames = model.recipe.clip.frames

    def forward(self, z: Tensor, source: Tensor) -> Tensor:
        states = self.rollout(z, self.frames)
        repeated = source.expand(z.shape[0], -1, -1, -1)
        return self.decoder(states, repeated, self.decoder.source_features(source)).clip


def _traced(
    module: nn.Module, example: tuple[Tensor, ...], names: tuple[str, ...], output: str, shapes: dict[str, Any] | None
) -> onnx.ModelProto:
    with _quietly():
        program = torch.onnx.export(
            module.eval(),
            example,
            dynamo=True,
            input_names=list(names),
            output_names=[output],
            dynamic_shapes=shapes,
            opset_version=OPSET,
            verbose=False,
        )
    if program is None:
        raise AssertionError("torch.onnx gives a program")
    return program.model_proto


@contextmanager
def _quietly() -> Generator[None]:
    """Hide the exporter's messages about operators that are not in our models."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


@torch.no_grad()
def _agreement(model: PokeModel, path: Path) -> Agreement:
    generator = torch.Generator().manual_seed(0)
    side = model.recipe.clip.size
    source = 2 * torch.rand(1, 3, side, side, generator=generator) - 1
    poke_map = torch.zeros(1, 2, side, side)
    poke_map[:, :, side // 2 - 2 : side // 2 + 3, side // 2 - 2 : side // 2 + 3] = side / 8
    noise = model.latent_flow.base_noise([1, 2])
    z = model.to_latent(noise, model.condition(source, poke_map).expand(2, -1, -1, -1))
    wanted = model.decode(z, source.expand(2, -1, -1, -1), model.recipe.clip.frames)
    found = OnnxModel(path, torch.get_num_threads()).frames(source, poke_map, noise)
    error = (torch.from_numpy(found) - wanted).abs().amax(2).flatten()
    near = error <= LARGEST_DIFFERENCE
    return Agreement(float(error[near].max()) if near.any() else math.nan, int((~near).sum()), len(error))
