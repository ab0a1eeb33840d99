"""Checkpoints of the released system: whatever is in them is refused in a line, and nothing is written."""

import io
import itertools
import pickle
import struct
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import pytest
import released
import torch
from safetensors.torch import save_file

import tiny
from ipoke.exchange.official.checkpoint import read_state
from ipoke.exchange.official.import_official import import_official
from refusals import CONTENTS, assert_refused, odd_files, refusal

pytestmark = [
    pytest.mark.usefixtures("in_bounds"),
    pytest.mark.filterwarnings("ignore:.*(invariant|beta|quantize)"),
]
CHECKPOINT = released.checkpoint()
NAME = "flow.flow.layers.0.1.actnorm2.bias"
ORDER = next(name for name in CHECKPOINT if name.endswith("forward_shuffle_idx"))
WEIGHT = "first_stage_model.enc_motion.conv1.weight"


def saved(content: object) -> bytes:
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def state(**changes: object) -> dict[str, object]:
    return {"state_dict": CHECKPOINT | changes}


def rewritten(data: bytes, change: Callable[[str, bytes], bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    """Write the records of a checkpoint again."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w", compression) as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
    return out.getvalue()


def with_pickle(content: bytes) -> bytes:
    return rewritten(saved(state()), lambda name, data: content if name.endswith("data.pkl") else data)


def calling(module: str, name: str, *arguments: object) -> bytes:
    """Write a pickle that calls something, as the state of a tensor."""
    packed = pickle.dumps(arguments, 2)[2:-1]
    return b"\x80\x02}X\x01\x00\x00\x00ac" + f"{module}\n{name}\n".encode() + packed + b"Rs."


def beside(tensor: object) -> bytes:
    return saved(state(**{NAME: tensor}))


STATES: dict[str, Callable[[], bytes]] = {
    "expanded": lambda: beside(torch.zeros(1).expand(10**6, 10**6)),
    "expanded into place": lambda: saved(state(**{WEIGHT: torch.zeros(1).expand(2**40)})),
    "overlapping": lambda: beside(torch.zeros(10**4).as_strided((5000, 5000), (1, 1))),
    "sparse": lambda: beside(torch.sparse_coo_tensor(torch.tensor([[0]]), torch.ones(1), (10**12,))),
    "compressed rows": lambda: beside(torch.eye(4).to_sparse_csr()),
    "quantised": lambda: beside(torch.quantize_per_tensor(torch.ones(8), 0.1, 0, torch.quint8)),
    "meta": lambda: beside(torch.zeros(10**6, 10**6, device="meta")),
    "complex": lambda: beside(torch.zeros(8, 1, 1, dtype=torch.complex64)),
    "integers": lambda: beside(torch.zeros(8, 1, 1, dtype=torch.int64)),
    "boolean": lambda: beside(torch.zeros(8, 1, 1, dtype=torch.bool)),
    "float64 beyond float32": lambda: beside(torch.full((8, 1, 1), 1e300, dtype=torch.float64)),
    "nan": lambda: beside(torch.full((8, 1, 1), torch.nan)),
    "no entries": lambda: saved(state(**{WEIGHT: torch.zeros(0, 3, 3, 7, 7)})),
    "one number": lambda: saved(state(**{WEIGHT: torch.tensor(1.0)})),
    "a channel that is none": lambda: saved(state(**{"flow.flow.priors.0.actnorm.bias": torch.zeros(0, 1, 1)})),
    "axes": lambda: beside(torch.zeros([1] * 60)),
    "order repeats": lambda: saved(state(**{ORDER: torch.zeros_like(CHECKPOINT[ORDER])})),
    "order beyond": lambda: saved(state(**{ORDER: CHECKPOINT[ORDER] + 1})),
    "order negative": lambda: saved(state(**{ORDER: CHECKPOINT[ORDER] - 100})),
    "order of floats": lambda: saved(state(**{ORDER: CHECKPOINT[ORDER].float()})),
    "order of bytes": lambda: saved(state(**{ORDER: CHECKPOINT[ORDER].to(torch.int8)})),
    "a list": lambda: saved([torch.zeros(1)]),
    "a number": lambda: saved(1),
    "nothing": lambda: saved(None),
    "text": lambda: saved("\x1b[31m"),
    "a tensor": lambda: saved(torch.zeros(3)),
    "a state of numbers": lambda: saved({"state_dict": {"a": 1}}),
    "a state that is none": lambda: saved({"state_dict": 3}),
    "a state of a state": lambda: saved({"state_dict": {"state_dict": {"a": torch.zeros(1)}}}),
    "an empty state": lambda: saved({"state_dict": {}}),
    "names that are numbers": lambda: saved({"state_dict": {1: torch.zeros(1), None: torch.zeros(1)}}),
    "names with escapes": lambda: saved({"state_dict": {"\x1b[31m" * 1000 + ".a": torch.zeros(1)}}),
    "names of two lines": lambda: saved(state(**{"a\nb\x07.c": torch.zeros(1)})),
    "names without end": lambda: saved(state(**{"flow." + "a" * 10**6: torch.zeros(1)})),
    "a layer of a huge number": lambda: saved(
        state(**{"first_stage_model.enc_motion.layer999999999.0.a": torch.zeros(1)})
    ),
    "a level of a huge number": lambda: saved(state(**{"flow.flow.layers.999999999.0.actnorm1.bias": torch.zeros(1)})),
    "a step of a huge number": lambda: saved(state(**{"flow.flow.layers.0.999999999.actnorm1.bias": torch.zeros(1)})),
    "a unit of a huge number": lambda: saved(
        state(**{"flow.flow.layers.0.0.units1.999999999.conv1.weight": torch.zeros(1)})
    ),
    "a number of many digits": lambda: saved(
        state(**{f"flow.flow.layers.{'9' * 5000}.0.actnorm1.bias": torch.zeros(1)})
    ),
    "an up-block of a huge number": lambda: saved(state(**{"first_stage_model.gen.blocks.99999999.a": torch.zeros(1)})),
    "a down-block of a huge number": lambda: saved(state(**{"conditioner.encoder.model.99999999.a": torch.zeros(1)})),
    "many modules": lambda: saved({"state_dict": {f"module{n}.a": torch.zeros(1) for n in range(300)}}),
    "many tensors": lambda: saved({"state_dict": dict.fromkeys((f"flow.{n}" for n in range(30_000)), torch.zeros(1))}),
    "legacy": lambda: legacy(state()),
    "TorchScript": lambda: scripted(),
    "deep": lambda: with_pickle(b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b"."),
    "deep tuples": lambda: with_pickle(b"\x80\x02)" + b"\x85" * 100_000 + b"."),
    "no stack": lambda: with_pickle(b"\x80\x02aaa."),
    "no memo": lambda: with_pickle(b"\x80\x02h\x07."),
    "empty pickle": lambda: with_pickle(b""),
    "protocol 5": lambda: with_pickle(b"\x80\x05\x95\xff\xff\xff\xff\xff\xff\xff\x7f."),
    "long string": lambda: with_pickle(b"\x80\x02X\xff\xff\xff\x7fabc."),
    "not UTF-8": lambda: with_pickle(b"\x80\x02X\x02\x00\x00\x00\xff\xfe."),
    "a bytearray of gigabytes": lambda: with_pickle(calling("builtins", "bytearray", 6 * 2**30)),
    "a tensor of gigabytes": lambda: with_pickle(calling("torch", "Tensor", 2**34)),
    "a parameter of nothing": lambda: with_pickle(calling("torch._utils", "_rebuild_parameter", 1, 2, 3)),
    "a tensor of nothing": lambda: with_pickle(calling("torch._utils", "_rebuild_tensor_v2", 1, 2, 3, 4, 5, 6)),
    "an opcode": lambda: with_pickle(b"\x80\x02\xff."),
    "os.system": lambda: with_pickle(calling("os", "system", "true")),
    "an escape as module": lambda: with_pickle(calling("\x1b[31m" * 500, "a")),
    "padding": lambda: with_pickle(b"\x80\x02" + b"N0" * 5_000_000 + b"}."),
    "compressed": lambda: rewritten(saved(state()), lambda name, data: data, zipfile.ZIP_DEFLATED),
    "compressed zeros": lambda: rewritten(
        saved(state()), lambda name, data: bytes(2**24) if name.endswith("data/0") else data, zipfile.ZIP_DEFLATED
    ),
    "records cut": lambda: rewritten(saved(state()), lambda name, data: data[:4] if "/data/" in name else data),
    "no records": lambda: rewritten(saved(state()), lambda name, data: data)[:-22] + b"PK\x05\x06" + bytes(18),
    "cut off": lambda: saved(state())[:-1000],
    "directory lies": lambda: lying(saved(state())),
    "big endian": lambda: rewritten(saved(state()), lambda name, data: b"big" if name.endswith("byteorder") else data),
    "a byte order of its own": lambda: rewritten(
        saved(state()), lambda name, data: b"\x1b[31m" * 1000 if name.endswith("byteorder") else data
    ),
}


def legacy(content: object) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=False)
    return file.getvalue()


def scripted() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a/constants.pkl", b"\x80\x02).")
        archive.writestr("a/data.pkl", b"\x80\x02}.")
        archive.writestr("a/version", b"3\n")
        archive.writestr("a/code/x.py", b"")
    return file.getvalue()


def lying(data: bytes) -> bytes:
    """Say in the directory that the first record has four gigabytes."""
    at = data.index(b"PK\x01\x02")
    return data[: at + 20] + struct.pack("<II", 2**32 - 2, 2**32 - 2) + data[at + 28 :]


@pytest.fixture(autouse=True)
def _built_once(monkeypatch):
    """Only time is saved."""
    monkeypatch.setattr(sys.modules["ipoke.exchange.official.import_official"], "PokeModel", tiny.copied_outline)


@pytest.mark.parametrize("what", STATES)
def test_a_checkpoint_that_makes_no_sense_is_refused(tmp_path, what):
    (tmp_path / "bad.ckpt").write_bytes(STATES[what]())
    refusal(lambda: import_official(tmp_path / "bad.ckpt", {}, tmp_path / "run"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("number", range(11 + len(CONTENTS)))
@pytest.mark.parametrize("ending", [".ckpt", ".safetensors"])
def test_what_is_no_checkpoint_is_refused(tmp_path, number, ending):
    _, path = next(itertools.islice(odd_files(tmp_path, ending), number, None))
    refusal(lambda: import_official(path, {}, tmp_path / "run"))


@pytest.mark.parametrize(
    "tensor",
    [torch.zeros(8, 1, 1, dtype=torch.int32), torch.full((8, 1, 1), 1e300, dtype=torch.float64)],
    ids=["integers", "beyond float32"],
)
def test_safetensors_are_checked_like_checkpoints(tmp_path, tensor):
    save_file(CHECKPOINT | {NAME: tensor}, tmp_path / "bad.safetensors")
    refusal(lambda: import_official(tmp_path / "bad.safetensors", {}, tmp_path / "run"))


def test_a_part_that_is_no_file_is_refused(ipoke, tmp_path):
    import os

    os.mkfifo(tmp_path / "fifo")
    answer = ipoke("import-official", "--latent-flow", tmp_path / "fifo", "--out", tmp_path / "run")
    assert_refused(answer)


def test_weights_that_are_shared_or_kept_in_half_are_read(tmp_path: Path):
    shared = torch.arange(6.0).half()
    content = OrderedDict(a=shared, b=shared, c=shared.view(2, 3).T, d=torch.nn.Parameter(torch.ones(2)))
    torch.save(
        {"state_dict": content, "epoch": 3, "optimizer_states": [{"state": {0: {"step": 1}}}]}, tmp_path / "a.ckpt"
    )
    state = read_state(tmp_path / "a.ckpt")
    assert state["c"].tolist() == [[0, 3], [1, 4], [2, 5]]
    assert set(state) == {"a", "b", "c", "d"}
