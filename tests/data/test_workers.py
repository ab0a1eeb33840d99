"""How pools of processes end."""

import subprocess
import sys
import time
from typing import Any

import pytest

from ipoke.data import workers

SENDING = """
import time
from ipoke.data import workers
if {forgets}:
    workers._end_of_results = lambda pool: None

def large(number):
    return b"x" * (200_000_000 if number else 1)

def main():
    results = workers.in_order(large, [0, 1, 1, 1], 2)
    next(results)
    reader = results.gi_frame.f_locals["pool"]._result_queue._reader
    while not reader.poll():
        time.sleep(0.001)
    results.close()
    print("ended")

if __name__ == "__main__":
    main()
"""
"""A pool that is given up while one of its processes sends a large result."""


def gives_up(tmp_path, *, forgets: bool) -> str:
    script = tmp_path / "script.py"
    script.write_text(SENDING.format(forgets=forgets))
    try:
        done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=12 if forgets else 120)
    except subprocess.TimeoutExpired:
        return "hangs"
    return done.stdout.strip() or done.stderr


def test_a_pool_ends_although_a_result_is_half_sent(tmp_path):
    assert gives_up(tmp_path, forgets=False) == "ended"


@pytest.mark.slow
def test_a_pool_that_waits_for_the_other_half_is_caught(tmp_path):
    assert gives_up(tmp_path, forgets=True) == "hangs"


@pytest.mark.parametrize("taken", [0, 1])
def test_who_stops_taking_results_ends_the_pool(taken):
    results: Any = workers.in_order(len, ["one", "three", "seven"], 2)
    assert [next(results) for _ in range(taken)] == [3, 5][:taken]
    began = time.monotonic()
    results.close()
    assert time.monotonic() - began < 30
