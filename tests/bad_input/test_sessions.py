"""Sessions: whatever is in them is refused in a line, or within the bounds of what can be sampled."""

import itertools
import json
import os

import numpy as np
import pytest

from ipoke.sampling.session import Session, load_session, reopen, sample
from refusals import CONTENTS, odd_files, refusal
from schemas import unbounded
from tiny import tiny_model

pytestmark = pytest.mark.usefixtures("in_bounds")

GOOD = {
    "format": "ipoke-session-2",
    "image": "picture.png",
    "image_sha256": "0" * 64,
    "model": "scenes-64",
    "model_sha256": "0" * 64,
    "pokes": [{"x": 1.0, "y": 2.0, "dx": 3.0, "dy": 4.0}],
    "samples": 2,
    "seed": 0,
    "temperature": 1.0,
    "frames": None,
    "guidance": True,
}
POKE = GOOD["pokes"][0]
CHANGES = [
    *({key: None} for key in GOOD if key != "frames"),
    *({key: "\x1b[31m" * 1000} for key in ("format", "image", "model", "image_sha256", "samples", "temperature")),
    *({"samples": value} for value in (0, -1, 10**9, 10**30, 2.5, True, "2", [], 257)),
    *({"seed": value} for value in (-1, 2**63, 10**30, 0.5, True, "1")),
    *({"temperature": value} for value in (-1, 2.5, 1e308, float("nan"), float("inf"), "1", True)),
    *({"frames": value} for value in (0, -1, 101, 10**9, 10**30, 1.5, True)),
    *({"guidance": value} for value in (1, "yes", "true", 0)),
    *({"pokes": value} for value in ({}, "x", [POKE] * 1000, [[]], [{}], [POKE | {"more": 1}])),
    *(
        {"pokes": [POKE | {key: value}]}
        for key, value in itertools.product(("x", "dx"), (float("nan"), float("-inf"), 1e308, "1", None, True))
    ),
    {"image": ""},
    {"image": "a\0b"},
    {"image": "a" * 100_000},
    {"model": "a\0b"},
    {"model": "\ud800"},
    {"model": ""},
    {"image_sha256": "zz"},
    {"model_sha256": "0" * 65},
    {"format": "ipoke-session-3"},
    {"another": 1},
    {"\x1b[31m" + "k" * 1000: 1},
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: repr(change).encode("ascii", "replace").decode()[:50])
def test_a_value_out_of_range_is_refused(tmp_path, change):
    path = tmp_path / "session.json"
    path.write_text(json.dumps(GOOD | change), encoding="utf-8")
    refusal(lambda: load_session(path))


def test_a_good_session_is_good(tmp_path):
    path = tmp_path / "session.json"
    path.write_text(json.dumps(GOOD), encoding="utf-8")
    assert load_session(path).samples == 2


@pytest.mark.parametrize("number", range(11 + len(CONTENTS)))
def test_what_is_no_session_is_refused(tmp_path, number):
    _, path = next(itertools.islice(odd_files(tmp_path, ".json"), number, None))
    refusal(lambda: load_session(path))


@pytest.mark.parametrize(
    "change",
    [
        {"image": "fifo"},
        {"image": "/dev/zero"},
        {"image": "."},
        {"image": "\x1b[31m.png"},
        {"image": "n" * 300},
        {"model": "fifo"},
        {"model": "/dev/zero"},
        {"model": "."},
        {"model": "\x1b[31m"},
        {"model": "n" * 300},
        {"model": "fifo.safetensors"},
    ],
    ids=repr,
)
def test_a_session_that_names_something_odd_is_refused(tmp_path, picture, change):
    from ipoke.data.images import read_image
    from ipoke.sampling.session import image_sha256

    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "fifo.safetensors").symlink_to("fifo")
    path = tmp_path / "session.json"
    good = GOOD | {"image_sha256": image_sha256(read_image(picture))}
    path.write_text(json.dumps(good | change), encoding="utf-8")
    refusal(lambda: reopen(path))


def test_every_number_list_and_text_of_a_session_has_bounds():
    assert not list(unbounded(Session))


def test_samples_that_would_fill_the_memory_are_refused_before_they_are_drawn():
    session = Session.model_validate_json(json.dumps(GOOD | {"samples": 256, "frames": 100}))
    line = refusal(lambda: sample(session, tiny_model(), np.zeros((1024, 2048, 3), np.uint8)))
    assert "256 clips of 101 frames" in line
