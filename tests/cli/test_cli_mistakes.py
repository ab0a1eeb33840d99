import io
import struct
import zlib
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from commands import PICTURE, Answer, files, is_one_line


def png_header(width: int, height: int) -> bytes:
    """Give a PNG that promises many pixels and holds none."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.fixture
def mess(tmp_path, picture, model_file) -> Path:
    """A folder of everything that can be wrong."""
    jpeg = io.BytesIO()
    Image.fromarray(PICTURE).save(jpeg, format="JPEG")
    (tmp_path / "cut.jpg").write_bytes(jpeg.getvalue()[: len(jpeg.getvalue()) // 2])
    (tmp_path / "bomb.png").write_bytes(png_header(30_000, 30_000))
    (tmp_path / "big bomb.png").write_bytes(png_header(60_000, 60_000))
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "empty").mkdir()
    (tmp_path / "tiny.safetensors").write_bytes(model_file.read_bytes())
    (tmp_path / "cut.safetensors").write_bytes(model_file.read_bytes()[:5000])
    (tmp_path / "text.safetensors").write_text("no weights")
    save_file({"weight": torch.zeros(3)}, tmp_path / "foreign.safetensors")
    torch.save({"weight": torch.zeros(3)}, tmp_path / "pickled.safetensors")
    return tmp_path


GOOD = "poke picture.png --poke 32,24,6,3 --model tiny.safetensors --out out.webp"


class TestMistakes:
    @pytest.mark.parametrize(
        ("line", "fragments"),
        [
            (GOOD.replace("picture.png", "cut.jpg"), ("cut.jpg", "truncated or damaged")),
            (GOOD.replace("picture.png", "bomb.png"), ("bomb.png", "64 megapixels")),
            (GOOD.replace("picture.png", "big*bomb.png"), ("bomb.png", "64 megapixels")),
            (GOOD.replace("picture.png", "text.png"), ("text.png", "not an image")),
            (GOOD.replace("picture.png", "nowhere.png"), ("nowhere.png", "no such file")),
            (GOOD.replace("picture.png", "empty"), ("empty", "is a folder")),
            (GOOD.replace("32,24,6,3", "64,24,6,3"), ("outside the image of 64 x 64 px", "0..63")),
            (GOOD.replace("32,24,6,3", "-1,24,6,3"), ("outside the image",)),
            (GOOD.replace("32,24,6,3", "nan,1,2,3"), ("nan,1,2,3", "finite numbers x,y,dx,dy")),
            (GOOD.replace("32,24,6,3", "1,2,inf,3"), ("inf", "finite")),
            (GOOD.replace("32,24,6,3", "1,2,3"), ("--poke", "'1,2,3'", "x,y,dx,dy", "such as")),
            (GOOD.replace("32,24,6,3", "left"), ("--poke", "'left'")),
            (GOOD + " 1,2 3,4", ("'1,2 3,4'", "expected no further arguments", "name before each value")),
            (GOOD + " --pin 1", ("--pin", "x,y in px")),
            (GOOD + " --pin 70,1", ("outside the image",)),
            (GOOD.replace("out.webp", "out.jpeg"), ("--out", "out.jpeg", ".webp, .gif, .mp4, .png")),
            (GOOD.replace("out.webp", "picture.png/out.webp"), ("cannot be written",)),
            (GOOD + " --samples -1", ("--samples", "-1")),
            (GOOD + " --samples 0", ("--samples", ">= 1")),
            (GOOD + " --samples 1000", ("samples: got 1000", "256")),
            (GOOD + " --samples many", ("--samples", "many")),
            (GOOD + " --seed -1", ("--seed", ">= 0")),
            (GOOD + " --temperature -1", ("temperature: got -1.0", "0")),
            (GOOD + " --temperature nan", ("temperature", "nan")),
            (GOOD + " --tempreture 1", ("--tempreture", "Did you mean --temperature?")),
            (GOOD + " another.png", ("another.png",)),
            (GOOD.replace("tiny.saf", "cut.saf"), ("cut.safetensors", "cannot read")),
            (GOOD.replace("tiny.saf", "text.saf"), ("text.safetensors", "cannot read")),
            (GOOD.replace("tiny.saf", "pickled.saf"), ("pickled.safetensors", "cannot read")),
            (GOOD.replace("tiny.saf", "foreign.saf"), ("foreign.safetensors", "not an ipoke model")),
            (GOOD.replace("tiny.safetensors", "empty"), ("empty", "no model.safetensors")),
            (GOOD.replace("tiny.safetensors", "nobody"), ("nobody", "run directory")),
            ("poke --out out.webp", ("image: got none", "--replay")),
            ("poke --replay nowhere.json --out out.webp", ("nowhere.json", "cannot read")),
            ("poke --replay text.png --out out.webp", ("text.png", "not a session")),
            ("poke picture.png", ("--out",)),
            ("serve --host 0.0.0.0", ("--host", "0.0.0.0", "--open-to-others")),
            ("serve --token short", ("--token", "5 characters", "16 to 200")),
            ("serve --port 70000", ("--port", "70000")),
            ("pok picture.png", ("pok", 'Did you mean "poke"?')),
            ("prepare empty --out out", ("no video found", "empty")),
            ("prepare nowhere --out out", ("nowhere", "no such")),
            ("prepare --out out", ("VIDEOS",)),
            ("score text.png --model tiny.safetensors", ("text.png",)),
            ("score nowhere.mp4 --model tiny.safetensors", ("nowhere.mp4", "no such file")),
            ("score picture.png --model tiny.safetensors", ("too short, got 1 frames",)),
            ("transfer picture.png picture.png --model tiny.safetensors --out out.gif", ("too short",)),
            ("train CLIPS --recipe tiny-46 --out out", ("'tiny-46'", "did you mean tiny-64?")),
            ("train CLIPS --recipe no.toml --out out", ("no.toml", "cannot read")),
            ("train CLIPS --recipe tiny-64 --set train.sede=1 --out out", ("train.sede", "did you mean seed?")),
            ("train CLIPS --recipe tiny-64 --set train.seed --out out", ("--set", "key=value")),
            ("train CLIPS --recipe tiny-64 --set train.seed=x --out out", ("train.seed", "'x'")),
            ("train CLIPS --recipe tiny-64 --out out", ("4 frames", "tiny-64 expects")),
            ("train empty --recipe tiny-64 --out out", ("empty", "not a prepared set")),
            ("train CLIPS --recipe tiny-64 --device tpu --out out", ("--device", "'tpu'", "cpu")),
            ("train CLIPS --recipe tiny-64 --device cuda:99 --out out", ("--device", "cuda:99")),
            ("train CLIPS --recipe tiny-64 --set clip.frames=4 --stage sleep --out out", ("--stage", "'sleep'")),
            ("train CLIPS --recipe tiny-64 --threads 0 --out out", ("--threads",)),
            ("train CLIPS --recipe tiny-64 --set clip.frames=4 --out text.png", ("text.png", "folder")),
            ("train CLIPS --recipe tiny-64 --set clip.frames=4 --out .", ("not empty and not a run",)),
            ("evaluate tiny.safetensors empty --out out", ("empty", "not a prepared set")),
            ("evaluate tiny.safetensors CLIPS --samples 1 --out out", ("--samples", ">= 2")),
            ("scenes --out out --size 50", ("50", "multiple of 32")),
            ("scenes --out out --clips 0", ("--clips",)),
            ("scenes --out out --seed -1", ("--seed", ">= 0")),
            ("scenes --out text.png", ("text.png",)),
            ("info nobody", ("nobody",)),
            ("info empty", ("empty", "no model.safetensors")),
        ],
    )
    def test_one_line_and_nothing_written(self, ipoke, mess, clip_set, monkeypatch, line, fragments):
        monkeypatch.chdir(mess)
        before = files(mess)
        words = [word.replace("CLIPS", str(clip_set)).replace("*", " ") for word in line.split()]
        answer = ipoke(*words)
        assert is_one_line(answer, *fragments), answer
        assert files(mess) == before

    def test_a_good_line_is_good(self, ipoke, mess, monkeypatch):
        monkeypatch.chdir(mess)
        assert ipoke(*GOOD.split()) == Answer(0, "wrote out.webp\n", "")
