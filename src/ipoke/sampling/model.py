"""PokeModel, the class that users hold: stills and pokes go in, clips, residuals and likelihoods come out."""

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
from ipoke.core.model_files import (
    WEIGHTS_NAME,
    facts_from_metadata,
    fitted_weights,
    outlined,
    read_tensors,
    recipe_from_metadata,
    save_model,
    weights_sha256,
)
from ipoke.core.reading.regular import is_folder, is_there, regular_file
from ipoke.core.recipe import Recipe
from ipoke.core.settings import suggestion
from ipoke.data.images import read_image
from ipoke.data.poke import Poke
from ipoke.networks.bijections.coupling import AffineCoupling
from ipoke.sampling.motion_correlation import (
    DRAGS,
    correlation_map,
    drag_requests,
    measured_displacements,
    random_drags,
)
from ipoke.sampling.networks import Networks
from ipoke.sampling.open_picture import OpenPicture
from ipoke.sampling.request import SampleRequest
from ipoke.sampling.residual_terms import Noise, plain_terms
from ipoke.sampling.sampler import Sampler, finite
from ipoke.sampling.transfer import encode_clip, residual_of, transfer_request

BUNDLED = Path(__file__).parents[1] / "bundled"
"""Folder of the models and stills that come with the package."""
RESIDUAL_STD = "spread"
"""Name, in model files, of the fact that is `Networks.residual_std`."""
STILL = "still"
"""Name of the still that examples use."""


Precision: TypeAlias = Literal["float32", "bfloat16"]


class Score(NamedTuple):
    """How likely a clip's latent is, given its first frame and the pokes.

    >>> Score(log_prob_nats=-710.0, bits_per_dim=1.0).bits_per_dim
    1.0
    """

    log_prob_nats: float
    bits_per_dim: float


class PokeModel(Networks):
    """The networks of one model, asked about pictures and clips. Paper: Fig. 2.

    >>> import ipoke
    >>> model = ipoke.load("scenes-64")
    >>> still = ipoke.bundled_still()
    >>> model.poke(still, [ipoke.Poke(x=38, y=137, dx=0, dy=34)], samples=2, seed=0).shape
    (2, 11, 256, 256, 3)
    """

    def __init__(self, recipe: Recipe) -> None:
        super().__init__(recipe)
        self.facts: dict[str, str] = {}
        """What its file tells of its training."""

    def poke(
        self,
        image: UInt8[np.ndarray, "h w 3"],
        pokes: Sequence[Poke],
        *,
        samples: int = 1,
        seed: int = 0,
        temperature: float = 1.0,
        frames: int | None = None,
        guidance: bool = True,
    ) -> UInt8[np.ndarray, "n t h2 w2 3"]:
        """Sample clips of what could happen when a picture is poked.

        Args:
            image: RGB picture of any size and shape; large ones are answered at most 1024 px long.
            pokes: Drags and pins in the picture's pixels; there may be none.
            samples: Number of clips; each has its own residual.
            seed: Sample i is drawn from (seed, i); the numbers of samples and of threads change no bit of it.
            temperature: Standard deviation of the residual; below 1 less surprising, 0 the mode.
            frames: Frames after the picture; as many as the model was trained on if unset.
            guidance: Adjust residuals until the poked points reach their targets, as `ipoke.sampling.guidance` does.
                Without effect where the decoder does not predict motion.

        Returns:
            Clips whose frame 0 is the picture.

        Raises:
            InputError: A poke is not finite or not on the picture, a number is out of range, or no residual of a sample
                comes back from its latent, see `ipoke.networks.round_trip`.

        Warns:
            UserWarning: The residual of a sample does not come back, and so it was drawn again from its next sub-seed.

        >>> import ipoke
        >>> model, still = ipoke.load("scenes-64"), ipoke.bundled_still()
        >>> clips = model.poke(still, [ipoke.Poke(x=38, y=137, dx=0, dy=34)], samples=2, frames=4)
        >>> clips.shape, str(clips.dtype)
        ((2, 5, 256, 256, 3), 'uint8')
        """
        return self.open(image).poke(
            pokes, samples=samples, seed=seed, temperature=temperature, frames=frames, guidance=guidance
        )

    def open(self, image: UInt8[np.ndarray, "h w 3"]) -> OpenPicture:
        """Open a picture to poke it more than once: what depends on it alone is computed once.

        Raises:
            InputError: The array is not an RGB picture of at least 8 px.

        >>> import ipoke
        >>> model, still = ipoke.load("scenes-64"), ipoke.bundled_still()
        >>> picture = model.open(still)
        >>> picture.preview([ipoke.Poke(x=38, y=137, dx=0, dy=34)]).shape
        (1, 256, 256, 3)
        """
        return OpenPicture(image, self)

    def sample_clips(
        self,
        context: Float[Tensor, "b 1 3 s s"],
        pokes: Sequence[Sequence[Poke]],
        seeds: Sequence[Sequence[int]],
        *,
        guidance: bool = True,
    ) -> Float[Tensor, "b n t 3 s s"]:
        """Sample clips at the model's size, as `ClipSampler`: of every still, one per seed.

        Raises:
            InputError: A poke is outside the still.

        >>> import ipoke, torch
        >>> model = ipoke.load("scenes-64")
        >>> stills, drag = torch.zeros(1, 1, 3, 64, 64), ipoke.Poke(x=20, y=20, dx=5, dy=0)
        >>> tuple(model.sample_clips(stills, [[drag]], seeds=[[0, 1]]).shape)
        (1, 2, 10, 3, 64, 64)
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
        """Sample clips as `sample_clips`, with the motion up to the last frame, px, if the decoder predicts it.

        Raises:
            InputError: A poke is outside the still.
        """
        sampler = Sampler(self)
        sources = sampler.encode(context[:, 0].to(self.device))
        inner = [tuple(few) for few in pokes]
        requests = [
            SampleRequest(few, tuple(map(Noise, of_one)), guidance=guidance)
            for few, of_one in zip(inner, seeds, strict=True)
        ]
        jobs = [sampler.guided(job) for job in sampler.prepare(sources, requests, inner)]
        states = torch.cat([finite(samples).states for samples in sampler.draw(jobs)])
        count = len(seeds[0])
        features = [level.repeat_interleave(count) for level in sources.decoder_features]
        decoded = self.engine.decode(states, sources.frames.repeat_interleave(count, 0), features)
        shape = len(sources.frames), count
        motion = None if decoded.motion is None else decoded.motion[:, -1].unflatten(0, shape)
        return decoded.clip.clamp(-1, 1).unflatten(0, shape), motion

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
            pokes: The clip's own motion, in the model's pixels.

        >>> import ipoke, numpy as np
        >>> model, still = ipoke.load("scenes-64"), ipoke.bundled_still()
        >>> clip = np.repeat(still[None, ::4, ::4], 11, axis=0)
        >>> model.transfer(clip, still, pokes=[]).shape
        (1, 11, 256, 256, 3)
        """
        r = residual_of(self, encode_clip(self, clip, pokes))
        picture = self.open(image)
        return picture.show(picture.draw(transfer_request(picture, r, pokes)))

    @torch.no_grad()
    def score(self, clip: UInt8[np.ndarray, "t s s 3"], pokes: Sequence[Poke]) -> Score:
        """Return the log-likelihood of a clip, under the posterior mean of its latent.

        Args:
            clip: A clip at the model's size; frame 0 is its source.
            pokes: In the model's pixels.

        >>> import ipoke, numpy as np
        >>> model, still = ipoke.load("scenes-64"), ipoke.bundled_still()
        >>> clip = np.repeat(still[None, ::4, ::4], 11, axis=0)
        >>> score = model.score(clip, pokes=[])
        >>> score.bits_per_dim < 0  # a clip that stands still is likely
        True
        """
        encoded = encode_clip(self, clip, pokes)
        nats = float(self.latent_flow.log_prob(encoded.z, encoded.cond))
        return Score(nats, -nats / (encoded.z[0].numel() * math.log(2)))

    def motion_correlation(
        self, image: UInt8[np.ndarray, "h w 3"], x: float, y: float, *, pokes: int = DRAGS, seed: int = 0
    ) -> Float[np.ndarray, "s s"]:
        """Map how closely the motion of each place follows that of the place (x, y). Paper: Sec. 4.2 and Fig. 7.

        The place is dragged in random directions, by 0.1 to 0.2 of the side; for each drag one clip is sampled,
        unguided, and its optical flow measured from the picture to the last frame, as
        `ipoke.sampling.motion_correlation` describes. 1 is a place that moves exactly as (x, y) does, 0 one whose
        motion does not depend on it.

        Args:
            image: RGB picture of any size.
            x: Column in the picture's pixels.
            y: Row in the picture's pixels.
            pokes: Number of drags.
            seed: Of the drags and the residuals.

        >>> import ipoke
        >>> model, still = ipoke.load("scenes-64"), ipoke.bundled_still()
        >>> correlation = model.motion_correlation(still, x=38, y=137, pokes=4)
        >>> correlation.shape, bool(correlation.max() <= 1)
        ((64, 64), True)
        """
        picture = self.open(image)
        here = picture.still.to_model(Poke(x, y, 0, 0))
        drags = random_drags(pokes, self.size, seed)
        requests = drag_requests(picture, (here.x, here.y), drags, plain_terms(seed, pokes))
        return correlation_map(measured_displacements(picture, requests), (here.x, here.y))

    affinity = motion_correlation
    """Its name until 0.2."""

    @property
    def name(self) -> str:
        """Name of the recipe."""
        return self.recipe.name

    context = 1
    """True frames that sampling starts from: the still."""
    is_stochastic = True
    shows_still = True

    def save(self, path: Path, facts: dict[str, str], *, precision: torch.dtype = torch.float16) -> None:
        """Write weights in half precision or ``precision``, with the recipe and facts about them, as safetensors.

        >>> import ipoke, tempfile
        >>> from pathlib import Path
        >>> model = ipoke.load("scenes-64")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "mine.safetensors")
        ...     model.save(path, {"trained_on": "scenes"})
        ...     ipoke.load(path).facts["trained_on"]
        'scenes'
        """
        told = facts | ({RESIDUAL_STD: repr(self.residual_std)} if self.residual_std != 1 else {})
        save_model(path, self, self.recipe, told, precision)

    @property
    def sha256(self) -> str:
        """Hash of all weights and buffers and of the residuals' standard deviation, independent of the file."""
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

    >>> import ipoke
    >>> model = ipoke.load("scenes-64")
    >>> model.name, model.size
    ('lean-64', 64)
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
        std = float(text)
    except ValueError:
        std = math.nan
    if not 0 < std < 10:
        raise InputError(
            f"{path}: {RESIDUAL_STD}: got {shown(text)}, expected a number above 0 and below 10; restore the file"
        )
    return std


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


def bundled_stills() -> dict[str, UInt8[np.ndarray, "_ _ 3"]]:
    """Return the pictures that come with the package, by name, `bundled_still` first.

    They are scenes that no model was trained on: `ipoke.scenes.scene.draw_scene` at 256 px draws ``cat`` as puppet
    900,002, ``tulips`` as plant 900,008, ``bear`` as puppet 900,014 and ``dog`` as puppet 900,016.
    """
    files = sorted(BUNDLED.glob("*.png"), key=lambda file: (file.stem != STILL, file.stem))
    return {file.stem: read_image(file) for file in files}


def bundled_still() -> UInt8[np.ndarray, "h w 3"]:
    """Return the picture that comes with the package, a simulated scene that no model was trained on.

    >>> import ipoke
    >>> ipoke.bundled_still().shape
    (256, 256, 3)
    """
    return read_image(BUNDLED / f"{STILL}.png")
