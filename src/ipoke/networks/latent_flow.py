"""The conditional density of clip latents: an exact bijection between latents and Gaussian residuals.

    z = tau(r | x0, c),  r ~ N(0, I)

The condition (features of the source frame and of the pokes) lies on the same grid as the latent.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ipoke.core.recipe import LATENT_SIDE
from ipoke.core.sections import LatentFlowSettings
from ipoke.networks.bijections.actnorm import ActNorm
from ipoke.networks.bijections.bijection import Bijection
from ipoke.networks.bijections.chain import Chain, masked_step
from ipoke.networks.bijections.multiscale import Multiscale, factor_out


class LatentFlow(nn.Module):
    """Conditional normalising flow over latents of ``channels`` x ``side`` x ``side``.

    Before first use, `initialise` it with a batch or load weights.

    Paper: Sec. 3.2. Differs from the original: data-dependent initialisation is an explicit call; in the original the
    first call of any kind did it, evaluation included.
    """

    def __init__(
        self, settings: LatentFlowSettings, *, channels: int, cond_channels: int, side: int = LATENT_SIDE
    ) -> None:
        super().__init__()
        self.channels, self.cond_channels, self.side = channels, cond_channels, side
        self.bijection = _assemble(settings, channels, cond_channels)
        self._known_initialised = False
        self.register_load_state_dict_post_hook(_forget_initialised)

    @property
    def is_initialised(self) -> bool:
        """Whether every layer that starts from data has done so, here or before it was saved."""
        if not self._known_initialised:
            flags = [layer.initialised for layer in self.modules() if isinstance(layer, ActNorm)]
            self._known_initialised = bool(torch.stack(flags).all())
        return self._known_initialised

    @torch.no_grad()
    def initialise(self, z: Float[Tensor, "b c h w"], cond: Float[Tensor, "b k h w"]) -> None:
        """Set what depends on data from one batch, layer after layer; without effect once initialised."""
        self._check_grid("latent", z)
        if not self.is_initialised:
            with torch.autocast(z.device.type, enabled=False):
                self.bijection.initialise(z, cond)

    def to_residual(
        self, z: Float[Tensor, "b c h w"], cond: Float[Tensor, "b k h w"]
    ) -> tuple[Float[Tensor, "b c h w"], Float[Tensor, " b"]]:
        r"""Map latents to residuals, with the log-determinant of the map in nats; without gradients, in float64 inside.

        .. math:: r = \tau_\theta^{-1}(z \mid x_0, c), \quad \log|\det \partial r / \partial z|

        Paper: Eq. 5, 6. Differs from the original: the log-determinant is computed in log space.

        Raises:
            ValueError: A shape is wrong; the message names the axis and both numbers.
            RuntimeError: Not initialised.
        """
        self.check_ready("latent", z)
        if torch.is_grad_enabled() or self.is_reduced:
            return self.bijection(z, cond)
        with torch.autocast(z.device.type, enabled=False):
            r, log_det = self.bijection(z.double(), cond.double())
        dtype = torch.promote_types(z.dtype, torch.float32)
        return r.to(dtype), log_det.to(dtype)

    def to_latent(self, r: Float[Tensor, "b c h w"], cond: Float[Tensor, "b k h w"]) -> Float[Tensor, "b c h w"]:
        r"""Map residuals to latents, :math:`z = \tau_\theta(r \mid x_0, c)`; without gradients, in float64 inside.

        Then `to_residual` gives the residuals back to a few times the rounding of z. Autocast is left aside. Paper:
        Eq. 4.

        Raises:
            ValueError: A shape is wrong; the message names the axis and both numbers.
            RuntimeError: Not initialised.
        """
        self.check_ready("residual", r)
        with torch.autocast(r.device.type, enabled=False):
            if torch.is_grad_enabled() or self.is_reduced:
                return self.bijection.inverse(r, cond)[0]
            z = self.bijection.inverse(r.double(), cond.double())[0]
            return z.to(torch.promote_types(r.dtype, torch.float32))

    def approximate_latent(
        self, r: Float[Tensor, "b c h w"], cond: Float[Tensor, "b k h w"]
    ) -> Float[Tensor, "b c h w"]:
        """Map residuals to latents in the precision that they have, float32 or float64, for sampling.

        `ipoke.networks.round_trip.comes_back` tells whether rounding has spoilt one. `ipoke.engine` does the same
        faster.
        """
        self.check_ready("residual", r)
        with torch.autocast(r.device.type, enabled=False):
            return self.bijection.inverse(r, cond)[0]

    @property
    def is_reduced(self) -> bool:
        """Whether weights are kept in 16 bits: then the map is good to two or three digits."""
        return any(parameter.dtype == torch.bfloat16 for parameter in self.parameters())

    def inverse_vjp(
        self, z: Float[Tensor, "1 c h w"], cond: Float[Tensor, "1 k h w"], gradients: Tensor, tolerance: float = 0.0
    ) -> Float[Tensor, "m c h w"]:
        r"""Turn gradients with respect to a latent into those with respect to its residual, several at once.

        .. math:: g_r = (\partial z / \partial r)^\top g_z

        Args:
            z: The latent.
            cond: Its condition.
            gradients: With respect to the latent, (m, c, h, w).
            tolerance: As of `Bijection.inverse_vjp`.
        """
        self.check_ready("latent", z)
        of_each = (x.expand(len(gradients), -1, -1, -1) for x in (z, cond))
        return self.bijection.inverse_vjp(*of_each, gradients, tolerance)[1]

    def log_prob(self, z: Float[Tensor, "b c h w"], cond: Float[Tensor, "b k h w"]) -> Float[Tensor, " b"]:
        r"""Give log p(z | x0, c) in nats, with the constant :math:`-\frac{D}{2} \log 2\pi`.

        Paper: Eq. 6.
        """
        self.check_ready("latent", z)
        r, log_det = self.bijection(z, cond)
        constant = 0.5 * r[0].numel() * math.log(2 * math.pi)
        return log_det - 0.5 * r.square().flatten(1).sum(1) - constant

    def nll(self, z: Float[Tensor, "b c h w"], cond: Float[Tensor, "b k h w"]) -> Float[Tensor, ""]:
        r"""Give the training loss, the batch mean of :math:`\frac12 \|r\|^2 - \log|\det|`, in nats per latent.

        Paper: Eq. 8, which has no factor 1/2. Differs from the paper, like the original: with it, the loss is the
        negative log-likelihood up to a constant.
        """
        self.check_ready("latent", z)
        r, log_det = self.bijection(z, cond)
        return (0.5 * r.square().flatten(1).sum(1) - log_det).mean()

    def sample(
        self, cond: Float[Tensor, "b k h w"], *, seeds: list[int], temperature: float = 1.0
    ) -> Float[Tensor, "b c h w"]:
        """Draw one latent per condition, each from a seed of its own.

        A seed gives the same residual on every device and in every batch.

        Args:
            cond: One condition per sample.
            seeds: One seed per sample.
            temperature: Factor on the residual's standard deviation; 1 samples the model's density.

        Raises:
            ValueError: As many seeds as conditions are needed; the message names both numbers.
            RuntimeError: Not initialised.
        """
        if len(seeds) != len(cond):
            raise ValueError(f"sample: seeds: got {len(seeds)}, expected {len(cond)}, one per condition")
        return self.approximate_latent(self.residuals(seeds, cond, temperature), cond)

    def residuals(
        self, seeds: list[int], cond: Float[Tensor, "b k h w"], temperature: float
    ) -> Float[Tensor, "n c h w"]:
        """Draw one residual per seed, where the condition is and at least in float32."""
        noise = self.base_noise(seeds).to(cond.device, torch.promote_types(cond.dtype, torch.float32))
        return temperature * noise

    def base_noise(self, seeds: list[int]) -> Float[Tensor, "n c h w"]:
        """Draw one standard normal residual per seed, float32 on the CPU."""
        shape = (self.channels, self.side, self.side)
        return torch.stack([torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds])

    def check_ready(self, name: str, x: Tensor) -> None:
        """Check that a latent or residual has the grid's size, and that the layers are initialised.

        Raises:
            ValueError: A shape is wrong; the message names the axis and both numbers.
            RuntimeError: Not initialised.
        """
        self._check_grid(name, x)
        if not self.is_initialised:
            raise RuntimeError("latent flow: not initialised; call initialise(z, cond) with a batch, or load weights")

    def _check_grid(self, name: str, x: Tensor) -> None:
        for axis, got in zip(("height", "width"), x.shape[2:], strict=False):
            if got != self.side:
                raise ValueError(f"{name}: {axis}: got {got}, expected {self.side}")

    def extra_repr(self) -> str:
        """Give the sizes."""
        millions = sum(p.numel() for p in self.parameters()) / 1e6
        return (
            f"{self.channels}x{self.side}x{self.side} given {self.cond_channels} channels, {millions:.1f} M parameters"
        )


def _assemble(settings: LatentFlowSettings, channels: int, cond_channels: int) -> Bijection:
    """Build levels of steps; a single level is its steps alone, with nothing split off."""
    factor = settings.factor or len(settings.steps) + 1
    drop = channels // factor
    if len(settings.steps) > 1 and (channels % factor or factor <= len(settings.steps)):
        raise ValueError(f"latent flow: channels: got {channels}, expected a multiple of {factor} > levels")
    coupling_cond_channels = cond_channels if settings.conditional_couplings else None
    levels = []
    for level, steps in enumerate(settings.steps):
        width = channels - level * drop
        layers: list[Bijection] = [
            masked_step(
                width,
                units=settings.units,
                masked_width=settings.masked_width,
                coupling_width=settings.coupling_width,
                cond_channels=cond_channels,
                coupling_cond_channels=coupling_cond_channels,
                logit_bound=settings.logit_bound,
                seen_bound=settings.seen_bound,
            )
            for _ in range(steps)
        ]
        if len(settings.steps) > 1:
            layers.append(
                factor_out(
                    *(width, drop, settings.coupling_width, coupling_cond_channels),
                    *(settings.logit_bound, settings.seen_bound),
                )
            )
        levels.append(Chain(layers))
    return levels[0] if len(levels) == 1 else Multiscale(levels, channels - len(levels) * drop)


def _forget_initialised(module: nn.Module, _: object) -> None:
    """Read the flags again after loading."""
    if isinstance(module, LatentFlow):
        module._known_initialised = False
