import tomllib

import pytest
from pydantic import ValidationError

from ipoke.core.errors import InputError
from ipoke.core.recipe import Recipe
from ipoke.core.runs import settings_toml
from ipoke.core.sections import SpadeDecoderSettings
from ipoke.core.settings import load_recipe, parse_recipe, recipe_names, suggestion
from ipoke.core.unused import leaves, unused_keys


def test_the_shipped_recipes_are_found():
    assert {"lean-64", "tiny-64"} <= set(recipe_names())


@pytest.mark.parametrize("name", recipe_names())
def test_every_shipped_recipe_loads_and_comes_back_from_its_settings(name, tmp_path):
    recipe = load_recipe(name)
    assert recipe.name == name
    assert parse_recipe(tomllib.loads(settings_toml(recipe)), "text") == recipe
    file = tmp_path / "settings.toml"
    file.write_text(settings_toml(recipe), encoding="utf-8")
    assert load_recipe(str(file)) == recipe


def test_settings_with_overrides_come_back_too(tmp_path):
    overrides = [
        "train.autoencoder.learning_rate=1e-9",
        "autoencoder_losses.frames_per_step=3",
        'autoencoder_losses.perceptual_weights="a \\"b\\" ü \U0001f600 \\\\ c"',
        "augment.hue=[-0.5, 0.25]",
        "clip_decoder.kind=spade",
        "clip_decoder.spectral_norm=false",
    ]
    recipe = load_recipe("lean-64", overrides)
    assert recipe.autoencoder_losses.perceptual_weights == 'a "b" ü \U0001f600 \\ c'
    file = tmp_path / "settings.toml"
    file.write_text(settings_toml(recipe), encoding="utf-8")
    assert load_recipe(str(file)) == recipe
    assert parse_recipe(tomllib.loads(settings_toml(Recipe())), "text") == Recipe()


def test_overrides_win_and_leave_the_rest_alone():
    plain = load_recipe("tiny-64")
    changed = load_recipe("tiny-64", ["train.seed=7", "name=mine", "clip.frames = 5", "latent_flow.steps=[1, 2, 3]"])
    assert (changed.train.seed, changed.name, changed.clip.frames) == (7, "mine", 5)
    assert changed.latent_flow.steps == (1, 2, 3)
    assert changed.train.autoencoder == plain.train.autoencoder
    assert changed.latent_flow.model_copy(update={"steps": plain.latent_flow.steps}) == plain.latent_flow
    assert load_recipe("tiny-64", ["train.seed=7", "train.seed=8"]).train.seed == 8


@pytest.mark.parametrize(
    ("override", "location", "meant"),
    [
        ("latent_chanels=8", "latent_chanels", "latent_channels"),
        ("train.sede=1", "train.sede", "seed"),
        ("train.autoencoder.clps=1", "train.autoencoder.clps", "clips"),
        ("clip_decoder.knid=warp", "clip_decoder.knid", "kind"),
        (
            "poke_encoder.perceptual=true",
            "poke_encoder.perceptual",
            "autoencoder_losses.perceptual or train.image_enco",
        ),
    ],
)
def test_an_unknown_key_is_refused_with_a_suggestion(override, location, meant):
    with pytest.raises(InputError) as caught:
        load_recipe("tiny-64", [override])
    message = str(caught.value)
    assert f"unknown key {location} (did you mean {meant}" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("train.autoencoder.batch=0", "train.autoencoder.batch: got 0"),
        ("train.autoencoder.learning_rate=-1.0", "train.autoencoder.learning_rate: got -1.0"),
        ("train.autoencoder.learning_rate=nan", "train.autoencoder.learning_rate: got nan"),
        ("autoencoder_losses.kl=inf", "autoencoder_losses.kl: got inf"),
        ("pokes.zero_poke_fraction=1.5", "pokes.zero_poke_fraction: got 1.5"),
        ("train.seed=-1", "train.seed: got -1"),
        ("clip.size=100", "clip.size: got 100"),
        ("train.latent_flow.schedule=cosinus", "train.latent_flow.schedule: got 'cosinus'"),
        ("latent_channels=many", "latent_channels: got 'many'"),
        ("train=3", "train: got 3"),
    ],
)
def test_a_value_out_of_range_is_refused_and_named(override, said):
    with pytest.raises(InputError) as caught:
        load_recipe("tiny-64", [override])
    assert said in str(caught.value)
    assert str(caught.value).startswith("recipe tiny-64: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["clip.size=128"], "clip_encoder.strides: end on a 16 x 16 grid at 128 px"),
        (["clip_encoder.strides=[[2,2,2],[1,2,2],[2,2,2],[1,2,2]]"], "end on a 4 x 4 grid"),
        (["clip_encoder.strides=[[2,2,4],[1,2,2],[2,2,2],[1,1,1]]"], "got 2 by 4, expected square strides"),
        (["clip_encoder.widths=[8, 16, 16]"], "clip_encoder: widths and strides differ in length"),
        (["clip_decoder.widths=[8, 8]"], "clip_decoder.widths: 1 doublings, expected 3"),
        (["clip_decoder.source_widths=[8, 8]"], "clip_decoder: widths and source_widths differ in length"),
        (["image_encoder.widths=[8, 16, 16, 16]"], "image_encoder.widths: 4 doublings, expected 3"),
        (["poke_encoder.widths=[8]"], "poke_encoder.widths: 1 doublings, expected 3"),
        (["image_encoder.decoder_widths=[8]"], "image_encoder.decoder_widths: 1 doublings, expected 3"),
        (["poke_encoder.decoder_widths=[8, 8, 8, 8]"], "poke_encoder.decoder_widths: 4 doublings, expected 3"),
        (["latent_flow.steps=[1, 1]"], "latent_flow.steps: 2 levels need latent_channels divisible by a factor"),
        (["clip_encoder.sees_tracks=false"], "autoencoder_losses.motion_between: needs clip_encoder.sees_tracks"),
        (["pokes.patch=4"], "pokes.patch: got 4, expected an odd number of px"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(overrides, said):
    with pytest.raises(InputError) as caught:
        load_recipe("tiny-64", overrides)
    assert said in str(caught.value)


def test_an_override_must_name_a_key_and_a_value():
    with pytest.raises(InputError, match="expected key=value"):
        load_recipe("tiny-64", ["train.seed"])
    with pytest.raises(InputError, match=r"name: got \{'first': 1\}"):
        load_recipe("tiny-64", ["name.first=1"])


def test_a_recipe_that_is_not_there_or_not_toml_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"did you mean lean-64\?"):
        load_recipe("laen-64")
    with pytest.raises(InputError, match="cannot read this recipe"):
        load_recipe(str(tmp_path / "none.toml"))
    broken = tmp_path / "broken.toml"
    broken.write_text("name = ", encoding="utf-8")
    with pytest.raises(InputError, match="not valid TOML"):
        load_recipe(str(broken))
    broken.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="cannot read this recipe"):
        load_recipe(str(broken))
    with pytest.raises(InputError, match=r"got 'elsewhere'|valid dictionary"):
        parse_recipe("elsewhere", "somewhere")  # ty: ignore[invalid-argument-type]


def test_a_recipe_is_frozen():
    with pytest.raises(ValidationError):
        load_recipe("tiny-64").latent_channels = 3  # ty: ignore[invalid-assignment]


def test_suggestions_are_only_made_where_something_is_near():
    assert suggestion("sede", ["seed", "clips"]) == " (did you mean seed?)"
    assert suggestion("zzz", ["seed", "clips"]) == ""


def test_a_decoder_of_another_kind_keeps_what_both_kinds_have():
    warp, spade = load_recipe("tiny-64"), load_recipe("tiny-64", ["clip_decoder.kind=spade"])
    assert spade.clip_decoder == SpadeDecoderSettings(
        widths=warp.clip_decoder.widths,
        rollout_layers=warp.clip_decoder.rollout_layers,
        rollout_update_bias=warp.clip_decoder.rollout_update_bias,
    )
    assert (warp.autoencoder_losses.motion, spade.autoencoder_losses.motion) == (1.0, 0.0)
    with pytest.raises(InputError, match=r'clip_decoder\.kind: got .painted., expected "spade" or "warp"'):
        load_recipe("tiny-64", ["clip_decoder.kind=painted"])


def test_a_method_is_one_of_those_that_are_known():
    assert load_recipe("lean-64").method == "ipoke"
    assert load_recipe("lean-64", ["method=cvae"]).method == "cvae"
    with pytest.raises(InputError, match=r"method: got 'vae'.*'ipoke', 'cvae'"):
        load_recipe("lean-64", ["method=vae"])


@pytest.mark.parametrize(
    ("name", "overrides", "key", "only"),
    [
        ("tiny-64", ["train.latent_flow.decay=0.5"], "train.latent_flow.decay", "schedule = "),
        ("plants-64", ["autoencoder_losses.motion=5.0"], "autoencoder_losses.motion", 'clip_decoder.kind = "warp"'),
        ("lean-64", ["discriminators.window=first"], "discriminators.window", "discriminators"),
        ("lean-64", ["autoencoder_losses.gradient_penalty=2.0"], "autoencoder_losses.gradient_penalty", "adversarial_"),
        ("lean-64", ["train.poke_encoder.perceptual=true"], "train.poke_encoder.perceptual", "poke_encoder.error"),
        ("plants-64", ["autoencoder_losses.frames_per_step=2"], "autoencoder_losses.frames_per_step", "rest"),
        ("tiny-64", ["latent_flow.factor=3"], "latent_flow.factor", "two or more levels"),
        ("tiny-64", ["method=cvae", "latent_flow.units=1"], "latent_flow.units", 'another method than "cvae"'),
        ("tiny-64", ["method=cvae", "train.latent_flow.clips=8"], "train.latent_flow.clips", 'method = "ipoke"'),
        (
            "tiny-64",
            ["method=sparse_warping", "clip_decoder.source_widths=[4]"],
            "clip_decoder.source_widths",
            "method",
        ),
        ("tiny-64", ["budget.hours=1", "train.sample_every_clips=8"], "train.sample_every_clips", "budget.hours"),
        ("tiny-64", ["augment.colour_probability=0", "augment.hue=[0, 0.1]"], "augment.hue", "colour_probability"),
    ],
)
def test_a_key_without_an_effect_is_refused_and_told_when_it_has_one(name, overrides, key, only):
    with pytest.raises(InputError) as caught:
        load_recipe(name, overrides)
    assert f"{key} has no effect here, only " in str(caught.value)
    assert only in str(caught.value)


@pytest.mark.parametrize(
    ("override", "meant"),
    [
        ("image_encoder.sees_pins=true", "known here: widths"),
        ("train.latent_flow.perceptual_weights=x", "did you mean autoencoder_losses.perceptual_weights?"),
        ("clip_decoder.source_widths=[4]", 'it is one of kind = "warp"'),
        ("train.autoencoder.frames_per_step=2", "did you mean autoencoder_losses.frames_per_step?"),
    ],
)
def test_a_key_in_the_wrong_table_is_refused_with_the_right_one(override, meant):
    with pytest.raises(InputError) as caught:
        load_recipe("plants-64", [override])
    assert meant in str(caught.value)


def test_what_is_inherited_and_loses_its_effect_is_dropped():
    recipe = load_recipe("plants-64", ["train.autoencoder.schedule=cosine"])
    assert "decay" not in recipe.table()["train"]["autoencoder"]
    assert recipe.train.autoencoder.decay_clips == Recipe().train.autoencoder.decay_clips
    assert load_recipe("lean-64", ["method=cvae"]).table().keys().isdisjoint({"latent_flow", "image_encoder"})


def test_settings_list_the_keys_that_have_an_effect():
    for name in recipe_names():
        recipe = load_recipe(name)
        listed = set(dict(leaves(parse_recipe(tomllib.loads(settings_toml(recipe)), "text"))))
        assert listed == set(dict(leaves(recipe)))
        assert not unused_keys(recipe).keys() & written(recipe.table())


def written(table, prefix=""):
    keys = set()
    for key, value in table.items():
        keys |= written(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}"}
    return keys


def recipe_file(folder, name, text):
    file = folder / f"{name}.toml"
    file.write_text(text, encoding="utf-8")
    return str(file)


def test_a_recipe_says_what_differs_from_the_one_it_extends(tmp_path):
    mine = recipe_file(tmp_path, "mine", 'extends = "lean-64"\nname = "mine"\n[train.autoencoder]\nclips = 100\n')
    again = recipe_file(tmp_path, "again", 'extends = "mine.toml"\nname = "again"\n[train]\nseed = 3\n')
    expected = load_recipe("lean-64", ["name=again", "train.autoencoder.clips=100", "train.seed=3"])
    assert load_recipe(mine) == load_recipe("lean-64", ["name=mine", "train.autoencoder.clips=100"])
    assert load_recipe(again) == expected
    assert "extends" not in settings_toml(expected)
    assert load_recipe("lean-128") == load_recipe(
        "lean-64",
        [
            *("name=lean-128", "clip.size=128", "pokes.patch=9", "clip_decoder.detail_widths=[12]"),
            *("train.autoencoder.clips=40_000", "train.image_encoder.clips=6_000", "train.poke_encoder.clips=16_000"),
            *("train.poke_encoder.batch=16", "train.latent_flow.clips=40_000", "train.latent_flow.batch=16"),
            *("train.latent_flow.warmup_clips=2_000", "train.checkpoint_every_clips=4_000"),
        ],
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('extends = "mine.toml"', "extends: '.*mine.toml' in turn extends this recipe; remove one of the two keys"),
        ('extends = "laen-64"', r"extends: recipe: got 'laen-64'.*did you mean lean-64\?"),
        ('extends = "none.toml"', "extends: .*none.toml: no such file|extends: .*none.toml: cannot read this recipe"),
        ("extends = 3", 'extends: got 3, expected a recipe such as "lean-64"'),
        ('extends = "lean-64"\n[train.autoencoder]\ndecay = 0.5', "train.autoencoder.decay has no effect here"),
        ('extends = "lean-64"\n[train]\nextends = "tiny-64"', r"unknown key train\.extends"),
    ],
)
def test_what_cannot_be_extended_is_refused(tmp_path, text, said):
    with pytest.raises(InputError, match=said) as caught:
        load_recipe(recipe_file(tmp_path, "mine", text))
    assert "mine.toml" in str(caught.value)


def test_recipes_that_extend_each_other_in_a_circle_or_too_deeply_are_refused(tmp_path):
    first = recipe_file(tmp_path, "first", 'extends = "second.toml"')
    recipe_file(tmp_path, "second", 'extends = "first.toml"')
    with pytest.raises(InputError, match="in turn extends this recipe"):
        load_recipe(first)
    for number in range(5):
        recipe_file(tmp_path, f"deep{number}", f'extends = "deep{number + 1}.toml"' if number < 4 else "")
    assert load_recipe(str(tmp_path / "deep1.toml")) == Recipe()
    with pytest.raises(InputError, match="extends: got more than 4 recipes that extend one another"):
        load_recipe(str(tmp_path / "deep0.toml"))
