"""Recipes and ``--set``: whatever is in them is refused in a line, or can be trained."""

import itertools

import pytest

from ipoke.core.recipe import Recipe
from ipoke.core.settings import load_recipe
from refusals import CONTENTS, assert_refused, odd_files, refusal
from schemas import unbounded

pytestmark = pytest.mark.usefixtures("in_bounds")

HUGE = 10**30
OVERRIDES = [
    *(f"{key}={HUGE}" for key in ("latent_channels", "clip.frames", "pokes.max_pokes", "pokes.patch", "train.seed")),
    *(f"clip_encoder.{key}={HUGE}" for key in ("blocks", "groups")),
    "clip_encoder.initial_logvar=1e300",
    "clip_encoder.widths=[1000000000, 16, 16, 16]",
    f"clip_encoder.widths=[{', '.join(['8'] * 100_000)}]",
    "clip_encoder.strides=[[1000000000000, 2, 2], [1, 2, 2], [2, 2, 2], [1, 1, 1]]",
    "clip_encoder.strides=[[2, 0, 0], [1, 2, 2], [2, 2, 2], [1, 1, 1]]",
    "clip_encoder.strides=[[-2, 2, 2], [1, 2, 2], [2, 2, 2], [1, 1, 1]]",
    "clip_decoder.rollout_layers=1000000000",
    "clip_decoder.widths=[1000000000, 16, 8, 8]",
    "clip_decoder.rollout_update_bias=-1e300",
    "latent_flow.steps=[1000000000]",
    f"latent_flow.steps=[{', '.join(['1'] * 10_000)}]",
    "latent_flow.steps=[]",
    "latent_flow.units=1000000000",
    "latent_flow.masked_width=1000000000",
    "latent_flow.coupling_width=1000000000",
    "latent_flow.logit_bound=1e300",
    "latent_flow.factor=1000000000",
    "discriminators.static_widths=[]",
    "discriminators.temporal_widths=[]",
    "discriminators.static_frames=1000000000000",
    "image_encoder.bottleneck_blocks=1000000000",
    "train.autoencoder.batch=1000000000",
    "train.autoencoder.clips=1000000000000000000000",
    "train.autoencoder.learning_rate=1e300",
    "train.autoencoder.betas=[1.0, 1.0]",
    "train.autoencoder.weight_decay=1e300",
    "autoencoder_losses.kl=1e300",
    "augment.hue=[nan, nan]",
    "augment.hue=[1e300, 1e301]",
    "augment.hue=[0.5, -0.5]",
    "augment.scale=[0.0, 0.0]",
    "augment.scale=[-1.0, 1.0]",
    "augment.scale=[2.0, 1.0]",
    "augment.scale=[1e-300, 1e300]",
    "latent_channels=true",
    'latent_channels="8"',
    "latent_channels=8.5",
    "latent_channels=1",
    "clip_decoder.spectral_norm=1",
    "budget.hours=1e300",
    "budget.hours=nan",
    "name=" + "a" * 100_000,
    "train.start=" + "a" * 100_000,
    "train.start=",
    "pokes.patch=65",
    "train.seed=0x" + "f" * 20_000,
    "train.seed=" + "9" * 5_000,
    "train.seed=1979-05-27",
    "train.seed=" + "[" * 20_000,
    "train.seed=" + "[" * 5_000 + "]" * 5_000,
    ".".join(["a"] * 30_000) + "=1",
    "." * 30_000 + "=1",
    "=1",
    "x" * 100_000 + "=1",
    "x\x1b[31m=1",
    "train.seed=\x1b[31m",
    "train.seed=\udcff",
    "name=a\nb",
    "train..seed=1",
]


@pytest.mark.parametrize("override", OVERRIDES, ids=lambda text: text.encode("ascii", "replace").decode()[:40])
def test_a_setting_that_makes_no_sense_is_refused(override):
    refusal(lambda: load_recipe("tiny-64", [override]))


TABLES = {
    "deep": "a = " + "[" * 30_000 + "]" * 30_000,
    "deep tables": "a = " + "{a = " * 20_000 + "1" + "}" * 20_000,
    "dotted": ".".join(["a"] * 30_000) + " = 1",
    "header": "[" + ".".join(["a"] * 30_000) + "]",
    "twice": 'name = "a"\nname = "b"',
    "keys": "\n".join(f"k{number} = 1" for number in range(2_000)),
    "escapes in a key": '"\\u001b[31m\\u0007" = 1',
    "escapes in a value": 'method = "\\u001b[31m\\u0007"',
    "lines in a value": 'method = "a\\nb\\nc"',
    "long value": f'method = "{"v" * 30_000}"',
    "infinite": "[train.autoencoder]\nlearning_rate = 1e999\nclips = 1\nbatch = 1",
    "hexadecimal": "latent_channels = 0x" + "f" * 30_000,
    "sections are lists": "train = [1]",
    "a section is a table of tables": "[[train]]",
    "date": "latent_channels = 1979-05-27T07:32:00Z",
    "fixes nothing": "\x00",
}


@pytest.mark.parametrize("name", TABLES)
def test_a_file_that_makes_no_sense_is_refused(tmp_path, name):
    path = tmp_path / "recipe.toml"
    path.write_text(TABLES[name], encoding="utf-8")
    refusal(lambda: load_recipe(str(path)))


@pytest.mark.parametrize("number", range(11 + len(CONTENTS)))
def test_what_is_no_recipe_is_refused(tmp_path, number):
    what, path = next(itertools.islice(odd_files(tmp_path, ".toml"), number, None))
    if what == "empty":
        assert load_recipe(str(path)) == Recipe()
    else:
        refusal(lambda: load_recipe(str(path)))


@pytest.mark.parametrize(
    "override",
    [
        "clip_encoder.widths=[1000000000, 16, 16, 16]",
        "latent_flow.coupling_width=1000000000",
        "latent_channels=1",
        "train.start=nobody",
        "autoencoder_losses.perceptual_weights=\x1b[31mnowhere",
        "discriminators.temporal_widths=[8]",
        "clip_encoder.blocks=40",
    ],
)
def test_a_mistake_leaves_no_run_behind(ipoke, clip_set, tmp_path, override):
    words = ("--recipe", "tiny-64", "--set", "clip.frames=4", "--set", override, "--out", tmp_path / "run")
    assert_refused(ipoke("train", clip_set, *words))
    assert not (tmp_path / "run").exists()


def test_every_number_list_and_text_of_a_recipe_has_bounds():
    assert not list(unbounded(Recipe))
