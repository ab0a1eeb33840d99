"""What visitors send as files: nothing in them reaches the server's own files, programs or ports."""

import io
import json
import zipfile

import pytest
from starlette.testclient import TestClient

import ipoke
import small_files
from ipoke.studio.limits import LIMITS
from ipoke.studio.server import Studio, make_app

CALLS = ("/api/pictures", "/api/frame?at=1", "/api/transfer?picture=bear", "/api/reopen")


@pytest.fixture(scope="module")
def visitor():
    studio = Studio(ipoke.load("scenes-64"), "scenes-64", LIMITS._replace(files_per_visitor=9))
    with TestClient(make_app(studio), base_url="http://localhost") as client:
        yield client


@pytest.fixture
def in_a_private_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("private.mp4", "private001.png", "private.png"):
        kinds = small_files.VIDEOS if name.endswith("mp4") else small_files.STILLS
        (tmp_path / name).write_bytes(kinds[f"a.{name[-3:]}"]())


@pytest.mark.usefixtures("in_a_private_folder")
@pytest.mark.parametrize("name", small_files.NAMING_OTHERS)
@pytest.mark.parametrize("call", CALLS)
def test_no_file_reaches_another(visitor, call, name):
    answer = visitor.post(call, content=small_files.NAMING_OTHERS[name])
    assert answer.status_code == 415
    assert "private" not in answer.text
    assert len(answer.json()["error"]) < 300


@pytest.mark.parametrize("name", ["a.tiff", "a.ppm"])
def test_pictures_that_no_browser_shows_are_refused(visitor, name):
    answer = visitor.post("/api/pictures", content=small_files.STILLS[name]())
    assert (answer.status_code, "PNG, JPEG, WEBP, GIF or BMP" in answer.text) == (415, True)


def test_good_files_are_taken(visitor):
    assert visitor.post("/api/pictures", content=small_files.STILLS["a.webp"]()).json()["width"] == 32
    frame = visitor.post("/api/frame?at=0.1", content=small_files.VIDEOS["a.mkv"]()).json()
    assert (frame["width"], round(frame["seconds"], 1)) == (32, 0.2)
    animation = small_files.animation("WEBP", 20)
    lines = visitor.post("/api/transfer?picture=bear", content=animation).text.splitlines()
    assert json.loads(lines[0])["kind"] == "begin", lines[0]


def bomb():
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("session.json", b"[" * 60_000_000)
    return archive.getvalue()


@pytest.mark.parametrize(
    "file",
    [
        bomb,
        lambda: b'{"session": {"history": ' + b"[" * 150 + b"]" * 150 + b"}}",
        lambda: b'{"session": {"image_png": 3, "question": {}}}',
        lambda: b'{"session": {"format": "ipoke-studio-1", "name": "\xff"}}',
        lambda: b'{"session": {"history": NaN}}',
        lambda: b"\0\0\0\x08ftyp" + b"\0\0\0\x08free" * 1_000_000,
    ],
)
def test_damaged_sessions_are_refused(visitor, file):
    answer = visitor.post("/api/reopen", content=file())
    assert answer.status_code in (400, 415, 422)
    assert len(answer.json()["error"]) < 300
