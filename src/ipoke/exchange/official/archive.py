"""What `torch.save` wrote, read without running anything, and without more memory than the file is large."""

import pickle
import pickletools
import re
import zipfile
from pathlib import Path
from typing import Any

import torch

from ipoke.core.errors import InputError
from ipoke.core.reading.regular import regular_file

MOST_PICKLED, MOST_RECORDS = 2**23, 2**16
"""Bytes of names and shapes, and files in the archive."""
PLAIN = re.compile(
    r"collections (OrderedDict|Counter|defaultdict)|torch\._utils (_rebuild_tensor_v2|_rebuild_parameter)"
    r"|torch (\w+Storage|Size|device|[a-z]+\d+\w*|bool)|torch\.nn\.parameter Parameter|_codecs encode"
    r"|(builtins|__builtin__) (set|complex)"
)
"""What is needed for tensors and plain values. `torch.load` knows more that is harmless, but not that it is small."""


def read_archive(path: Path) -> Any:
    """Read a file of `torch.save`; tensors stay in the file until they are looked at.

    Raises:
        InputError: Missing, truncated, another kind of file, or one that asks for more than tensors and plain values.
    """
    try:
        _check_records(regular_file(path, "checkpoint"))
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{path}: contains more than tensors ({_first_line(error)}) and could run code, so it is refused; on an "
            "isolated machine, save its state_dict with safetensors, and import that file"
        ) from error
    except Exception as error:  # what a broken pickle makes PyTorch raise has no bounds
        raise InputError(f"{path}: cannot read this checkpoint ({_first_line(error)}); download it again") from error


def _check_records(path: Path) -> None:
    """Check that an archive has the size that it declares, and that unpickling it makes nothing but tensors.

    Raises:
        pickle.UnpicklingError: It asks for something else.
        ValueError: It is packed, or has more in it than any checkpoint.
        zipfile.BadZipFile: It is no archive.
    """
    with zipfile.ZipFile(path) as archive:
        records = archive.infolist()
        if len(records) > MOST_RECORDS or any(record.compress_type != zipfile.ZIP_STORED for record in records):
            raise ValueError(f"it is compressed, or has more than {MOST_RECORDS:,} records")
        if sum(record.file_size for record in records) > path.stat().st_size:
            raise ValueError("its records are larger than the file")
        for record in records:
            is_pickle = record.filename.endswith(".pkl")
            if is_pickle and record.file_size > MOST_PICKLED:
                raise ValueError(f"its names and shapes fill {record.file_size:,} bytes")
            if is_pickle:
                _check_calls(archive.read(record))


def _check_calls(data: bytes) -> None:
    for opcode, argument, _ in pickletools.genops(data):
        if opcode.name in ("GLOBAL", "INST") and not PLAIN.fullmatch(str(argument)):
            raise pickle.UnpicklingError(str(argument))


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
