import copy

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper

from ipoke.core.errors import InputError
from ipoke.core.sections import LatentFlowSettings
from ipoke.evaluation.bench.ways import as_we_do, by_onnx
from ipoke.exchange.export import onnx_model
from ipoke.exchange.export.onnx_inverse import InverseGraph
from ipoke.exchange.export.onnx_model import OnnxModel, export_onnx
from ipoke.networks.bijections.bijection import Bijection
from ipoke.networks.bijections.chain import masked_step
from ipoke.networks.bijections.coupling import AffineCoupling
from ipoke.networks.bijections.masked_conv import MaskedConv
from ipoke.networks.bijections.multiscale import LastChannels, Multiscale, factor_out
from ipoke.networks.latent_flow import LatentFlow
from ipoke.sampling.model import PokeModel
from tiny import tiny_model, tiny_recipe

pytestmark = pytest.mark.slow

COND, SPREAD = 5, 0.2


def perturbed(bijection: Bijection) -> Bijection:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in bijection.parameters():
            parameter += SPREAD * torch.randn(parameter.shape, generator=generator)
    return bijection.eval().requires_grad_(False)


def step(channels: int, cond: int | None, couplings: int | None, bound: float | None) -> Bijection:
    return masked_step(
        channels,
        units=1,
        masked_width=2,
        coupling_width=6,
        cond_channels=cond,
        coupling_cond_channels=couplings,
        logit_bound=bound,
    )


BIJECTIONS = {
    **{sweep: lambda sweep=sweep: MaskedConv(3, sweep, 2, COND) for sweep in ("down", "up", "right", "left")},
    "masked convolution without condition": lambda: MaskedConv(3, "up", 2),
    "bounded": lambda: MaskedConv(3, "left", 2, COND, 1.5),
    "bounded in what it sees": lambda: MaskedConv(3, "down", 2, COND, 1.5, 0.5),
    "coupling bounded in what it sees": lambda: AffineCoupling(4, "even", 5, COND, 1.5, 0.5),
    "step as the paper's": lambda: step(5, COND, None, None),
    "lean step": lambda: step(4, COND, COND, 2.0),
    "last channels": lambda: LastChannels(6, step(4, COND, None, None)),
    "levels": lambda: Multiscale([factor_out(6, 2, 5, COND), factor_out(4, 1, 5, None)], 3),
}


@pytest.mark.parametrize("name", BIJECTIONS)
def test_the_graph_undoes_what_the_bijection_does(name):
    torch.manual_seed(0)
    bijection = perturbed(BIJECTIONS[name]())
    graph = InverseGraph(bijection, "noise", "cond")
    values = {"noise": ["n", bijection.channels, 8, 8], "cond": [1, COND, 8, 8]}
    made = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "inverse",
            [helper.make_tensor_value_info(key, TensorProto.FLOAT, shape) for key, shape in values.items()],
            [helper.make_tensor_value_info(graph.output, TensorProto.FLOAT, [None] * 4)],
            graph.weights,
        ),
        opset_imports=[helper.make_opsetid("", onnx_model.OPSET)],
        ir_version=10,
    )
    onnx.checker.check_model(made)
    session = onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    generator = torch.Generator().manual_seed(1)
    cond = torch.randn(1, COND, 8, 8, generator=generator)
    for count in (1, 3):
        x = torch.randn(count, bijection.channels, 8, 8, generator=generator)
        r, _ = bijection(x, cond.expand(count, -1, -1, -1))
        assert (r - x).abs().max() > 0.1
        (back,) = session.run(None, {"noise": r.numpy(), "cond": cond.numpy()})
        np.testing.assert_allclose(np.asarray(back), x.numpy(), atol=2e-4)


def papers() -> PokeModel:
    torch.manual_seed(0)
    recipe = tiny_recipe("clip_decoder.kind=spade", "clip_decoder.spectral_norm=true")
    model = PokeModel(recipe).eval().requires_grad_(False)
    noise = model.latent_flow.base_noise([1, 2])
    model.latent_flow.initialise(noise, torch.zeros(2, model.conditions.channels, 8, 8))
    perturbed(model.latent_flow.bijection)
    return model


@pytest.mark.parametrize("make", [tiny_model, papers], ids=["moves", "paints"])
def test_the_file_samples_what_the_model_samples(make, tmp_path):
    model = make()
    agreement = export_onnx(model, tmp_path / "model.onnx")
    assert agreement.largest < 1e-3
    assert (agreement.beyond, agreement.pixels) == (0, 2 * model.recipe.clip.frames * 64**2)
    exported = OnnxModel(tmp_path / "model.onnx", threads=1)
    generator = torch.Generator().manual_seed(5)
    source = 2 * torch.rand(1, 3, 64, 64, generator=generator) - 1
    poke_map = torch.zeros(1, 2, 64, 64)
    poke_map[:, :, 20:25, 40:45] = -6.0
    for count in (1, 4):
        noise = model.latent_flow.base_noise(list(range(count)))
        cond = model.condition(source, poke_map).expand(count, -1, -1, -1)
        wanted = model.decode(model.to_latent(noise, cond), source.expand(count, -1, -1, -1), model.recipe.clip.frames)
        np.testing.assert_allclose(exported.frames(source, poke_map, noise), wanted.numpy(), atol=1e-3)
    way = by_onnx("tiny, ONNX", model, exported)
    assert set(way.run(2)) == {"clip"}
    plainly = as_we_do("tiny", model, "float32")
    plainly.run(2)
    torch.testing.assert_close(way.last, plainly.last, atol=1e-3, rtol=0)
    moved = exported.frames(source, torch.zeros_like(poke_map), noise)
    assert np.abs(moved - wanted.numpy()).max() > 1e-3


def test_a_file_that_computes_something_else_is_not_written(monkeypatch, tmp_path):
    made, other = onnx_model._assembled(tiny_model()), copy.deepcopy(tiny_model())
    # onnxruntime adds up a ScatterND in parallel, and loses summands.
    scattered = [node.op_type for node in made.graph.node if node.op_type.startswith("Scatter")]
    assert scattered == ["ScatterElements"]
    for parameter in other.latent_flow.parameters():
        parameter *= 1.3
    monkeypatch.setattr(onnx_model, "_assembled", lambda _: made)
    with pytest.raises(InputError, match="pixels of the ONNX file differ by more"):
        export_onnx(other, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_what_does_not_fit_a_file_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(onnx_model, "LARGEST_BYTES", 1000)
    with pytest.raises(InputError, match="more than 2 GiB"):
        export_onnx(tiny_model(), tmp_path / "model.onnx")


def test_a_graph_of_the_papers_depth_is_small():
    """Ten operators per masked convolution; line by line it would be sixty thousand in all."""
    settings = LatentFlowSettings(coupling_width=8)
    latent_flow = LatentFlow(settings, channels=32, cond_channels=COND)
    graph = InverseGraph(latent_flow.bijection, "noise", "cond")
    assert len(graph.nodes) < 12_000
