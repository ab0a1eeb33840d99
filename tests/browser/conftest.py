"""A server of its own and a real browser."""

import os
import shutil
import subprocess
import sys
from contextlib import contextmanager

import pytest

CHROMIUM = next((path for name in ("chromium", "chromium-browser") if (path := shutil.which(name))), None)
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]


@contextmanager
def running(port=0):
    """Serve the studio in a process of its own; gives its address and the process."""
    command = [sys.executable, "-m", "ipoke", "serve", "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"OMP_NUM_THREADS": "2"})
    try:
        line = process.stdout.readline() if process.stdout else ""
        yield line.split()[-1], process
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="session")
def server():
    with running() as (address, _):
        yield address


@pytest.fixture(scope="session")
def chromium():
    if CHROMIUM is None:
        pytest.skip("no chromium here; install it (Debian: apt-get install chromium) to try the page in a browser")
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed; pip install -e '.[browser]'"
    )
    with playwright.sync_playwright() as api:
        browser = api.chromium.launch(executable_path=CHROMIUM, headless=True, args=FLAGS)
        yield browser
        browser.close()
