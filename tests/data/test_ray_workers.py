"""On one machine: two workers, one of which is killed while it works; and a cluster that is not there."""

import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from gliding import SMALL, contents, moving, save
from ipoke.core.errors import InputError
from ipoke.data import ray_workers
from ipoke.data.prepare import prepare

ray: Any = pytest.importorskip("ray")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds workers in /proc, which this system has not"),
]


@pytest.fixture
def videos(tmp_path):
    folder = tmp_path / "videos"
    for number in range(6):
        save(folder / f"video{number}.mp4", moving(40 + number, seed=number))
    return folder


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))


def kill_a_worker_at_work(killed: list[int], stop: threading.Event) -> None:
    """Kill the first process that Ray lets extract something."""
    while not killed and not stop.is_set():
        for process in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                if process.read_bytes().startswith(b"ray::_extract"):
                    os.kill(int(process.parent.name), signal.SIGKILL)
                    killed.append(int(process.parent.name))
                    return
            except OSError:
                continue
        time.sleep(0.002)


def test_nothing_is_lost_when_a_worker_is_killed(videos, tmp_path):
    prepare([videos], tmp_path / "alone", **SMALL)
    killed: list[int] = []
    stop = threading.Event()
    killer = threading.Thread(target=kill_a_worker_at_work, args=(killed, stop))
    killer.start()
    try:
        report = prepare([videos], tmp_path / "set", **SMALL, workers=2, ray=ray_workers.LOCAL)
    finally:
        stop.set()
        killer.join()
    assert len(killed) == 1
    assert report.added == 6
    assert all(row.segments for row in report.rows)
    assert contents(tmp_path / "set") == contents(tmp_path / "alone")
    assert not ray.is_initialized()


def test_a_video_on_which_workers_die_again_and_again_is_dropped(videos, tmp_path, monkeypatch):
    def dies_on_the_third(job):
        if job.video.path.name == "video2.mp4":
            os.kill(os.getpid(), signal.SIGKILL)
        return ray_workers.extract(job)

    # By value: the worker cannot import this file.
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    monkeypatch.setattr(ray_workers, "_extract", dies_on_the_third)
    monkeypatch.setattr(ray_workers, "RETRIES", 1)
    try:
        report = prepare([videos], tmp_path / "set", **SMALL, workers=2, ray=ray_workers.LOCAL)
    finally:
        ray.cloudpickle.unregister_pickle_by_value(sys.modules[__name__])
    kept = {row.video: bool(row.segments) for row in report.rows}
    assert kept.pop("videos/video2.mp4") is False
    assert all(kept.values())
    assert len(kept) == 5
    assert "2 processes that decoded it died" in "\n".join(report.lines())


def test_a_cluster_that_is_not_there_is_said_in_one_line(videos, tmp_path):
    with pytest.raises(InputError, match=r"--ray: no cluster at auto .*; start one with ray start, or use local"):
        prepare([videos], tmp_path / "set", **SMALL, ray="auto")


def test_without_ray_it_says_how_to_get_it(videos, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"needs Ray; install it with pip install 'ipoke\[ray\]'"):
        prepare([videos], tmp_path / "set", **SMALL, ray="local")
