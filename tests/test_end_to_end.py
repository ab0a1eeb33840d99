"""The whole way of a newcomer, by the commands alone and in a folder of their own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from ipoke.core.recipe import STAGES
from ipoke.data.video import read_frames, write_video

CLIPS = 16
SHORT = (
    *("--threads", 1),
    *("--set", "clip_decoder.rollout_layers=2", "--set", "autoencoder_losses.adversarial_start=0.5"),
    *(word for stage in STAGES for word in ("--set", f"train.{stage}.clips={CLIPS}")),
    *(word for stage in STAGES for word in ("--set", f"train.{stage}.batch=8")),
)


def alone(folder: Path, *words: str | int) -> str:
    """Run the installed command in a process of its own; give what it says."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "error::UserWarning:ipoke"}
    done = subprocess.run(
        [sys.executable, "-m", "ipoke", *map(str, words)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_from_simulated_clips_to_a_report(tmp_path, ipoke, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert alone(tmp_path, "scenes", "--out", "clips", "--clips", 24) == "clips: 24 clips of 64 px\n"
    trained = alone(tmp_path, "train", "clips", "--recipe", "tiny-64", "--out", "run", *SHORT)
    assert trained == "wrote run/model.safetensors\n"
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [name for name in STAGES if any(row["stage"] == name and row["clips"] == CLIPS for row in rows)] == list(
        STAGES
    )
    samples = {file.name for file in (tmp_path / "run" / "samples").iterdir()}
    assert {f"{name}-{CLIPS:08}.png" for name in STAGES} <= samples

    cv2.imwrite(str(tmp_path / "still.png"), np.random.default_rng(0).integers(0, 256, (90, 60, 3), dtype=np.uint8))
    alone(tmp_path, "poke", "still.png", "--poke", "30,40,8,-3", "--model", "run", "--out", "answer/samples.webp")
    assert len(list(read_frames(tmp_path / "answer" / "samples.webp"))) > 1
    assert ipoke("poke", "--replay", "answer/samples.json", "--out", "again.webp").code == 0
    assert (tmp_path / "again.webp").read_bytes() == (tmp_path / "answer" / "samples.webp").read_bytes()

    said = ipoke("evaluate", "run", "clips", "--out", "report", "--most", 2, "--samples", 2, "--calibrated", 1).out
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert report["metrics"]["nll_bits_per_dim"]["value"] is not None
    assert said.startswith((tmp_path / "report" / "report.md").read_text())
    assert list((tmp_path / "report" / "strips").glob("*.png"))
    assert "trained_on" in ipoke("info", "run").out


def test_from_videos_to_a_trained_stage(tmp_path, ipoke, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for number in range(3):
        texture = cv2.GaussianBlur(rng.integers(0, 255, (96, 200, 3), dtype=np.uint8), (0, 0), 3)
        square = cv2.GaussianBlur(rng.integers(0, 255, (40, 40, 3), dtype=np.uint8), (0, 0), 2)
        frames = np.stack([texture[:, :128]] * 24)
        for step, frame in enumerate(frames):
            frame[30:70, 20 + 2 * step : 60 + 2 * step] = square
        write_video(tmp_path / "videos" / f"walk {number}.mp4", frames, 25)
    said = ipoke("prepare", "videos", "--out", "clips", "--test-fraction", "0.3", "--workers", 1)
    assert "3 videos kept, 0 dropped" in said.out
    trained = ipoke("train", "clips", "--recipe", "tiny-64", "--stage", "autoencoder", "--out", "run", *SHORT)
    assert trained.out == "wrote run/checkpoints/autoencoder.safetensors\n"
