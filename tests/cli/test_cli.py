import errno
import json
import os
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image

import tiny
from commands import PICTURE, Answer, files, is_one_line
from ipoke.data.images import read_image, write_png
from ipoke.data.video import read_frames, write_video
from ipoke.evaluation.bench import sampling, ways
from ipoke.evaluation.bench.machine import Ceiling
from ipoke.evaluation.bench.operations import gflop
from ipoke.sampling import model
from ipoke.sampling.model import PokeModel, load

USE = ("demo", "poke", "transfer", "correlation", "score", "export", "info")
MAKE = ("scenes", "prepare", "train", "import-official", "bench")
MEASURE = ("evaluate", "table", "figure")
COMMANDS = (*USE, *MAKE, *MEASURE)


class TestHelp:
    @pytest.mark.parametrize("command", COMMANDS)
    def test_every_command_explains_itself(self, ipoke, command):
        answer = ipoke(command, "--help")
        assert answer.code == 0
        assert answer.out.startswith(f"Usage: ipoke {command}")
        assert answer.err == ""

    def test_the_commands_are_all_listed(self, ipoke):
        answer = ipoke("--help")
        listed = [line.split()[1] for line in answer.out.splitlines() if line[:3] == "│ " + line[2:3].strip()]
        assert [word for word in listed if word in COMMANDS] == list(COMMANDS)
        assert ipoke().out == answer.out

    def test_help_and_mistakes_answer_without_pytorch(self):
        code = (
            "import sys; from ipoke.cli import program; sys.argv = ['ipoke', *'train x --recipe no --out y'.split()]\n"
            "try: program.main()\nexcept SystemExit as e: print(e.code, 'torch' in sys.modules)"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.split() == ["2", "False"]


class TestPoke:
    def test_one_sample_plays_at_the_size_of_an_odd_picture(self, ipoke, tmp_path, model_file):
        write_png(tmp_path / "odd.png", np.tile(PICTURE, (2, 2, 1))[:75, :101])
        for ending in ("webp", "gif", "mp4", "png"):
            out = tmp_path / "made" / f"one.{ending}"
            drag = ("--poke", "50.5,30,9,-4", "--pin", "3,70")
            answer = ipoke("poke", tmp_path / "odd.png", *drag, "--samples", 1, "--model", model_file, "--out", out)
            assert answer == Answer(0, f"wrote {out}\n", "")
            if ending == "png":
                assert read_image(out).shape[0] >= 75
            else:
                played = list(read_frames(out))
                expected = (76, 102, 3) if ending == "mp4" else (75, 101, 3)
                assert (len(played), played[0].shape) == (tiny.FRAMES + 1, expected)
        assert files(tmp_path / "made") == {"one.webp", "one.gif", "one.mp4", "one.png", "one.json"}

    @pytest.mark.parametrize("ending", ["webp", "gif", "mp4", "png"])
    def test_several_samples_replay_to_the_same_bytes(self, ipoke, tmp_path, picture, model_file, ending, monkeypatch):
        first, again = tmp_path / "a" / f"first.{ending}", tmp_path / "b" / f"again.{ending}"
        drags = ("--poke", "32,24,6,3", "--poke", "20,40,-4,0", "--samples", 3, "--seed", 7)
        assert ipoke("poke", picture, *drags, "--model", model_file, "--out", first).code == 0
        monkeypatch.chdir("/")
        assert ipoke("poke", "--replay", first.with_suffix(".json"), "--out", again).code == 0
        assert again.read_bytes() == first.read_bytes()
        assert files(tmp_path / "b") == {again.name}

    @pytest.mark.parametrize("unguided", [[], ["--unguided"], ["--as-drawn"]])
    def test_a_session_records_guidance(self, ipoke, tmp_path, picture, model_file, unguided):
        first, again = tmp_path / "first.gif", tmp_path / "again.gif"
        words = ["poke", picture, "--poke", "32,24,6,3", "--model", model_file, "--out", first]
        assert ipoke(*words, *unguided).code == 0
        session = json.loads(first.with_suffix(".json").read_text())
        assert session["guidance"] is not bool(unguided)
        assert ipoke("poke", "--replay", first.with_suffix(".json"), "--out", again).code == 0
        assert again.read_bytes() == first.read_bytes()
        del session["guidance"]  # as the oldest version wrote it, which had none
        first.with_suffix(".json").write_text(json.dumps(session))
        assert ipoke("poke", "--replay", first.with_suffix(".json"), "--out", again).code == 0
        assert (again.read_bytes() == first.read_bytes()) is bool(unguided)

    def test_pokes_are_in_the_upright_picture(self, ipoke, tmp_path, model_file):
        rotated = Image.fromarray(PICTURE[:20, :40])
        exif = Image.Exif()
        exif[0x0112] = 6
        rotated.save(tmp_path / "phone.jpg", exif=exif)
        out = tmp_path / "upright.gif"
        words = ("poke", tmp_path / "phone.jpg", "--samples", 1, "--model", model_file, "--out", out)
        assert ipoke(*words, "--poke", "10,35,0,-5").code == 0
        assert next(read_frames(out)).shape == (40, 20, 3)
        assert is_one_line(ipoke(*words, "--poke", "35,10,0,-5"), "outside the image of 20 x 40 px")

    def test_replay_notices_another_picture_and_another_model(self, ipoke, tmp_path, picture, model_file):
        mine = tmp_path / "mine.safetensors"
        mine.write_bytes(model_file.read_bytes())
        out = tmp_path / "out.webp"
        assert ipoke("poke", picture, "--poke", "32,24,6,3", "--model", mine, "--out", out, "--samples", 1).code == 0
        made = out.read_bytes()
        replay = ("poke", "--replay", tmp_path / "out.json", "--out", out)
        torch.manual_seed(3)
        other = PokeModel(tiny.tiny_recipe())
        z, cond = torch.randn(4, other.recipe.latent_channels, 8, 8), torch.randn(4, other.conditions.channels, 8, 8)
        other.latent_flow.initialise(z, cond)
        other.save(mine, {})
        assert is_one_line(ipoke(*replay), "weights", "restore that model")
        write_png(picture, PICTURE[::-1].copy())
        assert is_one_line(ipoke(*replay), "its pixels are not those")
        picture.unlink()
        assert is_one_line(ipoke(*replay), "no such file")
        (tmp_path / "out.json").write_text('{"format": "ipoke-session-1"')
        assert is_one_line(ipoke(*replay), "not a session")
        assert is_one_line(ipoke(*replay, "--poke", "1,2,3,4"), "expected the session alone")
        assert out.read_bytes() == made

    def test_what_was_given_is_never_written_over(self, ipoke, tmp_path, picture, model_file):
        before = picture.read_bytes()
        words = ("--model", model_file, "--out", picture)
        assert is_one_line(ipoke("poke", picture, "--poke", "32,24,6,3", *words), "choose another name")
        assert is_one_line(ipoke("correlation", picture, "--at", "32,24", *words), "choose another name")
        assert picture.read_bytes() == before

    def test_an_answer_is_not_written_without_its_session(self, ipoke, tmp_path, picture, model_file):
        (tmp_path / "out.json").mkdir()
        before = files(tmp_path)
        words = ("--poke", "32,24,6,3", "--samples", "1", "--model", model_file, "--out", tmp_path / "out.png")
        assert is_one_line(ipoke("poke", picture, *words), "out.json: is a folder")
        assert files(tmp_path) == before

    @pytest.mark.parametrize("where", ["os.replace", "PIL.Image.Image.save"])
    def test_a_full_disk_leaves_nothing_half_written(self, ipoke, tmp_path, picture, model_file, where, monkeypatch):
        def refuse(*_: object, **__: object) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        before = files(tmp_path)
        monkeypatch.setattr(where, refuse)
        for ending in ("webp", "gif", "png"):
            out = tmp_path / f"out.{ending}"
            answer = ipoke("poke", picture, "--poke", "32,24,6,3", "--model", model_file, "--out", out)
            assert is_one_line(answer, str(out), "No space left")
        assert files(tmp_path) == before


class TestOtherUses:
    def test_a_video_is_scored_and_transferred(self, ipoke, tmp_path, picture, model_file):
        video, out = tmp_path / "video.gif", tmp_path / "moved.webp"
        write_video(video, tiny.MovingSquares(1).clip(0), 10)
        answer = ipoke("score", video, "--model", model_file)
        assert answer.code == 0
        assert answer.out.startswith("log-likelihood ")
        assert ipoke("transfer", video, picture, "--model", model_file, "--out", out).code == 0
        assert len(list(read_frames(out))) == tiny.FRAMES + 1
        short = ("--model", model_file, "--stride", 3)
        assert is_one_line(ipoke("score", video, *short), "too short", "smaller --stride")
        out.unlink()
        assert is_one_line(ipoke("transfer", video, picture, *short, "--out", out), "too short")
        assert not out.exists()

    @pytest.mark.parametrize("name", ["correlation", "affinity"])
    def test_motion_correlation_is_drawn_over_the_picture(self, ipoke, tmp_path, picture, model_file, name):
        out = tmp_path / "map.png"
        words = (name, picture, "--pokes", 3, "--model", model_file)
        assert ipoke(*words, "--at", "32,24", "--out", out) == Answer(0, f"wrote {out}\n", "")
        assert read_image(out).shape == (256, 256, 3)
        assert is_one_line(ipoke(*words, "--at", "32", "--out", tmp_path / "b.png"), "--at", "x,y in px")
        assert is_one_line(ipoke(*words, "--at", "-9,3", "--out", tmp_path / "b.png"), "outside")
        assert is_one_line(ipoke(*words, "--at", "1,3", "--out", tmp_path / "b.gif"), "ending in .png")

    def test_the_demo_writes_what_it_says(self, ipoke, tmp_path, model_file, monkeypatch):
        bundled, out = tmp_path / "bundled", tmp_path / "out"
        bundled.mkdir()
        (bundled / "scenes-64.safetensors").write_bytes(model_file.read_bytes())
        write_png(bundled / "still.png", PICTURE.repeat(4, axis=0).repeat(4, axis=1))
        monkeypatch.setattr(model, "BUNDLED", bundled)
        answer = ipoke("demo", "--out", out)
        assert answer.code == 0
        assert files(out) == {"demo.webp", "demo.mp4", "demo.png", "demo.json", "still.png"}
        assert f"--replay {out / 'demo.json'}" in answer.out
        again = tmp_path / "again.webp"
        assert ipoke("poke", "--replay", out / "demo.json", "--out", again).code == 0
        assert again.read_bytes() == (out / "demo.webp").read_bytes()

    def test_info_describes_the_installation_and_a_model(self, ipoke, model_file):
        here = ipoke("info")
        assert here.code == 0
        assert all(word in here.out for word in ("torch", "recipes", "lean-64", "plants-64", "tiny-64"))
        there = ipoke("info", model_file)
        assert there.code == 0
        assert all(word in there.out for word in ("8 x 8 x 8 = 512 dimensions", "trained_on", "nothing"))
        assert load(model_file).sha256 in there.out.split()

    @pytest.mark.slow
    def test_a_model_is_exported(self, ipoke, tmp_path, model_file, monkeypatch):
        monkeypatch.chdir(tmp_path)
        answer = ipoke("export", model_file)
        assert answer.code == 0
        assert answer.out.startswith("wrote tiny.onnx; its frames differ from the model's by at most ")
        assert answer.err == ""
        assert (tmp_path / "tiny.onnx").stat().st_size > 100_000
        assert is_one_line(ipoke("export", model_file, "--out", "model.bin"), "model.bin", "ending in .onnx")
        monkeypatch.setitem(sys.modules, "onnxruntime", None)
        assert is_one_line(ipoke("export", model_file), "onnxruntime is not installed", "pip install 'ipoke[onnx]'")

    @pytest.mark.slow
    def test_the_bench_writes_what_it_shows(self, ipoke, tmp_path, monkeypatch):
        monkeypatch.setattr(sampling, "available_gib", lambda: 0.0)
        monkeypatch.setattr(ways, "has_onnx", lambda: False)
        monkeypatch.setattr(sampling, "peak_mib", lambda _: 300.0)
        monkeypatch.setattr(sampling, "ceilings", lambda: {p: Ceiling(100.0, 200.0) for p in ("float32", "bfloat16")})
        monkeypatch.setattr(sampling, "gflop", lambda recipe: gflop(tiny.tiny_recipe(f"name={recipe.name!r}")))
        monkeypatch.setattr(sampling, "measure", partial(sampling.measure, batches=(1, 8), rounds=1))
        out = tmp_path / "bench.json"
        answer = ipoke("bench", "--json", out)
        assert answer.code == 0
        assert "scenes-64" in answer.out
        assert "unavailable: " in answer.out
        kept = json.loads(out.read_text())
        assert kept["command"] == "ipoke bench --size 64"
        assert {
            "part",
            "model",
            "size",
            "batch",
            "dtype",
            "median_ms",
            "min_ms",
            "peak_mib",
            "gflop",
            "floor_ms",
        } == set(kept["rows"][0])
        assert set(kept["ratios"]) == {"one_clip", "eight_samples", "flow_inverse", "peak_memory"}
        assert kept["complete"]
        assert is_one_line(ipoke("bench", "--json", tmp_path), str(tmp_path), "a folder")
        hurried = ipoke("bench", "--json", out, "--minutes", "1e-9")
        assert hurried.code == 0
        assert hurried.err.endswith(
            "partial: 1e-09 minutes did not suffice for one round; repeat the command to resume\n"
        )
        assert json.loads(out.read_text())["complete"] is False
        assert is_one_line(ipoke("bench", "--minutes", "0"), "--minutes")
