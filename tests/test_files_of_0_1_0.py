"""What version 0.1.0 wrote is read by this version: models, a run, a session, a prepared set, resolved recipes.

``files_of_0_1_0`` was made by its commands: four simulated clips of 64 px, and tiny models trained on them, with the
warp decoder (``run``), with the SPADE decoder, and as the baseline cvae; ``recipes.json`` holds every key of each
recipe that it shipped.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import ipoke
from ipoke.core.errors import InputError
from ipoke.core.old_settings import OLD_KEYS, upgraded
from ipoke.core.recipe import Recipe
from ipoke.core.runs import Run, settings_toml
from ipoke.core.settings import load_recipe, recipe_names, stored_recipe
from ipoke.core.unused import leaves
from ipoke.data.clips import ClipSet
from ipoke.data.images import read_image
from ipoke.sampling.session import reopen, sample, unlike
from ipoke.training.baselines.samplers import load_baseline
from ipoke.training.train import train
from tiny import Silent, training

FILES = Path(__file__).with_name("files_of_0_1_0")
DRAG = [ipoke.Poke(x=30, y=30, dx=5, dy=-3)]
RECIPES = json.loads((FILES / "recipes.json").read_text(encoding="utf-8"))
MODELS = {
    "run": ("warp", "ba2480ad963d16124a9294b962436d1fd4d684712631d15f9e97fa885785ff75"),
    "spade.safetensors": ("spade", "334780fd467e365a2114646d0b85315598a1f30f7f6d65b44b96729e75c8cb7c"),
}


@pytest.fixture
def old(tmp_path) -> Path:
    return shutil.copytree(FILES, tmp_path / "old")


@pytest.mark.parametrize("name", MODELS)
def test_a_model_is_loaded_sampled_and_saved_in_the_words_of_today(name, tmp_path):
    kind, sha256 = MODELS[name]
    model = ipoke.load(FILES / name)
    assert model.sha256 == sha256
    assert model.recipe.clip_decoder.kind == kind
    assert model.facts["ipoke"] == "0.1.0"
    clips = model.poke(read_image(FILES / "still.png"), DRAG, samples=2, seed=0)
    assert clips.shape[0] == 2
    assert clips.shape[2:] == (64, 64, 3)
    model.save(tmp_path / "again.safetensors", model.facts)
    again = ipoke.load(tmp_path / "again.safetensors")
    assert (again.sha256, again.recipe, again.facts) == (model.sha256, model.recipe, model.facts)
    assert np.array_equal(again.poke(read_image(FILES / "still.png"), DRAG, samples=2, seed=0), clips)


def test_a_baseline_is_loaded():
    baseline = load_baseline(FILES / "cvae.safetensors")
    assert baseline.recipe.method == "cvae"
    assert settings_toml(baseline.recipe).count("latent_flow") == 0


def test_a_session_replays(ipoke, tmp_path):
    session, model, picture = reopen(FILES / "session.json")
    _, noted = sample(session, model, picture)
    said = unlike(session, noted)
    assert said is None or "0.1.0" in said
    answer = ipoke("poke", "--replay", FILES / "session.json", "--out", tmp_path / "again.gif")
    assert answer.code == 0
    assert (tmp_path / "again.gif").stat().st_size > 1000


def test_a_run_is_known_again(old):
    recipe = ipoke.load(old / "run").recipe
    inputs = json.loads((old / "run" / "inputs.json").read_text(encoding="utf-8"))
    Run.open(old / "run", recipe, inputs)
    seeded = recipe.model_copy(update={"train": recipe.train.model_copy(update={"seed": 7})})
    with pytest.raises(InputError, match=r"started with other settings: train\.seed was 42, got 7; use them again"):
        Run.open(old / "run", seeded, inputs)


def test_a_model_goes_on_learning_from_a_prepared_set(old, tmp_path):
    clips = ClipSet(old / "clips", split="train")
    assert clips.sha256 == json.loads((old / "run" / "inputs.json").read_text(encoding="utf-8"))["clips_sha256"]
    assert len(clips) == 3
    settings = tmp_path / "settings.toml"
    settings.write_text(settings_toml(ipoke.load(old / "run").recipe), encoding="utf-8")
    recipe = load_recipe(str(settings), [*training(clips=4), f"train.start={json.dumps(str(old / 'run'))}"])
    reporter = Silent()
    train(clips, recipe, tmp_path / "run", reporter=reporter)
    assert any(note.startswith("start: 100%") for note in reporter.notes)
    assert ipoke.load(tmp_path / "run").recipe == recipe


def test_every_shipped_recipe_says_what_it_said():
    assert RECIPES.keys() == set(recipe_names())
    for name, table in RECIPES.items():
        assert stored_recipe(upgraded(table, name), name) == load_recipe(name)


def test_its_settings_are_no_recipe_of_today():
    with pytest.raises(InputError, match=r"pokes\.fixed_count was a key of version 0\.1; this version does"):
        load_recipe(str(FILES / "run" / "settings.toml"))


@pytest.mark.parametrize("key", OLD_KEYS)
def test_a_recipe_with_an_old_key_is_told_the_new_one(key):
    assert key not in dict(leaves(Recipe()))
    with pytest.raises(InputError) as caught:
        load_recipe("tiny-64", [f"{key}=1"])
    assert f"{key} was a key of version 0.1; {OLD_KEYS[key]}" in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value"), [("clip_encoder.sums_up", True), ("image_encoder.norm", "none"), ("pokes.fixed_count", True)]
)
def test_what_this_version_does_not_have_is_refused(key, value):
    section, name = key.split(".")
    table = {**RECIPES["tiny-64"], section: {**RECIPES["tiny-64"][section], name: value}}
    with pytest.raises(InputError, match=f"{key}: this version does not have it; use ipoke 0.1.0"):
        upgraded(table, "model")


def test_settings_of_today_stay_as_they_are():
    for name in recipe_names():
        assert upgraded(load_recipe(name).table(), name) == load_recipe(name).table()
