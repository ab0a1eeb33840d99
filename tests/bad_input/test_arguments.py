"""What people type: whatever it is, a command answers a mistake in one line and leaves nothing behind."""

import os
from pathlib import Path

import pytest

from commands import files
from refusals import assert_refused

pytestmark = pytest.mark.usefixtures("in_bounds")
ESCAPE = "\x1b[31m\x07"
LONG = "a" * 100_000
NAME = "n" * 300
GOOD = "poke picture.png --poke 32,24,6,3 --model tiny.safetensors --out out.webp"
TRAIN = "train CLIPS --recipe tiny-64 --set clip.frames=4 --out out"
EVALUATE = "evaluate tiny.safetensors CLIPS --out out"
LINES = [
    *(
        GOOD.replace("32,24,6,3", drag)
        for drag in ("1e999,1,1,1", "1e300,1,1,1", "1,1,1e300,1", ",,,", "", LONG, ESCAPE)
    ),
    GOOD.replace("32,24,6,3", "1,1,-inf,0"),
    GOOD.replace("32,24,6,3", "1," * 50_000),
    GOOD + " --poke 1,1,1,1" * 100,
    GOOD + " --pin 1,1" * 100,
    GOOD + " --pin nan,1",
    *(f"{GOOD} --samples {value}" for value in ("257", "1e3", "9" * 5000, "nan", "1.5", "", ESCAPE)),
    *(f"{GOOD} --seed {value}" for value in (2**63, "9" * 5000, "1.5", "nan")),
    *(f"{GOOD} --temperature {value}" for value in ("2.5", "inf", "-inf", "1e300", ESCAPE, "")),
    *(f"{GOOD} --{ESCAPE}{LONG} 1", f"{GOOD} {ESCAPE}", f"{ESCAPE}{LONG}", f"{GOOD} --unguided={ESCAPE}"),
    *(
        GOOD.replace("out.webp", name)
        for name in ("fifo.webp", "folder.webp", "null.webp", f"{NAME}.webp", f"{LONG}.webp")
    ),
    *(GOOD.replace("out.webp", name) for name in (f"{ESCAPE}.jpeg", "", ".", "/", "picture.png", "to-picture.png")),
    *(
        GOOD.replace("tiny.safetensors", name)
        for name in ("fifo", "zero", "folder.webp", NAME, LONG, ESCAPE, "", "picture.png")
    ),
    "poke --replay fifo --out out.webp",
    "poke --replay zero --out out.webp",
    "poke --replay folder.webp --out out.webp",
    f"poke --replay {ESCAPE} --out out.webp",
    f"poke --replay {NAME} --out out.webp",
    "poke --replay picture.png --out picture.png",
    *(
        f"correlation picture.png --at {place} --model tiny.safetensors --out a.png"
        for place in ("nan,1", "1e9,1", "-1,1", "1")
    ),
    "correlation picture.png --at 1,1 --pokes 1000000000 --model tiny.safetensors --out a.png",
    "correlation picture.png --at 1,1 --model tiny.safetensors --out folder.png",
    "correlation picture.png --at 1,1 --model tiny.safetensors --out fifo.png",
    "transfer film.mp4 picture.png --stride 1000000000000 --model tiny.safetensors --out a.webp",
    "score film.mp4 --stride 1000000000000 --model tiny.safetensors",
    "score film.mp4 --poke 1e9,1,1,1 --model tiny.safetensors",
    "score film.mp4 --poke nan,1,1,1 --model tiny.safetensors",
    f"info {ESCAPE}",
    f"info {LONG}",
    "info fifo",
    "info zero",
    *(f"serve --port {port}" for port in ("-1", "65536", "9" * 5000, "nan", ESCAPE)),
    f"serve --host {ESCAPE}",
    f"serve --host {LONG} --open-to-others",
    "serve --host 127.0.0.1.5 --open-to-others",
    f"serve --token {LONG} --model nobody",
    f"serve --token 0123456789abcdef{ESCAPE} --model nobody",
    "serve --token 0123456789abcdef\udcff --model nobody",
    *(f"scenes --out out --size {size}" for size in ("1e9", 32 * 10**9, "9" * 5000, "2048", ESCAPE)),
    f"scenes --out out --clips {10**12}",
    f"scenes --out out --workers {10**9}",
    "scenes --out fifo",
    f"scenes --out {NAME}",
    *(f"prepare film.mp4 --out out --size {size}" for size in (15, 2048, 10**30)),
    *(f"prepare film.mp4 --out out --frames {frames}" for frames in (0, 5000, 10**30)),
    *(f"prepare film.mp4 --out out --stride {stride}" for stride in (0, 5000, 10**30)),
    *(f"prepare film.mp4 --out out --test-fraction {share}" for share in ("nan", "inf", "1.5", "-1", ESCAPE)),
    f"prepare film.mp4 --out out --test-videos {ESCAPE}",
    f"prepare film.mp4 --out out --test-videos {LONG}",
    f"prepare film.mp4 --out out --test-videos {'*a' * 5000}",
    f"prepare film.mp4 --out out --workers {10**9}",
    f"prepare {ESCAPE} --out out",
    f"prepare {NAME} --out out",
    "prepare fifo --out out",
    "prepare fifo.mp4 --out out",
    "prepare zero --out out",
    "prepare pipes --out out",
    "prepare film.mp4 --out fifo",
    "prepare film.mp4 --out film.mp4",
    "prepare folder.webp --dataset plants --out out",
    f"{TRAIN} --threads {10**9}",
    f"{TRAIN} --device {ESCAPE}",
    f"{TRAIN} --device {LONG}",
    f"{TRAIN} --device cuda:-1",
    f"{TRAIN} --stage {ESCAPE}",
    TRAIN.replace("CLIPS", "fifo"),
    TRAIN.replace("CLIPS", ESCAPE),
    TRAIN.replace("CLIPS", NAME),
    TRAIN.replace("tiny-64", "fifo"),
    TRAIN.replace("tiny-64", "fifo.toml"),
    TRAIN.replace("tiny-64", LONG),
    TRAIN.replace("--out out", "--out fifo"),
    TRAIN.replace("--out out", f"--out {NAME}"),
    *(f"{EVALUATE} --samples {count}" for count in (1, 257, 10**30)),
    *(f"{EVALUATE} --cloud {count}" for count in (1, 1025, 10**30)),
    *(f"{EVALUATE} --{option} {10**30}" for option in ("most", "calibrated", "batch", "workers", "seed")),
    f"{EVALUATE} --pokes 6",
    f"{EVALUATE} --protocol {ESCAPE}",
    EVALUATE.replace("--out out", "--out fifo"),
    EVALUATE.replace("--out out", f"--out {NAME}"),
    f"table 1 CLIPS --model {ESCAPE}=tiny.safetensors --out out",
    f"table 1 CLIPS --model {NAME}=tiny.safetensors --out out",
    "table 1 CLIPS --model ..=tiny.safetensors --out out",
    "table 1 CLIPS --model .=tiny.safetensors --out out",
    "table 1 CLIPS --model $x{=tiny.safetensors --out out",
    "table 1 CLIPS --model a|b=tiny.safetensors --out out",
    GOOD.replace("out.webp", "taken.webp"),
    f"calibrate tiny.safetensors CLIPS --out a.safetensors --samples {10**30}",
    f"calibrate tiny.safetensors CLIPS --out a.safetensors --most {10**30}",
    "calibrate tiny.safetensors CLIPS --out folder.safetensors",
    "calibrate tiny.safetensors CLIPS --out fifo.safetensors",
    "calibrate tiny.safetensors CLIPS --out tiny.safetensors",
    "figure samples tiny.safetensors CLIPS --split train --out out --clip -1",
    f"figure samples tiny.safetensors CLIPS --split train --out out --clip {10**30}",
    f"figure samples tiny.safetensors CLIPS --out out --samples {10**30}",
    "figure samples tiny.safetensors CLIPS --out fifo",
    f"figure ambiguity tiny.safetensors CLIPS --out out --samples {10**30}",
    "export tiny.safetensors --out folder.onnx",
    "export tiny.safetensors --out fifo.onnx",
    "export fifo --out a.onnx",
    "bench --json folder.webp",
    "bench --json fifo",
    f"bench --size {ESCAPE}",
    "import-official fifo --out out",
    "import-official zero --out out",
    f"import-official {ESCAPE}.ckpt --out out",
    f"import-official {NAME}.ckpt --out out",
    "demo --out fifo",
    "demo --out picture.png",
]


@pytest.fixture
def mess(tmp_path, picture, model_file) -> Path:
    """A folder of a picture, a film and a model, and of what is no file at all."""
    from ipoke.data.codec import encode_mp4
    from tiny import MovingSquares

    (tmp_path / "tiny.safetensors").symlink_to(model_file)
    (tmp_path / "film.mp4").write_bytes(encode_mp4(MovingSquares(1).clip(0), 25))
    for ending in ("", ".webp", ".png", ".mp4", ".toml", ".safetensors", ".onnx"):
        os.mkfifo(tmp_path / f"fifo{ending}")
    for ending in (".webp", ".png", ".safetensors", ".onnx"):
        (tmp_path / f"folder{ending}").mkdir()
    (tmp_path / "taken.json").mkdir()
    (tmp_path / "pipes").mkdir()
    os.mkfifo(tmp_path / "pipes" / "a.mp4")
    os.mkfifo(tmp_path / "pipes" / "b.webp")
    (tmp_path / "zero").symlink_to("/dev/zero")
    (tmp_path / "null.webp").symlink_to("/dev/null")
    (tmp_path / "to-picture.png").symlink_to("picture.png")
    return tmp_path


def short(line: str) -> str:
    return line.encode("ascii", "replace").decode().replace(ESCAPE, "ESC").replace(LONG, "LONG")[:90]


@pytest.mark.parametrize("line", LINES, ids=short)
def test_a_mistake_is_answered_in_one_line_and_leaves_nothing(ipoke, mess, clip_set, monkeypatch, line):
    monkeypatch.chdir(mess)
    before = {path.name for path in mess.rglob("*")}, files(mess)
    words = [word.replace("CLIPS", str(clip_set)) for word in line.split(" ")]
    answer = ipoke(*words)
    assert_refused(answer)
    assert ({path.name for path in mess.rglob("*")}, files(mess)) == before


def test_names_reach_the_terminal_without_escapes(ipoke, mess, monkeypatch):
    monkeypatch.chdir(mess)
    answer = ipoke(*GOOD.replace("out.webp", f"{ESCAPE}two\nlines.png").split(" "), "--samples", 1)
    assert answer.code == 0, answer
    assert answer.out == "wrote \\x1b[31m\\x07two\\nlines.png\n"


def test_what_the_encoding_of_the_terminal_lacks_is_escaped(tmp_path):
    import subprocess
    import sys

    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-m", "ipoke", "ü\udcff"]
    answer = subprocess.run(command, env=environment, capture_output=True, timeout=60, check=False)
    assert answer.returncode == 2
    assert answer.stderr.startswith(b'ipoke: Unknown command "\\xfc\\udcff".')
