"""Whatever bytes a file holds: a reader gives something within its bounds, or one short line."""

import io
import json
import shutil
import struct
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ipoke.cli.arguments import numbers
from ipoke.core import model_files
from ipoke.core.errors import one_line
from ipoke.core.model_files import model_metadata, read_tensors, recipe_from_metadata
from ipoke.core.reading import regular
from ipoke.core.recipe import Recipe
from ipoke.core.runs import settings_toml
from ipoke.core.settings import load_recipe
from ipoke.data.arrays import arrays_from_npz
from ipoke.data.clip_rows import SourceRow, read_rows, read_settings
from ipoke.data.clips import ClipSet
from ipoke.exchange.official.checkpoint import read_state
from ipoke.sampling.session import MOST_POKES, load_session
from ipoke.studio.problem import Problem
from ipoke.studio.questions import Question, parsed
from refusals import assert_one_line, refusal_or_none
from tiny import tiny_recipe

pytestmark = pytest.mark.filterwarnings("ignore")
FIXED = settings(
    derandomize=True,
    deadline=None,
    database=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

SESSION = json.dumps(
    {
        "image": "picture.png",
        "image_sha256": "0" * 64,
        "model": "scenes-64",
        "model_sha256": "0" * 64,
        "pokes": [{"x": 1.0, "y": 2.0, "dx": 3.0, "dy": 4.0}],
        "samples": 2,
        "seed": 0,
        "temperature": 1.0,
    }
).encode()
QUESTION = json.dumps(
    {"picture": "still", "pokes": [{"x": 1, "y": 2, "dx": 3, "dy": 4}], "residuals": [[[0, 1, 1.0]]], "frames": 3}
).encode()
VALUES = (
    b"-1",
    b"1e999",
    b"NaN",
    b"null",
    b"true",
    b'"\\u001b[31m"',
    b"[]",
    b"{}",
    b"9" * 400,
    b"\x00",
    b"\xff",
    b"\n",
)


@st.composite
def mutated(draw: st.DrawFn, valid: bytes) -> bytes:
    """Change a valid file: flip bits, cut it off, leave parts out or repeat them, put values where others were."""
    data = bytearray(valid)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(len(data) - 1, 0)))
        until = min(len(data), at + draw(st.integers(0, 40)))
        kind = draw(st.sampled_from(("flip", "cut", "leave out", "repeat", "value", "bytes")))
        if kind == "flip" and data:
            data[at] ^= 1 << draw(st.integers(0, 7))
        elif kind == "cut":
            del data[at:]
        elif kind == "leave out":
            del data[at:until]
        elif kind == "repeat":
            data[at:at] = data[at:until]
        elif kind == "value":
            data[at:until] = draw(st.sampled_from(VALUES))
        else:
            data[at:until] = draw(st.binary(max_size=20))
    return bytes(data)


def anything(valid: bytes) -> st.SearchStrategy[bytes]:
    return st.one_of(mutated(valid), mutated(valid), mutated(valid), st.binary(max_size=200))


RECIPE = settings_toml(tiny_recipe()).encode()


@FIXED
@given(data=anything(RECIPE))
def test_recipes(tmp_path, data):
    path = tmp_path / "recipe.toml"
    path.write_bytes(data)
    refusal_or_none(lambda: load_recipe(str(path)))


KEYS = sorted(
    f"{section}.{key}"
    for section in ("clip", "pokes", "augment", "clip_encoder", "clip_decoder", "latent_flow", "train", "budget")
    for key in json.loads(Recipe().model_dump_json())[section]
)
WRITTEN = st.one_of(
    st.integers().map(str),
    st.floats().map(str),
    st.text(max_size=20),
    st.lists(st.integers(-1, 10**9), max_size=5).map(str),
    st.sampled_from([value.decode("latin1") for value in VALUES]),
)


@FIXED
@given(key=st.one_of(st.sampled_from(KEYS), st.text(max_size=10)), value=WRITTEN)
def test_settings_of_the_command_line(key, value):
    refusal_or_none(lambda: load_recipe("tiny-64", [f"{key}={value}"]))


@FIXED
@given(data=anything(SESSION))
def test_sessions(tmp_path, data):
    path = tmp_path / "session.json"
    path.write_bytes(data)

    def read() -> None:
        session = load_session(path)
        assert 1 <= session.samples <= 256
        assert 0 <= session.temperature <= 2
        assert len(session.pokes) <= MOST_POKES

    refusal_or_none(read)


@FIXED
@given(data=anything(QUESTION))
def test_questions_to_the_studio(data):
    try:
        parsed(Question, data)
    except Problem as problem:
        assert_one_line(one_line(problem.words))


@FIXED
@given(text=st.one_of(st.text(max_size=30), st.lists(st.floats().map(str), min_size=3, max_size=5).map(",".join)))
def test_pokes(text):
    refusal_or_none(lambda: numbers("--poke", text, 4))


@FIXED
@given(text=st.text(max_size=2000))
def test_messages(text):
    assert len(one_line(text)) <= 300
    assert one_line(text).isprintable()
    assert one_line(one_line(text)) == one_line(text)


@cache
def model_bytes() -> bytes:
    tensors = {"a.order": torch.arange(3), "b": torch.ones(4), "c.initialised": torch.tensor(True)}
    from safetensors.torch import save

    return save(tensors, model_metadata(tiny_recipe(), {"trained_on": "nothing"}))


@FIXED
@given(data=st.one_of(anything(model_bytes()), mutated(model_bytes()[8:]).map(lambda rest: length_before(rest))))
def test_models(tmp_path, data):
    path = tmp_path / "model.safetensors"
    path.write_bytes(data)

    def read() -> None:
        tensors, metadata = read_tensors(path)
        assert sum(tensor.nbytes for tensor in tensors.values()) <= len(data)
        recipe_from_metadata(metadata, path)

    refusal_or_none(read)


def length_before(rest: bytes) -> bytes:
    """Give a header that was changed the length that it has now."""
    end = rest.find(b"\x00") if b"\x00" in rest else len(rest)
    return struct.pack("<Q", end) + rest


@cache
def checkpoint_bytes() -> bytes:
    file = io.BytesIO()
    torch.save({"state_dict": {"flow.a": torch.ones(4), "flow.b": torch.arange(3)}, "epoch": 3}, file)
    return file.getvalue()


@FIXED
@given(data=anything(checkpoint_bytes()))
def test_checkpoints(tmp_path, data):
    path = tmp_path / "last.ckpt"
    path.write_bytes(data)

    def read() -> None:
        state = read_state(path)
        assert sum(tensor.nbytes for tensor in state.values()) <= 4 * len(data)

    refusal_or_none(read)


@pytest.fixture(scope="module")
def small_set(tmp_path_factory, clip_set) -> Path:
    """A set of one clip."""
    folder = tmp_path_factory.mktemp("small") / "set"
    shutil.copytree(clip_set, folder, ignore=shutil.ignore_patterns("cache", "questions-*"))
    first = (folder / "index.jsonl").read_text().splitlines()[0]
    (folder / "index.jsonl").write_text(first + "\n")
    return folder


def changed(folder: Path, name: str, data: st.DataObject, read: Callable[[], object]) -> None:
    """Change a file of a set, read, and put it back."""
    path = folder / name
    valid = path.read_bytes()
    try:
        path.write_bytes(data.draw(anything(valid)))
        refusal_or_none(read)
    finally:
        path.write_bytes(valid)


@FIXED
@given(data=st.data())
def test_settings_of_sets(small_set, data):
    changed(small_set, "settings.json", data, lambda: read_settings(small_set))


@FIXED
@given(data=st.data())
def test_rows_of_sets(small_set, data):
    def read() -> None:
        rows, _ = read_rows(small_set, 4)
        assert all(isinstance(row, SourceRow) for row in rows)
        clip = ClipSet(small_set).clip(0)
        assert clip.shape == (5, 64, 64, 3)

    changed(small_set, "index.jsonl", data, read)


@cache
def arrays_bytes() -> bytes:
    import numpy as np

    from ipoke.data.arrays import arrays_to_npz

    return arrays_to_npz({"optical_flow": np.arange(2 * 64, dtype=np.int16).reshape(1, 2, 8, 8), "poke": np.ones(4)})


@FIXED
@given(data=anything(arrays_bytes()))
def test_arrays_of_sets(data):
    try:
        arrays = arrays_from_npz(data, 2**16)
    except ValueError:
        return
    assert sum(array.nbytes for array in arrays.values()) <= 2**16


@pytest.mark.parametrize(
    ("guard", "stand_in", "valid"),
    [
        ("json_of", json.loads, b"[" * 50_000),
        ("S_ISREG", lambda mode: True, b"{}"),
    ],
)
def test_a_guard_that_is_left_out_is_noticed(tmp_path, monkeypatch, guard, stand_in, valid):
    monkeypatch.setattr(model_files if guard == "json_of" else regular.stat, guard, stand_in)
    if guard == "json_of":
        with pytest.raises(RecursionError):
            recipe_from_metadata({"format": "ipoke-model-1", "recipe": valid.decode()}, tmp_path)
    else:
        with pytest.raises(IsADirectoryError):
            load_session(tmp_path)
