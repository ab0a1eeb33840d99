"""Settings cannot lie: every key that a recipe keeps is read by the code that trains it."""

import sys
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn

from ipoke.core import unused
from ipoke.core.recipe import STAGES, Recipe
from ipoke.core.sections import ClipEncoderSettings, SpadeDecoderSettings, WarpDecoderSettings
from ipoke.core.unused import unused_keys
from ipoke.core.values import Section
from ipoke.training import train as training_room
from tiny import Silent, clip_set, tiny_recipe, training

ELSEWHERE = {"name", "method", "clip_decoder.kind", "autoencoder_losses.adversarial_start"}
"""Keys that training reads as a name, as a class, or through `ipoke.core.unused.has_adversary`."""
EXCEPT = ("/core/unused.py", "/core/runs.py", "recipe.py:Recipe._sizes_agree", "recipe.py:_check", "budget.py:_widened")
"""Code that looks at all settings, whatever they are for."""
WITHOUT_WARMUP = [f"train.{stage}.warmup_clips=1" for stage in STAGES]
SYSTEM = [*training(clips=4), *WITHOUT_WARMUP]
BASELINE = [*training(clips=4, stages=["autoencoder"]), WITHOUT_WARMUP[0]]
KINDS = {
    "as it ships": SYSTEM,
    "spade": [*SYSTEM, "clip_decoder.kind=spade", "autoencoder_losses.adversarial_start=0.0"],
    "cvae": [*BASELINE, "method=cvae"],
    "no adversaries": [
        *SYSTEM,
        *("autoencoder_losses.adversarial_start=1.0", "train.image_encoder.adversarial_start=1.0"),
        *("autoencoder_losses.perceptual=0.0", "augment.colour_probability=0.0", "latent_flow.units=0"),
    ],
    "adversary of the image encoder alone": [*SYSTEM, "autoencoder_losses.adversarial_start=1.0"],
    "two levels, absolute error": [
        *(*SYSTEM, "latent_flow.steps=[1, 1]", "latent_channels=6", "latent_flow.factor=3"),
        *("poke_encoder.error=absolute", "poke_encoder.norm=group", "autoencoder_losses.kl_last=0.1"),
    ],
    "exponential": [*SYSTEM, 'train.autoencoder.schedule="exponential"', 'train.latent_flow.schedule="linear"'],
    "budget": ["budget.hours=0.008"],
    "deterministic": [*BASELINE, "method=deterministic"],
    "recurrent": [*BASELINE, "method=recurrent"],
    "sparse warping": [*BASELINE, "method=sparse_warping"],
    "sparse warping, spade": [*BASELINE, "method=sparse_warping", "clip_decoder.kind=spade"],
}
QUICK = ("as it ships", "cvae")


class MeanDistance(nn.Module):
    """A perceptual distance without weights."""

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        return (first - second).abs().flatten(1).mean(1)


@pytest.fixture(autouse=True)
def perceptual(monkeypatch, tmp_path):
    weights = tmp_path / "weights"
    monkeypatch.setattr(training_room, "find_perceptual_weights", lambda given: weights)
    monkeypatch.setattr(training_room, "weights_sha256", lambda path: "0" * 64)
    monkeypatch.setattr(training_room, "load_perceptual", lambda path: MeanDistance())


def places(section: type[Section] = Recipe, prefix: str = "") -> Iterator[tuple[type[Section], str]]:
    """Give every table with its place in a recipe."""
    yield section, prefix
    if section is Recipe:
        yield from ((kind, "clip_decoder.") for kind in (SpadeDecoderSettings, WarpDecoderSettings))
    for name, field in section.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from places(field.annotation, f"{prefix}{name}.")


PLACES = dict(places())


def read_by(work: Callable[[], object]) -> set[str]:
    """Name the keys that code of the package reads off any recipe, but for the code that checks and writes recipes."""
    read: set[str] = set()
    plain = Section.__getattribute__

    def traced(section: Section, name: str) -> object:
        code = sys._getframe(1).f_code
        counts = "/ipoke/" in code.co_filename and not any(
            one in f"{code.co_filename}:{code.co_qualname}" for one in EXCEPT
        )
        if counts and name in type(section).model_fields:
            read.update(f"{place}{name}" for kind, place in PLACES.items() if isinstance(section, kind))
        return plain(section, name)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Section, "__getattribute__", traced, raising=False)
        work()
    return read


def unread(recipe: Recipe, out) -> set[str]:
    """Name the keys that a recipe keeps and training does not read."""
    torch.manual_seed(0)
    keys = dict(unused.leaves(recipe)).keys() - unused_keys(recipe).keys() - ELSEWHERE
    read = read_by(lambda: training_room.train(clip_set(), recipe, out, reporter=Silent()))
    assert len(read & keys) > 40
    return keys - read


def test_every_table_has_one_place():
    classes = [kind for kind, _ in places()]
    assert len(classes) == len(set(classes)) > 15


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=() if kind in QUICK else pytest.mark.slow) for kind in KINDS]
)
def test_every_key_that_is_kept_is_read(kind, tmp_path):
    assert unread(tiny_recipe(*KINDS[kind]), tmp_path / "run") == set()


class PlantedSettings(ClipEncoderSettings):
    unheard: int = 0


def test_a_key_that_nobody_reads_is_found(tmp_path):
    recipe = tiny_recipe(*BASELINE, "method=cvae")
    planted = PlantedSettings(**recipe.clip_encoder.model_dump())
    with_planted = recipe.model_copy(update={"clip_encoder": planted})
    assert unread(with_planted, tmp_path / "run") == {"clip_encoder.unheard"}


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "key"), [("no adversaries", "discriminators.window"), ("spade", "augment.hue")])
def test_a_rule_that_is_missing_is_found(kind, key, tmp_path, monkeypatch):
    recipe = tiny_recipe(*KINDS[kind], *(["augment.colour_probability=0.0"] if kind == "spade" else []))
    monkeypatch.setattr(unused, "RULES", [rule for rule in unused.RULES if key not in rule.keys])
    assert key in unread(recipe, tmp_path / "run")
