"""What comes with the package."""

import numpy as np
import pytest

import ipoke
from ipoke.sampling.model import bundled_models, bundled_stills
from ipoke.scenes.scene import Kind, draw_scene

SCENES: dict[str, tuple[Kind, int]] = {
    **{"bear": ("puppet", 900_014), "cat": ("puppet", 900_002)},
    **{"dog": ("puppet", 900_016), "tulips": ("plant", 900_008)},
}


def test_the_still_of_the_examples_comes_first():
    names = list(bundled_stills())
    assert names == ["still", *sorted(SCENES)]
    assert (bundled_stills()["still"] == ipoke.bundled_still()).all()


@pytest.mark.parametrize("name", SCENES)
def test_a_still_is_the_scene_that_its_origin_names(name):
    kind, seed = SCENES[name]
    again = draw_scene(seed, size=256, kind=kind).still
    assert np.abs(again.astype(int) - bundled_stills()[name]).mean() < 0.5


@pytest.mark.parametrize("name", bundled_models())
def test_a_model_is_small_enough_to_come_along(name):
    assert sum(p.numel() for p in ipoke.load(name).parameters()) * 2 < 24e6
