"""Models that come with the repository and not with the package: each has a card that says what it is."""

import tomllib
from pathlib import Path

import numpy as np
import pytest

import ipoke
from ipoke.data.poke import Poke
from tiny import MovingSquares

ROOT = Path(__file__).parents[1]
MODELS = sorted((ROOT / "models").glob("*.safetensors"))


def card_of(path: Path) -> str:
    return path.with_suffix(".md").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)
def test_a_card_says_what_a_model_is_and_where_it_comes_from(path):
    model, card = ipoke.load(path), card_of(path)
    for fact in ("clips_sha256", "started_from", "trained_by", "seed"):
        assert model.facts[fact] in card, fact
    assert model.sha256 in card
    assert "research use" in card
    assert "ipoke train" in card
    assert path.stat().st_size <= 25e6


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)
def test_a_model_samples(path):
    model = ipoke.load(path)
    times = model.recipe.clip.size // 64
    still = MovingSquares().clip(0)[0].repeat(times, 0).repeat(times, 1)
    clip = model.poke(still, [Poke(30 * times, 30 * times, 8 * times, 0)])
    assert clip.shape == (1, 11, *still.shape)
    assert np.abs(clip[0, -1].astype(int) - still).max() > 20


def test_they_are_not_in_the_package():
    build = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]["build"]["targets"]
    assert build["wheel"] == {"packages": ["src/ipoke"]}
    assert not [part for part in build["sdist"]["include"] if part.startswith("models")]


def test_the_list_names_them_all():
    listed = (ROOT / "models" / "README.md").read_text(encoding="utf-8")
    assert MODELS
    assert all(path.stem in listed for path in MODELS)
