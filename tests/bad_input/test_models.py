"""Model files: whatever is in them is refused in a line before anything is built, or is a model that samples."""

import itertools
import json
import os
import struct

import pytest
import torch
from safetensors.torch import load_file, save_file

import tiny
from ipoke.core.model_files import model_metadata
from ipoke.sampling import model
from ipoke.sampling.model import load
from refusals import CONTENTS, odd_files, refusal

pytestmark = pytest.mark.usefixtures("in_bounds")


def header_of(data: bytes) -> tuple[dict, bytes]:
    (length,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def with_header(header: dict | bytes, rest: bytes) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + rest


def metadata(**changes: str) -> dict[str, str]:
    return model_metadata(tiny.tiny_recipe(), {}) | changes


def recipe(**changes: object) -> str:
    table = json.loads(metadata()["recipe"])
    for dotted, value in changes.items():
        *parents, last = dotted.split("__")
        place = table
        for parent in parents:
            place = place[parent]
        place[last] = value
    return json.dumps(table)


WEIGHT = "latent_flow.bijection.levels.0.layers.0.layers.0.log_scale"


def names_of(tensors: dict[str, torch.Tensor]) -> tuple[str, str, str]:
    """Name a weight, a permutation and a flag."""
    order = next(name for name in tensors if name.endswith(".order"))
    flag = next(name for name in tensors if name.endswith(".initialised"))
    weight = next(name for name, tensor in tensors.items() if tensor.is_floating_point() and tensor.numel() > 8)
    return weight, order, flag


TENSORS = {
    "float64 beyond float32": lambda t, w, o, f: t[w].double().fill_(1e300),
    "nan": lambda t, w, o, f: t[w].float().fill_(float("nan")),
    "infinite": lambda t, w, o, f: t[w].float().fill_(float("inf")),
    "integers": lambda t, w, o, f: t[w].to(torch.int32),
    "small integers": lambda t, w, o, f: t[w].to(torch.uint8),
    "boolean": lambda t, w, o, f: t[w].bool(),
    "complex": lambda t, w, o, f: t[w].to(torch.complex64),
    "complex nan": lambda t, w, o, f: t[w].to(torch.complex64) * float("nan"),
    "float8": lambda t, w, o, f: t[w].to(torch.float8_e4m3fn),
    "another shape": lambda t, w, o, f: t[w][:1].clone(),
    "no entries": lambda t, w, o, f: t[w][:0].clone(),
    "one more axis": lambda t, w, o, f: t[w][None].clone(),
}
ORDERS = {
    "repeats": lambda order: torch.zeros_like(order),
    "beyond": lambda order: order + 1,
    "negative": lambda order: order - 1,
    "huge": lambda order: order + 2**62,
    "floats": lambda order: order.float(),
    "small integers": lambda order: order.to(torch.int8),
    "boolean": lambda order: order.bool(),
}
FLAGS = {
    "unset": lambda flag: torch.zeros_like(flag),
    "integer": lambda flag: flag.to(torch.int64),
    "float": lambda flag: flag.float(),
}


@pytest.fixture(autouse=True)
def _built_once(monkeypatch):
    """Only time is saved."""
    monkeypatch.setattr(model, "PokeModel", tiny.copied_outline)


@pytest.fixture(scope="module")
def tensors(model_file) -> dict[str, torch.Tensor]:
    return load_file(model_file)


@pytest.mark.parametrize("what", TENSORS)
def test_weights_that_are_none_are_refused(tmp_path, tensors, what):
    weight, order, flag = names_of(tensors)
    save_file(tensors | {weight: TENSORS[what](tensors, weight, order, flag)}, tmp_path / "m.safetensors", metadata())
    assert str(tmp_path / "m.safetensors") in refusal(lambda: load(tmp_path / "m.safetensors"))


@pytest.mark.parametrize("what", ORDERS)
def test_orders_that_are_no_permutations_are_refused(tmp_path, tensors, what):
    _, order, _ = names_of(tensors)
    save_file(tensors | {order: ORDERS[what](tensors[order])}, tmp_path / "m.safetensors", metadata())
    refusal(lambda: load(tmp_path / "m.safetensors"))


@pytest.mark.parametrize("what", FLAGS)
def test_a_latent_flow_that_is_not_initialised_is_refused(tmp_path, tensors, what):
    _, _, flag = names_of(tensors)
    save_file(tensors | {flag: FLAGS[what](tensors[flag])}, tmp_path / "m.safetensors", metadata())
    refusal(lambda: load(tmp_path / "m.safetensors"))


def test_what_overflows_in_half_the_bits_is_refused_there(tmp_path, tensors):
    from ipoke.sampling.model import coupling_weights

    name = next(iter(coupling_weights(tiny.tiny_model())))
    largest = torch.full_like(tensors[name].float(), torch.finfo(torch.float32).max)
    save_file(tensors | {name: largest}, tmp_path / "m.safetensors", metadata())
    assert load(tmp_path / "m.safetensors")
    refusal(lambda: load(tmp_path / "m.safetensors", precision="bfloat16"))


METADATA = {
    "no recipe": lambda: {"format": "ipoke-model-1"},
    "no format": lambda: {"recipe": recipe()},
    "another format": lambda: metadata(format="\x1b[31m" * 1000),
    "a recipe that is no JSON": lambda: metadata(recipe="{"),
    "a deep recipe": lambda: metadata(recipe="[" * 100_000),
    "a deep recipe, closed": lambda: metadata(recipe="[" * 100_000 + "]" * 100_000),
    "a recipe of a number": lambda: metadata(recipe="1"),
    "a recipe of a huge number": lambda: metadata(recipe="9" * 10_000),
    "a list": lambda: metadata(recipe="[]"),
    "nothing": lambda: metadata(recipe="null"),
    "another recipe": lambda: metadata(recipe=recipe(latent_channels=16)),
    "terabytes": lambda: metadata(recipe=recipe(latent_flow__coupling_width=10**9)),
    "many": lambda: metadata(recipe=recipe(latent_flow__steps=[10**9])),
    "as many as are allowed": lambda: metadata(recipe=recipe(latent_flow__steps=[64], latent_flow__units=16)),
    "wide": lambda: metadata(recipe=recipe(clip_encoder__widths=[10**9] * 4)),
    "infinite": lambda: metadata(recipe=recipe(augment__hue=[float("nan"), float("inf")])),
    "an unknown key": lambda: metadata(recipe=recipe(**{"\x1b[31m": 1})),
    "a baseline": lambda: metadata(recipe=recipe(method="cvae")),
    "frames": lambda: metadata(recipe=recipe(clip__frames=10**9)),
    "spread": lambda: metadata(spread="\x1b[31m" * 1000),
    "spread of nothing": lambda: metadata(spread="0"),
    "a huge fact": lambda: metadata(trained_on="a" * 3_000_000),
    "many facts": lambda: metadata(**{f"fact {number}": "a" for number in range(10_000)}),
}


@pytest.mark.parametrize("what", METADATA)
def test_a_model_that_says_nonsense_of_itself_is_refused(tmp_path, tensors, what):
    save_file(tensors, tmp_path / "m.safetensors", METADATA[what]())
    refusal(lambda: load(tmp_path / "m.safetensors"))


def test_facts_reach_the_terminal_without_escapes(ipoke, tmp_path, tensors):
    facts = metadata(trained_on="\x1b[31mred\x07\nsecond line", **{"\x1b]0;a": "\u202e"})
    save_file(tensors, tmp_path / "m.safetensors", facts)
    answer = ipoke("info", tmp_path / "m.safetensors")
    assert answer.code == 0
    assert answer.out.replace("\n", "").isprintable()
    assert "\\x1b[31mred\\x07\\nsecond line" in answer.out


HEADERS = {
    "short": lambda h, r: b"\x01\x02",
    "length beyond the file": lambda h, r: struct.pack("<Q", 2**63) + b"{}",
    "length of a gigabyte": lambda h, r: struct.pack("<Q", 2**30) + b"{}" + bytes(1000),
    "length zero": lambda h, r: struct.pack("<Q", 0) + r,
    "deep": lambda h, r: with_header(b"[" * 100_000, r),
    "deep and closed": lambda h, r: with_header(b'{"a":' * 90_000 + b"1" + b"}" * 90_000, r),
    "padded by megabytes": lambda h, r: with_header(json.dumps(h).encode() + b" " * 20_000_000, r),
    "a list": lambda h, r: with_header(b"[]", r),
    "twice": lambda h, r: with_header(json.dumps(h).encode().replace(b"{", b'{"__metadata__": {}, ', 1), r),
    "a tensor twice": lambda h, r: with_header(
        json.dumps(h).encode().replace(b"{", b'{"%s": {}, ' % next(k for k in h if k[0] != "_").encode(), 1), r
    ),
    "metadata is a list": lambda h, r: with_header(h | {"__metadata__": []}, r),
    "metadata of numbers": lambda h, r: with_header(h | {"__metadata__": {"format": 1}}, r),
    "metadata is nothing": lambda h, r: with_header(h | {"__metadata__": None}, r),
    "offsets beyond": lambda h, r: with_header(h | {"a": entry([4], [len(r), len(r) + 16])}, r),
    "offsets back to front": lambda h, r: with_header(h | {"a": entry([4], [16, 0])}, r),
    "offsets negative": lambda h, r: with_header(h | {"a": entry([4], [-16, 0])}, r),
    "offsets that overlap": lambda h, r: with_header(h | {"a": entry([4], [0, 16])}, r),
    "shape beyond": lambda h, r: with_header(h | {"a": entry([2**40], [len(r), len(r)])}, r),
    "shape overflows": lambda h, r: with_header(h | {"a": entry([2**62, 2**62], [len(r), len(r)])}, r),
    "shape negative": lambda h, r: with_header(h | {"a": entry([-1], [len(r), len(r)])}, r),
    "empty but vast": lambda h, r: with_header(h | {"a": entry([2**62, 0], [len(r), len(r)])}, r),
    "axes": lambda h, r: with_header(h | {"a": entry([1] * 1000, [len(r), len(r) + 4])}, r + bytes(4)),
    "unknown type": lambda h, r: with_header(h | {"a": entry([4], [len(r), len(r) + 16], "X99")}, r + bytes(16)),
    "four bits": lambda h, r: with_header(h | {"a": entry([4], [len(r), len(r) + 2], "F4")}, r + bytes(2)),
    "six bits": lambda h, r: with_header(h | {"a": entry([4], [len(r), len(r) + 3], "F6_E2M3")}, r + bytes(3)),
    "unsigned": lambda h, r: with_header(h | {"a": entry([2], [len(r), len(r) + 16], "U64")}, r + bytes(16)),
    "bytes left over": lambda h, r: with_header(h, r + bytes(16)),
    "cut off": lambda h, r: with_header(h, r[:-16]),
    "many tensors": lambda h, r: with_header(
        h | {f"{n}{1000 * 'a'}": entry([0], [len(r), len(r)]) for n in range(4_200)}, r
    ),
    "a long name": lambda h, r: with_header(h | {"\x1b[31m" * 10_000: entry([0], [len(r), len(r)])}, r),
}


def entry(shape: list[int], offsets: list[int], dtype: str = "F32") -> dict:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


@pytest.mark.parametrize("what", HEADERS)
def test_a_file_that_lies_about_itself_is_refused(tmp_path, model_file, what):
    (tmp_path / "m.safetensors").write_bytes(HEADERS[what](*header_of(model_file.read_bytes())))
    refusal(lambda: load(tmp_path / "m.safetensors"))


@pytest.mark.parametrize("number", range(11 + len(CONTENTS)))
def test_what_is_no_model_is_refused(tmp_path, number):
    _, path = next(itertools.islice(odd_files(tmp_path, ".safetensors"), number, None))
    refusal(lambda: load(path))


def test_a_run_whose_model_is_no_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "model.safetensors")
    refusal(lambda: load(tmp_path))
