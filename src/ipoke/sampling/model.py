"""PokeModel: what users hold. A still and pokes go in, clips, residuals and likelihoods come out."""

import functools
import hashlib
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from ipoke.core.errors import InputError, shown
from ipoke.core.pixels import clip_from_frames
from ipoke.core.reading.regular import is_folder, is_there, regular_file
from ipoke.core.recipe import Recipe
from ipoke.core.runs import (
    WEIGHTS_NAME,
    facts_from_metadata,
    fitted_weights,
    outlined,
    read_tensors,
    recipe_from_metadata,
    save_model,
    weights_sha256,
)
from ipoke.core.settings import suggestion
from ipoke.data.images import read_image
from ipoke.data.poke import Poke
from ipoke.data.pokes import poke_map
from ipoke.engine.engine import Engine, choose_engine
from ipoke.engine.holder import EngineHolder
from ipoke.networks.autoencoder.clip_autoencoder import ClipAutoencoder
from ipoke.networks.bijections.coupling import AffineCoupling
from ipoke.networks.conditions.condition import ConditionEncoders
from ipoke.networks.latent_flow import LatentFlow
from ipoke.sampling.drawing import Drawing, Wanted, finite
from ipoke.sampling.motion_correlation import PULLS, Networks, affinity_map, draw_pulls
from ipoke.sampling.open_picture import OpenPicture
from ipoke.sampling.residual_terms import sample_seed
from ipoke.sampling.still import Still

BUNDLED = Path(__file__).parents[1] / "bundled"
"""Folder of the models and stills that come with the package."""
RESIDUAL_STD = "spread"
"""Name, in model files, of the fact that holds `PokeModel.residual_std`."""
STILL = "still"
"""Name of the still that examples use."""


Precision: TypeAlias = Literal["float32", "bfloat16"]


class Score(NamedTuple):
    """How likely a clip's latent is, given its first frame and the pokes."""

    log_prob_nats: float
    bits_per_dim: float


class PokeModel(EngineHolder):
    """Video autoencoder, condition encoders and latent flow. Paper: Fig. 2.

    >>> import ipoke
    >>> model = ipoke.load("scenes-64")
    >>> still = ipoke.bundled_still()
    >>> model.poke(still, [ipoke.Poke(x=38, y=137, dx=0, dy=34)], samples=2, seed=0).shape
    (2, 11, 256, 256, 3)
    """

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.recipe = recipe
        self.facts: dict[str, str] = {}
        self.reaches = recipe.clip_decoder.kind == "warp"
        """Whether residuals are pulled until the poked pixels reach their targets, as `ipoke.sampling.guidance` says;
        where it is False they are left as they were drawn, as in the original. A decoder that paints says no motion to
        reach by."""
        self.residual_std = 1.0
        """Standard deviation of residuals at temperature 1: 1 as learned, or fitted to true futures by
        `ipoke.evaluation.metrics.residual_std`."""
        self.decoder_precision = torch.float32
        """Of the decoder's networks when the engine samples."""
        self.autoencoder = ClipAutoencoder(recipe)
        self.conditions = ConditionEncoders(recipe)
        self.latent_flow = LatentFlow(
            recipe.latent_flow, channels=recipe.latent_channels, cond_channels=self.conditions.channels
        )

    def choose_engine(self) -> Engine:
        """Choose what computes samples, for the weights as they are now."""
        return choose_engine(self.autoencoder, self.latent_flow, self.decoder_precision)

    def encode(
        self, clip: Float[Tensor, "b t 3 s s"], tracks: Float[Tensor, "b t2 2 s s"] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return mean and log-variance of the posterior of z for clips in [-1, 1], frame 0 being the source.

        An encoder that sees tracks finds them in the clip where they are not given.
        """
        return self.autoencoder.encode(clip, tracks)

    def condition(self, x0: Float[Tensor, "b 3 s s"], poke_map: Float[Tensor, "b 2 s s"]) -> Float[Tensor, "b k 8 8"]:
        """Encode source frames in [-1, 1] and poke maps in px into the condition of the latent flow."""
        return self.conditions(x0, poke_map).float()

    def to_residual(
        self, z: Float[Tensor, "b c h w"], cond: Float[Tensor, "b k h w"]
    ) -> tuple[Float[Tensor, "b c h w"], Float[Tensor, " b"]]:
        """Map latents to residuals, with log|det dr/dz| in nats. Paper: Eq. 5."""
        return self.latent_flow.to_residual(z, cond)

    def to_latent(self, r: Float[Tensor, "b c h w"], cond: Float[Tensor, "b k h w"]) -> Float[Tensor, "b c h w"]:
        """Map residuals to latents, the exact inverse of `to_residual`. Paper: Eq. 4."""
        return self.latent_flow.to_latent(r, cond)

    def decode(
        self, z: Float[Tensor, "b c h w"], x0: Float[Tensor, "b 3 s s"], frames: int = 10
    ) -> Float[Tensor, "b t 3 s s"]:
        """Decode latents into the ``frames`` frames that follow x0, in [-1, 1]; any number can be asked for."""
        if torch.is_grad_enabled():
            return self.autoencoder.decode(z, x0, frames).clip
        engine = self.engine
        return engine.decode(engine.rollout(z, frames), x0).clip

    def poke(
        self,
        image: UInt8[np.ndarray, "h w 3"],
        pokes: Sequence[Poke],
        *,
        samples: int = 1,
        seed: int = 0,
        temperature: float = 1.0,
        frames: int | None = None,
    ) -> UInt8[np.ndarray, "n t h2 w2 3"]:
        """Sample clips of what could happen when a picture is poked.

        Args:
            image: RGB picture of any size and shape; large ones are answered at most 1024 px long.
            pokes: Drags and pins in the picture's pixels; none at all means that nothing is asked.
            samples: Number of clips; each has its own residual.
            seed: Sample i is drawn from (seed, i); the numbers of samples and of threads change no bit of it.
            temperature: Standard deviation of the residual; below 1 less surprising, 0 the mode.
            frames: Frames after the picture; as many as the model was trained on if unset.

        Returns:
            Clips whose frame 0 is the picture.

        Raises:
            InputError: A poke is not finite or not on the picture, a number is out of range, or no residual of a sample
                comes back from its latent, see `ipoke.networks.round_trip`.

        Warns:
            UserWarning: The residual of a sample does not come back, and so it was drawn again from its next sub-seed.
        """
        return self.open(image).poke(pokes, samples=samples, seed=seed, temperature=temperature, frames=frames)

    def open(self, image: UInt8[np.ndarray, "h w 3"]) -> OpenPicture:
        """Open a picture to poke it more than once: what depends on it alone is computed once.

        Raises:
            InputError: The array is not an RGB picture of at least 8 px.
        """
        networks = self.engine, self.conditions, self.latent_flow
        return OpenPicture(
            image, self.recipe, *networks, self.device, reaches=self.reaches, residual_std=self.residual_std
        )

    def sample_clips(
        self,
        context: Float[Tensor, "b 1 3 s s"],
        pokes: Sequence[Sequence[Poke]],
        seeds: Sequence[Sequence[int]],
        *,
        guidance: bool = True,
    ) -> Float[Tensor, "b n t 3 s s"]:
        """Sample clips at the model's size, as `ClipSampler`: with every still, one per seed.

        Raises:
            InputError: A poke is outside the still.
        """
        return self.sample_with_motion(context, pokes, seeds, guidance=guidance)[0]

    @torch.no_grad()
    def sample_with_motion(
        self,
        context: Float[Tensor, "b 1 3 s s"],
        pokes: Sequence[Sequence[Poke]],
        seeds: Sequence[Sequence[int]],
        *,
        guidance: bool = True,
    ) -> tuple[Float[Tensor, "b n t 3 s s"], Float[Tensor, "b n 2 s s"] | None]:
        """Sample clips as `sample_clips`, and say where their pixels are in the last frame, px, if the decoder does.

        Raises:
            InputError: A poke is outside the still.
        """
        source = context[:, 0].to(self.device)
        maps = np.stack([poke_map(asked, self.size, patch=self.recipe.pokes.patch) for asked in pokes])
        samples = len(seeds[0])
        conds = self.condition(source, torch.from_numpy(maps).to(self.device))
        engine = self.engine
        of_sources = engine.source_features(source)
        drawing, wanted = Drawing(engine, self.latent_flow, self.frames), []
        for i, (asked, of_one) in enumerate(zip(pokes, seeds, strict=True)):
            here, cond = source[i : i + 1], conds[i : i + 1]
            known = [one.rows(slice(i, i + 1)) for one in of_sources]
            gain = drawing.gain(asked, cond, here, known) if guidance and self.reaches and asked else None
            r = self.latent_flow.residuals(list(of_one), cond, self.residual_std)
            redraw = functools.partial(self._redrawn, of_one)
            wanted.append(Wanted(r, tuple(asked), cond, gain, here, known, self.frames, redraw=redraw))
        drawn = drawing.together(wanted)
        modulations = [one.repeat_interleave(samples) for one in of_sources]
        states = torch.cat([finite(one).states for one in drawn])
        decoded = engine.decode(states, source.repeat_interleave(samples, 0), modulations)
        shape = len(source), samples
        motion = None if decoded.motion is None else decoded.motion[:, -1].unflatten(0, shape)
        return decoded.clip.clamp(-1, 1).unflatten(0, shape), motion

    def _redrawn(self, seeds: Sequence[int], row: int, times: int) -> Float[Tensor, "c h w"]:
        return self.residual_std * self.latent_flow.base_noise([sample_seed(seeds[row], 0, times)])[0]

    @torch.no_grad()
    def transfer(
        self,
        clip: UInt8[np.ndarray, "t s s 3"],
        image: UInt8[np.ndarray, "h w 3"],
        pokes: Sequence[Poke],
    ) -> UInt8[np.ndarray, "1 t2 h2 w2 3"]:
        """Animate a picture with the residual of a clip, under the same pokes. Paper: Sec. 4.2 and Fig. 6.

        Args:
            clip: A clip at the model's size; frame 0 is its source.
            image: The picture to animate, best in a similar pose.
            pokes: What the clip's own motion was, in the model's pixels.
        """
        z, _ = self.encode(clip_from_frames(clip)[None].to(self.device))
        r, _ = self.to_residual(z, self.open(clip[0]).condition(pokes))
        picture = self.open(image)
        return picture.show(picture.with_residual(r, [picture.still.from_model(poke) for poke in pokes]))

    @torch.no_grad()
    def score(self, clip: UInt8[np.ndarray, "t s s 3"], pokes: Sequence[Poke]) -> Score:
        """Return the log-likelihood of what happened in a clip, under the posterior mean of its latent.

        Args:
            clip: A clip at the model's size; frame 0 is its source.
            pokes: What was asked, in the model's pixels.
        """
        z, _ = self.encode(clip_from_frames(clip)[None].to(self.device))
        nats = float(self.latent_flow.log_prob(z, self.open(clip[0]).condition(pokes)))
        return Score(nats, -nats / (z[0].numel() * math.log(2)))

    @torch.no_grad()
    def affinity(
        self, image: UInt8[np.ndarray, "h w 3"], x: float, y: float, *, pokes: int = PULLS, seed: int = 0
    ) -> Float[np.ndarray, "s s"]:
        """Map how surely each place moves along when the place (x, y) is pulled. Paper: Sec. 4.2 and Fig. 7.

        Pulls of random direction and of 0.1 to 0.2 of the side; for each, one clip is sampled and its optical flow
        measured from the picture to the last frame, as `ipoke.sampling.motion_correlation.affinity_map` says. 1 is a
        place that moves exactly along, 0 one that does not care.

        Args:
            image: RGB picture of any size.
            x: Column in the picture's pixels.
            y: Row in the picture's pixels.
            pokes: Number of pulls.
            seed: Of the pulls and the residuals.
        """
        still = Still(image, self.recipe.clip.size)
        here = still.to_model(Poke(x, y, 0, 0))
        return affinity_map(
            Networks(self.conditions, self.latent_flow, self.engine),
            still.source.to(self.device),
            (here.x, here.y),
            draw_pulls(pokes, self.size, seed),
            [sample_seed(seed, number) for number in range(pokes)],
            frames=self.frames,
            patch=self.recipe.pokes.patch,
        )

    @property
    def name(self) -> str:
        """Name of the recipe."""
        return self.recipe.name

    @property
    def size(self) -> int:
        """Side of the clips, px."""
        return self.recipe.clip.size

    @property
    def frames(self) -> int:
        """Frames after the still that it was trained on."""
        return self.recipe.clip.frames

    context = 1
    """True frames that sampling starts from: the still."""
    is_stochastic = True
    shows_still = True

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    def save(self, path: Path, facts: dict[str, str], *, precision: torch.dtype = torch.float16) -> None:
        """Write weights in half precision or ``precision``, with the recipe and facts about them, as safetensors."""
        told = facts | ({RESIDUAL_STD: repr(self.residual_std)} if self.residual_std != 1 else {})
        save_model(path, self, self.recipe, told, precision)

    @property
    def sha256(self) -> str:
        """Hash of all weights and buffers and of the residuals' standard deviation, independent of their file."""
        of_weights = weights_sha256(self)
        if self.residual_std == 1:
            return of_weights
        return hashlib.sha256(f"{of_weights} {RESIDUAL_STD} {self.residual_std!r}".encode()).hexdigest()


def load(model: str | Path, *, device: str = "cpu", precision: Precision = "float32") -> PokeModel:
    """Load a model by bundled name (``scenes-64``), run directory, or safetensors file.

    Args:
        model: What to load.
        device: Where to.
        precision: ``bfloat16`` keeps the couplings of the latent flow in 16 bits, and paints with them: half the memory
            and twice the speed for models as large as the paper's, at two to three digits of the clips.

    Raises:
        InputError: No such model, or not one of ours.
    """
    path = find_model(model)
    tensors, metadata = read_tensors(path)
    recipe = recipe_from_metadata(metadata, path)
    if recipe.method != "ipoke":
        raise InputError(
            f"{path}: got the baseline {recipe.method}, expected a model of method ipoke; "
            "only ipoke evaluate, ipoke table and figures take baselines"
        )
    loaded = outlined(lambda: PokeModel(recipe), str(path))
    wanted = loaded.state_dict()
    reduced = set(coupling_weights(loaded)) if precision == "bfloat16" else set()
    fitted = fitted_weights(tensors, wanted | {name: wanted[name].bfloat16() for name in reduced}, str(path))
    if reduced:
        # With 16 bits, no tensor may hold on to the mapped file, or all of it would stay in memory.
        fitted = {name: tensor.clone() if tensor is tensors[name] else tensor for name, tensor in fitted.items()}
    loaded.load_state_dict(fitted, assign=True)
    if not loaded.latent_flow.is_initialised:
        raise InputError(f"{path}: its latent flow has seen no data yet; finish its training, or restore the file")
    loaded.decoder_precision = torch.bfloat16 if precision == "bfloat16" else torch.float32
    loaded.facts = facts_from_metadata(metadata)
    loaded.residual_std = _residual_std(loaded.facts.get(RESIDUAL_STD, "1"), path)
    return loaded.eval().requires_grad_(False).to(device)


def _residual_std(text: str, path: Path) -> float:
    try:
        residual_std = float(text)
    except ValueError:
        residual_std = math.nan
    if not 0 < residual_std < 10:
        raise InputError(
            f"{path}: {RESIDUAL_STD}: got {shown(text)}, expected a number above 0 and below 10; restore the file"
        )
    return residual_std


def coupling_weights(model: PokeModel) -> Iterator[str]:
    """Name the filters of all couplings of the latent flow, 98 % of a model as large as the paper's."""
    for name, module in model.named_modules():
        if isinstance(module, AffineCoupling):
            yield from (f"{name}.{filters}" for filters in ("conv.weight", "mix.weight", "project.direction"))


def find_model(model: str | Path) -> Path:
    """Find the file of a model by bundled name, run directory or path.

    Raises:
        InputError: Nothing is there; the message lists the bundled names.
    """
    path = Path(model)
    names = bundled_models()
    if str(model) in names:
        return BUNDLED / f"{model}.safetensors"
    if is_folder(path):
        if (path / WEIGHTS_NAME).exists():
            return path / WEIGHTS_NAME
        raise InputError(f"{path}: holds no {WEIGHTS_NAME}; finish its training by repeating the ipoke train command")
    if is_there(path):
        return regular_file(path, "model")
    known = ", ".join([*names, "a run directory or a .safetensors file"])
    raise InputError(f"model: got {shown(str(model))}, expected {known}{suggestion(str(model), names)}")


def bundled_models() -> list[str]:
    """Name the models that come with the package."""
    return sorted(file.stem for file in BUNDLED.glob("*.safetensors"))


def bundled_stills() -> dict[str, UInt8[np.ndarray, "h w 3"]]:
    """Return the pictures that come with the package, by name, `bundled_still` first.

    They are scenes that no model was trained on: `ipoke.scenes.scene.draw_scene` at 256 px draws ``cat`` as puppet
    900,002, ``tulips`` as plant 900,008, ``bear`` as puppet 900,014 and ``dog`` as puppet 900,016.
    """
    files = sorted(BUNDLED.glob("*.png"), key=lambda file: (file.stem != STILL, file.stem))
    return {file.stem: read_image(file) for file in files}


def bundled_still() -> UInt8[np.ndarray, "h w 3"]:
    """Return the picture that comes with the package, a simulated scene that no model was trained on."""
    return read_image(BUNDLED / f"{STILL}.png")
