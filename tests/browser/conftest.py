"""Fixtures: a server in its own process, a real browser, and a visitor who uses the page."""

import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from importlib.resources import files

import cv2
import numpy as np
import pytest
from PIL import Image

from ipoke.data.codec import encode_mp4

CHROMIUM = next((path for name in ("chromium", "chromium-browser") if (path := shutil.which(name))), None)
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]
LEAF, SIDE = (38, 137), 256
WIDTH, HEIGHT = 1200, 900
PATIENCE_MS = 30_000


@contextmanager
def running(port=0):
    """Serve the studio in a process of its own; gives its address, and a function that kills it."""
    command = [sys.executable, "-m", "ipoke", "serve", "--port", str(port)]
    settings = os.environ | {"OMP_NUM_THREADS": "2"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=settings, start_new_session=True) as process:

        def kill():
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

        try:
            line = process.stdout.readline() if process.stdout else ""
            assert line, "the server did not start"
            yield line.split()[-1], kill
        finally:
            kill()


class Visitor:
    """A visitor with the page open; records the calls of the page to the server."""

    def __init__(self, page, address, opened="Picture: still"):
        self.page, self.calls, self.script_errors = page, [], []
        page.set_default_timeout(PATIENCE_MS)
        page.on("request", self._note_call)
        page.on("pageerror", self._note_error)
        page.goto(address)
        self.hears(opened)

    def _note_call(self, request):
        self.calls.append(request.url.rpartition("/api/")[2])

    def _note_error(self, error):
        self.script_errors.append(str(error))

    def until(self, expression):
        """Wait until an expression holds; polled from outside, because the page may not evaluate strings."""
        self.until_true(lambda: self.page.evaluate(expression), expression)

    def until_true(self, holds, words):
        for _ in range(PATIENCE_MS // 50):
            if holds():
                return
            self.page.wait_for_timeout(50)
        raise AssertionError(f"never true: {words}; the status is: {self.status()}")

    def status(self):
        return self.page.locator("#status").text_content()

    def hears(self, words):
        """Wait until the status line contains some words; gives the whole line."""
        self.until(f"document.querySelector('#status').textContent.includes({json.dumps(words)})")
        return self.status()

    def place(self, x, y):
        """Convert a pixel of the picture to window coordinates."""
        box = self.page.locator("#picture").bounding_box()
        scale = box["width"] / SIDE
        return box["x"] + (x + 0.5) * scale, box["y"] + (y + 0.5) * scale

    def press(self, dx, dy, start=LEAF):
        """Drag without releasing."""
        self.page.mouse.move(*self.place(*start))
        self.page.mouse.down()
        for step in range(1, 7):
            self.page.mouse.move(*self.place(start[0] + dx * step / 6, start[1] + dy * step / 6))
            self.page.wait_for_timeout(40)

    def drag(self, dx, dy, start=LEAF):
        self.press(dx, dy, start)
        self.page.mouse.up()

    def poke(self, dx=0, dy=30, start=LEAF):
        """Drag, and wait for the clips; gives the status line."""
        self.drag(dx, dy, start)
        return self.hears("target error")

    def samples(self):
        return self.page.locator("#samples .sample").count()

    def pokes(self):
        return self.page.locator("#pokes .poke-select").all_text_contents()

    def without_pokes(self):
        self.until("document.querySelectorAll('#pokes li').length === 0")

    def ask_for(self, samples):
        """Set the number of samples; fewer arrive sooner."""
        self.page.select_option("#count", str(samples))

    def open(self, file, button="#open"):
        with self.page.expect_file_chooser() as chooser:
            self.page.click(button)
        chooser.value.set_files(file)

    def save(self, kind, folder):
        """Save the clips to a file, and give its path."""
        self.page.select_option("#export-format", kind)
        with self.page.expect_download() as download:
            self.page.click("#export")
        file = folder / download.value.suggested_filename
        download.value.save_as(file)
        return file

    def leave(self):
        """Reset the page for the next visitor, and check that no script failed."""
        self.page.remove_listener("request", self._note_call)
        self.page.remove_listener("pageerror", self._note_error)
        self.page.unroute_all()
        self.page.emulate_media(color_scheme="light", reduced_motion="no-preference")
        self.page.evaluate("localStorage.clear(); sessionStorage.clear()")
        self.page.goto("about:blank")
        assert self.script_errors == []


@pytest.fixture(scope="session")
def serve():
    """Serve the studio: ``with serve(port) as (address, kill)``."""
    return running


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


@contextmanager
def visits(chromium, server):
    """Give a function that opens the page in a new window; close all windows afterwards."""
    visitors = []

    def open_page(address=server, opened="Picture: still", width=WIDTH, height=HEIGHT, routes=None, **options):
        context = chromium.new_context(viewport={"width": width, "height": height}, **options)
        for pattern, answer in (routes or {}).items():
            context.route(pattern, answer)
        visitors.append(Visitor(context.new_page(), address, opened))
        return visitors[-1]

    yield open_page
    for one in visitors:
        one.leave()
        one.page.context.close()


@pytest.fixture
def visit(chromium, server):
    """Open the page: ``visit()``; address, expected status and window may be given."""
    with visits(chromium, server) as open_page:
        yield open_page


@pytest.fixture(scope="module")
def visit_long(chromium, server):
    """As ``visit``, but the page stays open for all tests of a module."""
    with visits(chromium, server) as open_page:
        yield open_page


@pytest.fixture(scope="session")
def window(chromium):
    """A window that tests share; a new one takes three times as long."""
    context = chromium.new_context(permissions=["clipboard-read", "clipboard-write"])
    yield context.new_page()
    context.close()


@pytest.fixture
def visitor(window, server):
    window.set_viewport_size({"width": WIDTH, "height": HEIGHT})
    one = Visitor(window, server)
    yield one
    one.leave()


@pytest.fixture(scope="session")
def video(tmp_path_factory):
    """A short video of a square that slides down."""
    rng = np.random.default_rng(0)
    ground = cv2.GaussianBlur(rng.integers(0, 255, (96, 96, 3), dtype=np.uint8), (0, 0), 2)
    frames = [ground.copy() for _ in range(14)]
    for step, frame in enumerate(frames):
        frame[30 + 2 * step : 50 + 2 * step, 40:60] = (250, 200, 20)
    file = tmp_path_factory.mktemp("videos") / "sliding.mp4"
    file.write_bytes(encode_mp4(frames, 10))
    return file


@pytest.fixture(scope="session")
def own_picture(tmp_path_factory):
    """A photograph whose EXIF data ask for a rotation."""
    file = tmp_path_factory.mktemp("pictures") / "own.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    with (files("ipoke") / "bundled" / "still.png").open("rb") as opened, Image.open(opened) as still:
        still.convert("RGB").transpose(Image.Transpose.ROTATE_90).save(file, exif=exif, quality=95)
    return file
