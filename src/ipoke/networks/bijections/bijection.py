"""The contract of every layer of the latent flow.

A bijection maps a latent to a residual of the same shape, given a condition on the same grid, and knows the
log-determinant of its Jacobian. ``forward`` is the normalising direction (data to noise), ``inverse`` the generating
one. The paper writes the generating direction as tau.
"""

from abc import ABC, abstractmethod
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor, nn

Transformed: TypeAlias = tuple[Float[Tensor, "b c h w"], Float[Tensor, " b"]]
"""The mapped tensor, and log|det| of the call that was made, in nats, summed over all dimensions."""


def working_dtype(x: Tensor, weight: Tensor) -> torch.dtype:
    """Say in which precision a network inside a layer works: its weights', but float64 on values in float64."""
    return torch.float64 if x.dtype == torch.float64 else weight.dtype


class Bijection(nn.Module, ABC):
    """An invertible map of ``b c h w`` tensors with a log-determinant, given a condition.

    ``cond_channels`` is the number of condition channels that the map depends on; None declares that it depends on
    none, and then whatever condition it is given is left unread. Values and log-determinants are computed in float32
    or float64, also under autocast; only convolutions inside a layer may run in lower precision.
    """

    def __init__(self, channels: int, cond_channels: int | None = None) -> None:
        super().__init__()
        self.channels = channels
        self.cond_channels = cond_channels

    @abstractmethod
    def forward(self, x: Float[Tensor, "b c h w"], cond: Float[Tensor, "b k h w"] | None = None) -> Transformed:
        """Map towards the residual.

        Raises:
            ValueError: A shape is wrong; the message names the axis and both numbers.
        """

    @abstractmethod
    def inverse(self, y: Float[Tensor, "b c h w"], cond: Float[Tensor, "b k h w"] | None = None) -> Transformed:
        """Map towards the latent; the log-determinant is that of this direction.

        Raises:
            ValueError: A shape is wrong; the message names the axis and both numbers.
        """

    def carry(
        self,
        x: Float[Tensor, "b c h w"],
        cond: Float[Tensor, "b k h w"] | None,
        gradient: Float[Tensor, "b c h w"],
        tolerance: float = 0.0,
    ) -> tuple[Float[Tensor, "b c h w"], Float[Tensor, "b c h w"]]:
        r"""Map forward, and carry the gradient of something with respect to x along to that with respect to y.

        .. math:: g_y = (\partial y / \partial x)^{-\top} g_x

        So the gradient of the inverse costs a walk forward, which unlike the inverse of masked convolutions takes no
        step per line.

        Args:
            x: Where the gradient was taken.
            cond: The condition.
            gradient: With respect to x.
            tolerance: What iterations may leave undone, as a share of the largest gradient; 0 leaves nothing.
        """
        with torch.no_grad():
            y = self(x, cond)[0]
        with torch.enable_grad():
            at = y.detach().requires_grad_()
            (carried,) = torch.autograd.grad(self.inverse(at, cond)[0], at, gradient)
        return y, carried

    def initialise(
        self, x: Float[Tensor, "b c h w"], cond: Float[Tensor, "b k h w"] | None = None
    ) -> Float[Tensor, "b c h w"]:
        """Set what depends on data from this batch, unless that was done before, and map the batch forward."""
        return self(x, cond)[0]

    def checked(self, x: Float[Tensor, "b c h w"], cond: Float[Tensor, "b k h w"] | None) -> Float[Tensor, "b c h w"]:
        """Check the shapes of one call and return its input in float32 or float64."""
        if x.ndim != 4:
            raise ValueError(f"{self._name}: got {x.ndim} axes, expected 4 (batch, channels, height, width)")
        if x.shape[1] != self.channels:
            raise ValueError(f"{self._name}: channels: got {x.shape[1]}, expected {self.channels}")
        if self.cond_channels is not None:
            self._check_condition(x, cond)
        return x.to(torch.promote_types(x.dtype, torch.float32))

    def _check_condition(self, x: Tensor, cond: Tensor | None) -> None:
        if cond is None:
            raise ValueError(f"{self._name}: condition: got none, expected {self.cond_channels} channels")
        if cond.ndim != 4:
            raise ValueError(f"{self._name}: condition: got {cond.ndim} axes, expected 4")
        expected = (x.shape[0], self.cond_channels, *x.shape[2:])
        for axis, got, want in zip(("batch", "channels", "height", "width"), cond.shape, expected, strict=True):
            if got != want:
                raise ValueError(f"{self._name}: condition {axis}: got {got}, expected {want}")

    @property
    def _name(self) -> str:
        return type(self).__name__
