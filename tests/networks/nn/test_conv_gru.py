from typing import Any

import pytest
import torch
import torch.nn.functional as F

from ipoke.networks.nn.conv_gru import ConvGRU, ConvGRUCell

ALWAYS, NEVER = 1e4, -1e4
"""Biases that hold a gate open or shut."""


def make(channels=3, gates=None):
    torch.manual_seed(0)
    cell: Any = ConvGRUCell(channels).double()
    with torch.no_grad():
        for convolution in (cell.update, cell.reset, cell.propose):
            convolution.bias.normal_()
        for name, bias in (gates or {}).items():
            getattr(cell, name).bias.fill_(bias)
    return cell


def inputs(channels=3):
    generator = torch.Generator().manual_seed(1)
    x, state = torch.randn(2, 2, channels, 5, 4, generator=generator, dtype=torch.float64)
    return x, state


def convolve(convolution, x):
    return F.conv2d(x, convolution.weight, convolution.bias, padding=1)


def test_a_shut_update_gate_keeps_the_state():
    x, state = inputs()
    assert torch.equal(make(gates={"update": NEVER})(x, state), state)


def test_an_open_update_gate_takes_the_proposal():
    x, state = inputs()
    cell = make(gates={"update": ALWAYS})
    reset = torch.sigmoid(convolve(cell.reset, torch.cat([x, state], 1)))
    expected = torch.tanh(convolve(cell.propose, torch.cat([x, reset * state], 1)))
    torch.testing.assert_close(cell(x, state), expected)


def test_a_shut_reset_gate_hides_the_state_from_the_proposal():
    x, state = inputs()
    cell = make(gates={"update": ALWAYS, "reset": NEVER})
    torch.testing.assert_close(cell(x, state), cell(x, torch.zeros_like(state)))
    assert not torch.allclose(cell(x, state), cell(state, x))


def test_a_step_is_the_weighted_mean_of_state_and_proposal():
    x, state = inputs()
    cell = make()
    both = torch.cat([x, state], 1)
    update, reset = torch.sigmoid(convolve(cell.update, both)), torch.sigmoid(convolve(cell.reset, both))
    proposal = torch.tanh(convolve(cell.propose, torch.cat([x, reset * state], 1)))
    torch.testing.assert_close(cell(x, state), (1 - update) * state + update * proposal)


def test_each_cell_takes_the_new_state_of_the_one_below():
    torch.manual_seed(0)
    stack = ConvGRU(3, layers=3).double()
    x, state = inputs()
    states = [state, 2 * state, -state]
    first = stack.cells[0](x, states[0])
    second = stack.cells[1](first, states[1])
    third = stack.cells[2](second, states[2])
    for got, expected in zip(stack(x, states), (first, second, third), strict=True):
        assert torch.equal(got, expected)
    with pytest.raises(ValueError, match="zip"):
        stack(x, states[:2])


@pytest.mark.parametrize("update_bias", [0.0, -2.0])
def test_weights_start_orthogonal_and_biases_as_asked(update_bias):
    cell: Any = ConvGRU(4, 1, update_bias).cells[0]
    for convolution in (cell.update, cell.reset, cell.propose):
        rows = convolution.weight.flatten(1)
        torch.testing.assert_close(rows @ rows.T, torch.eye(4), atol=1e-5, rtol=0)
    assert (cell.update.bias == update_bias).all()
    assert not cell.reset.bias.any()
    assert not cell.propose.bias.any()
