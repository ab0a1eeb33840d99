"""Embedded sessions are extracted again, and malicious files cost little."""

import base64
import io
import json
import struct
import zipfile

import pytest

import small_files
from ipoke.core.errors import InputError
from ipoke.core.reading.payload import BOX, LARGEST_SESSION, MARK, embed_payload, extract_payload
from ipoke.core.reading.process import DecoderProcess

PAYLOAD = json.dumps({"text": "é" * 300}).encode()
LARGEST = 1000


def saved(data):
    with DecoderProcess("saved", data, "the file", side=64) as opening:
        return list(opening)


def files():
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("session.json", PAYLOAD)
    return {
        "mp4": embed_payload("mp4", small_files.VIDEOS["a.mp4"](), PAYLOAD),
        "webm": embed_payload("webm", small_files.VIDEOS["a.webm"](), PAYLOAD),
        "webp": embed_payload("webp", small_files.animation("WEBP"), PAYLOAD),
        "gif": embed_payload("gif", small_files.animation("GIF"), PAYLOAD),
        "png": embed_payload("png", small_files.still("PNG"), PAYLOAD),
        "frames": archive.getvalue(),
        "tracks": json.dumps({"session": json.loads(PAYLOAD)}).encode(),
    }


def test_every_kind_of_file_gives_back_its_payload():
    for kind, file in files().items():
        assert json.loads(extract_payload(file, 10_000) or b"null") == json.loads(PAYLOAD), kind
        assert extract_payload(file, 100) is None


def test_an_archive_that_lies_about_sizes_is_not_unpacked(tmp_path):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("session.json", b" " * 50_000_000)
    data = bytearray(archive.getvalue())
    assert len(data) < 100_000
    for signature, field in ((b"PK\x01\x02", 24), (b"PK\x03\x04", 22)):
        at = data.find(signature) + field
        assert struct.unpack_from("<I", data, at)[0] == 50_000_000
        struct.pack_into("<I", data, at, 10)
    assert extract_payload(bytes(data), LARGEST) is None
    with pytest.raises(InputError, match="no session"):
        saved(bytes(data))


@pytest.mark.parametrize(
    "file",
    [
        b"\0\0\0\x08ftyp" + struct.pack(">I4s", 8, b"free") * 1_000_000,
        b"\0\0\0\x08ftyp" + struct.pack(">I4sQ", 1, b"free", 2**64 - 1),
        b"\0\0\0\x08ftyp" + struct.pack(">I4s", 0, b"free"),
        b"RIFF\0\0\0\0WEBP" + struct.pack("<4sI", b"JUNK", 0) * 1_000_000,
        b"RIFF\0\0\0\0WEBP" + struct.pack("<4sI", b"JUNK", 2**32 - 1),
        b"GIF89a" + b"\x21\xfe\xff" + MARK,
        b"GIF89a" + MARK,
        b"\x1a\x45\xdf\xa3",
        b"[" * 1_000_000,
        b'{"session": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b"[" + b"[]," * 500_000 + b"[]]",
        b'{"session": NaN}',
        b'{"session": "text"}',
        b'{"session": {"image_png": 3}}',
        b'{"session": {"image_png": "not base64!"}}',
        b'{"session": {"image_png": "aGFsbG8="}}',
        b'{"session": {"history": ' + b"[" * 600 + b"]" * 600 + b"}}",
        b'{"session": {"history": 1e999}}',
        b"PK\x03\x04" + b"\0" * 100,
        b"\x89PNG\r\n\x1a\n",
        b"",
    ],
    ids=range(21),
)
def test_damaged_files_are_refused_in_one_line(file):
    with small_files.refused_in_one_line():
        json.dumps([facts for facts, _ in saved(file)], allow_nan=False)


def test_a_box_of_ours_may_be_damaged_too():
    box = struct.pack(">I", 8 + 16 + 30) + b"uuid" + BOX + MARK + b"[" * 15
    with pytest.raises(InputError, match="damaged"):
        saved(b"\0\0\0\x08ftyp" + box)


def test_a_picture_of_a_session_is_bounded_like_any_other():
    image = embed_payload("png", small_files.still("PNG"), b"x")  # any picture does
    session = {"image_png": base64.b64encode(image).decode()}
    facts = saved(json.dumps({"session": session}).encode())
    assert [pixels is not None for _, pixels in facts] == [False, False, True]
    large = io.BytesIO()
    small_files.Image.fromarray(small_files.picture(65, 20)).save(large, "PNG")
    session = {"image_png": base64.b64encode(large.getvalue()).decode()}
    with pytest.raises(InputError, match="at most 64"):
        saved(json.dumps({"session": session}).encode())
    assert LARGEST_SESSION > 1_000_000
