"""The contract of every layer of the latent flow."""

from abc import ABC, abstractmethod
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor, nn

Transformed: TypeAlias = tuple[Float[Tensor, "b c h w"], Float[Tensor, " b"]]
"""The mapped tensor, and log|det| of the call that was made, in nats, summed over all dimensions."""


def working_dtype(x: Tensor, weight: Tensor) -> torch.dtype:
    """Choose the precision of a network inside a layer: that of its weights, but float64 for values in float64."""
    return torch.float64 if x.dtype == torch.float64 else weight.dtype


class Bijection(nn.Module, ABC):
    r"""An invertible map between tensors of one shape, given a condition on the same grid, with its log-determinant.

    .. math:: y = f(x \mid c), \quad \log \left| \det \partial y / \partial x \right|

    ``forward`` is the normalising direction, from latents to residuals; ``inverse`` is the generating one, which the
    paper writes as :math:`\tau`. Paper: Sec. 3.2, Eq. 4 to 6.

    To implement a bijection, write

    - ``forward`` and ``inverse``. Both begin with ``x = self.checked(x, cond)``, which checks shapes and gives float32
      or float64, also under autocast; only convolutions inside may run in lower precision, see `working_dtype`. Both
      return the tensor and the log-determinant of the call that was made, nats, one per sample. ``inverse`` leaves its
      argument as it is.
    - ``inverse_vjp``, if there is a faster way than to differentiate ``inverse``; the default does that.
    - ``initialise``, if parameters start from data; the default only maps forward.

    Then add a case to ``tests/networks/bijections/test_bijections.py``: every law there must hold of it.

    Args:
        channels: Channels of the tensors.
        cond_channels: Condition channels that the map depends on. None declares that it depends on none; then the
            condition, if there is one, is not read.
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

    def inverse_vjp(
        self,
        x: Float[Tensor, "b c h w"],
        cond: Float[Tensor, "b k h w"] | None,
        gradient: Float[Tensor, "b c h w"],
        tolerance: float = 0.0,
    ) -> tuple[Float[Tensor, "b c h w"], Float[Tensor, "b c h w"]]:
        r"""Map forward, and turn a gradient with respect to x into that with respect to y.

        .. math:: g_y = (\partial y / \partial x)^{-\top} g_x

        That is the vector-Jacobian product of the inverse, at the cost of one pass forward: other than the inverse of a
        masked convolution, it takes no step per line.

        Args:
            x: Where the gradient was taken.
            cond: The condition.
            gradient: With respect to x.
            tolerance: At which change, as a share of the largest gradient, iterations stop; 0 for the exact result.

        Returns:
            y, and the gradient with respect to it.
        """
        with torch.no_grad():
            y = self(x, cond)[0]
        with torch.enable_grad():
            at = y.detach().requires_grad_()
            (of_y,) = torch.autograd.grad(self.inverse(at, cond)[0], at, gradient)
        return y, of_y

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
