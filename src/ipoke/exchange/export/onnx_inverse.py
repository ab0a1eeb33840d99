"""The inverse of the latent flow as an ONNX graph: a masked convolution is one Scan over its lines.

Traced line by line, the same would be ten thousand operators and take minutes to write.
"""

from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

from ipoke.networks.bijections.actnorm import ActNorm
from ipoke.networks.bijections.bijection import Bijection
from ipoke.networks.bijections.chain import Chain
from ipoke.networks.bijections.coupling import AffineCoupling
from ipoke.networks.bijections.masked_conv import MaskedConv
from ipoke.networks.bijections.multiscale import LastChannels, Multiscale
from ipoke.networks.bijections.permutation import Permutation

PREFIX = "latent_flow_"
"""Begins every name of the graph, so that it can stand beside others."""


class InverseGraph:
    """Nodes and weights that turn the residuals named ``noise`` into latents, given the condition named ``cond``.

    The condition is that of one still and poke, (1, k, h, w); residuals are as many as the caller has, (n, c, h, w).
    """

    def __init__(self, bijection: Bijection, noise: str, cond: str) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self._count = 0
        self._noise = noise
        self._zeros: dict[int, str] = {}
        self._seen = self._add("Elu", cond)
        self.output = self._undo(bijection, noise)

    def _undo(self, layer: Bijection, y: str) -> str:
        match layer:
            case Chain():
                for inner in reversed(layer.ordered()):
                    y = self._undo(inner, y)
                return y
            case Multiscale():
                for level in reversed(layer.ordered()):
                    y = self._on_part(level, y, 0, level.channels, layer.channels)
                return y
            case LastChannels():
                return self._on_part(
                    layer.inner, y, layer.channels - layer.inner.channels, layer.channels, layer.channels
                )
            case ActNorm():
                scale = self._weight((-layer.log_scale).exp())
                return self._add("Mul", self._add("Sub", y, self._weight(layer.shift)), scale)
            case Permutation():
                return self._channels(y, layer.order.argsort())
            case AffineCoupling():
                return self._undo_coupling(layer, y)
            case MaskedConv():
                return self._undo_masked_conv(layer, y)
            case _:
                raise TypeError(f"ONNX: no inverse of {type(layer).__name__}")

    def _on_part(self, inner: Bijection, y: str, first: int, last: int, channels: int) -> str:
        """Undo a bijection of the channels from ``first`` to ``last``, and leave the others as they are."""
        done = self._undo(inner, self._channels(y, torch.arange(first, last)))
        before = [self._channels(y, torch.arange(first))] if first else []
        after = [self._channels(y, torch.arange(last, channels))] if last < channels else []
        parts = [*before, done, *after]
        return self._add("Concat", *parts, axis=1) if len(parts) > 1 else done

    def _undo_coupling(self, layer: AffineCoupling, y: str) -> str:
        channels = torch.arange(layer.channels)
        kept, transformed = channels[layer.kept], channels[layer.transformed]
        others, part = self._channels(y, kept), self._channels(y, transformed)
        width = layer.conv.out_channels
        visible = self._seen_of(others, layer.seen_bound, self.nodes)
        hidden = self._add("Elu", self._convolved(visible, layer.conv.weight, padding=1))
        mixed = self._convolved(hidden, layer.mix.weight[:, :width])
        if layer.cond_channels is not None:
            mixed = self._add("Add", mixed, self._convolved(self._seen, layer.mix.weight[:, width:]))
        parameters = self._convolved(self._add("Elu", mixed), layer.project.weight(), layer.project.bias, padding=1)
        solved = self._solved(part, parameters, layer.logit_bound, self.nodes)
        return self._channels(self._add("Concat", others, solved, axis=1), torch.cat([kept, transformed]).argsort())

    def _undo_masked_conv(self, layer: MaskedConv, y: str) -> str:
        hidden = layer.conv.out_channels
        weight, axis = layer.project.weight(), 2 if layer.sweep in ("down", "up") else 3
        if layer.cond_channels is not None:
            known = self._convolved(self._seen, weight[:, hidden:], layer.project.bias)
        else:
            known = self._add(
                "Add", self._weight(layer.project.bias.view(1, -1, 1, 1)), self._weight(torch.zeros(8, 8))
            )
        kernel = layer.conv.weight if axis == 2 else layer.conv.weight.transpose(2, 3)
        backwards = int(layer.sweep in ("up", "left"))
        far, near = (kernel.flip(2) if backwards else kernel).unbind(2)
        outputs = [self._name() for _ in range(3)]
        self.nodes.append(
            helper.make_node(
                "Scan",
                [self._zero_lines(hidden), self._zero_lines(hidden), y, known],
                outputs,
                body=self._line(layer, weight[:, :hidden, 0], torch.cat([near, far])),
                num_scan_inputs=2,
                scan_input_axes=[axis, axis],
                scan_input_directions=[backwards, backwards],
                scan_output_axes=[axis],
                scan_output_directions=[backwards],
            )
        )
        return outputs[-1]

    def _line(self, layer: MaskedConv, project: Tensor, neighbours: Tensor) -> onnx.GraphProto:
        """Solve one line from what the lines before contribute, and return its contributions to the two after it."""
        nodes: list[onnx.NodeProto] = []
        hidden, pending, y, known = (self._name() for _ in range(4))
        features = self._add("Elu", hidden, into=nodes)
        parameters = self._add("Conv", features, self._weight(project), into=nodes)
        parameters = self._add("Add", parameters, known, into=nodes)
        solved = self._solved(y, parameters, layer.logit_bound, nodes)
        visible = self._seen_of(solved, layer.seen_bound, nodes)
        given = self._add("Conv", visible, self._weight(neighbours), into=nodes, pads=[1, 1])
        near, far = self._name(), self._name()
        nodes.append(helper.make_node("Split", [given], [near, far], axis=1, num_outputs=2))
        following = self._add("Add", near, pending, into=nodes)
        shapes = {hidden: 3, pending: 3, y: 3, known: 3}
        values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [None] * rank) for n, rank in shapes.items()]
        results = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [None] * 3) for n in (following, far, solved)]
        return helper.make_graph(nodes, self._name(), values, results)

    def _solved(self, y: str, parameters: str, bound: float | None, into: list[onnx.NodeProto]) -> str:
        """Compute (y - t) / s of shifts and logits that follow each other."""
        shift, logit = self._name(), self._name()
        into.append(helper.make_node("Split", [parameters], [shift, logit], axis=1, num_outputs=2))
        if bound is not None:
            limit = self._weight(torch.tensor(bound))
            logit = self._add(
                "Mul", self._add("Tanh", self._add("Div", logit, limit, into=into), into=into), limit, into=into
            )
        half = self._weight(torch.tensor(0.5))
        inverse = self._add("Exp", self._add("Neg", logit, into=into), into=into)
        scale = self._add("Add", self._add("Mul", inverse, half, into=into), half, into=into)
        return self._add("Mul", self._add("Sub", y, shift, into=into), scale, into=into)

    def _seen_of(self, values: str, bound: float | None, into: list[onnx.NodeProto]) -> str:
        """Clamp values to what a conditioner sees of them."""
        if bound is None:
            return values
        return self._add("Clip", values, *(self._weight(torch.tensor(end)) for end in (-bound, bound)), into=into)

    def _zero_lines(self, hidden: int) -> str:
        """Make the features of a line that nothing contributes to, one per residual."""
        if hidden not in self._zeros:
            count = self._add("Shape", self._noise, start=0, end=1)
            shape = self._add("Concat", count, self._weight(torch.tensor([hidden, 8])), axis=0)
            self._zeros[hidden] = self._add("ConstantOfShape", shape)
        return self._zeros[hidden]

    def _channels(self, x: str, order: Tensor) -> str:
        return self._add("Gather", x, self._weight(order), axis=1)

    def _convolved(self, x: str, weight: Tensor, bias: Tensor | None = None, padding: int = 0) -> str:
        given = [x, self._weight(weight)] + ([] if bias is None else [self._weight(bias)])
        return self._add("Conv", *given, pads=[padding] * 4)

    def _add(self, kind: str, *inputs: str, into: list[onnx.NodeProto] | None = None, **attributes: Any) -> str:
        output = self._name()
        node = helper.make_node(kind, list(inputs), [output], **attributes)
        (self.nodes if into is None else into).append(node)
        return output

    def _weight(self, tensor: Tensor) -> str:
        array = tensor.detach().cpu()
        array = (array.float() if array.is_floating_point() else array).contiguous().numpy()
        name = self._name()
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), name))
        return name

    def _name(self) -> str:
        self._count += 1
        return f"{PREFIX}{self._count}"
