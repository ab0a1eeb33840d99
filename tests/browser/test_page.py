"""The page, used with a mouse, with keys alone, and by two visitors at once."""

import json

import pytest

from ipoke.data.images import image_of

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

LEAF, SIDE = (38, 137), 256
PATIENCE_MS = 60_000


class Visitor:
    """Somebody with the page open; counts what it asks the server."""

    def __init__(self, browser, address, width=1200, height=900):
        self.context = browser.new_context(viewport={"width": width, "height": height}, accept_downloads=True)
        self.page = self.context.new_page()
        self.page.set_default_timeout(PATIENCE_MS)
        self.calls, self.mishaps = [], []
        self.page.on("request", lambda request: self.calls.append(request.url.rpartition("/api/")[2]))
        self.page.on("pageerror", lambda error: self.mishaps.append(str(error)))
        self.page.goto(address)
        self.until("document.querySelector('#model').textContent.includes('scenes-64')")
        self.hears("Picture: still")

    def until(self, expression):
        """Wait until an expression holds; asked from outside, because the page may not evaluate strings."""
        for _ in range(PATIENCE_MS // 100):
            if self.page.evaluate(expression):
                return
            self.page.wait_for_timeout(100)
        raise AssertionError(f"never true: {expression}; the page says: {self.page.locator('#status').text_content()}")

    def drag(self, dx, dy, start=LEAF):
        box = self.page.locator("#picture").bounding_box()
        scale = box["width"] / SIDE
        x, y = box["x"] + start[0] * scale, box["y"] + start[1] * scale
        self.page.mouse.move(x, y)
        self.page.mouse.down()
        for step in range(1, 7):
            self.page.mouse.move(x + dx * scale * step / 6, y + dy * scale * step / 6)
            self.page.wait_for_timeout(60)
        self.page.mouse.up()

    def hears(self, words):
        self.until(f"document.querySelector('#status').textContent.includes({json.dumps(words)})")
        return self.page.locator("#status").text_content()

    def samples(self):
        return self.page.locator("#samples .sample").count()

    def close(self):
        self.context.close()
        assert self.mishaps == []


@pytest.fixture
def visitor(chromium, server):
    one = Visitor(chromium, server)
    yield one
    one.close()


def test_a_drag_becomes_clips_and_can_be_undone(visitor):
    visitor.drag(0, 30)
    heard = visitor.hears("reached to")
    assert "Poke 1 from 38,137" in heard
    assert visitor.samples() == 5
    assert "preview" in visitor.calls
    assert visitor.calls.count("clips") == 1
    assert float(visitor.page.evaluate("document.body.dataset.firstFrameMs")) > 0
    assert visitor.page.locator("#pokes button").count() > 0
    visitor.page.click("#undo")
    visitor.until("document.querySelectorAll('#pokes button').length === 0")
    visitor.page.click("#redo")
    visitor.hears("Redone")
    visitor.until("document.querySelectorAll('#pokes button').length > 0")


def test_the_picture_moves(visitor):
    visitor.drag(0, 30)
    visitor.hears("reached to")
    read = "() => document.querySelector('#picture').toDataURL()"
    visitor.page.focus("#scrub")
    seen = set()
    for _ in range(6):
        seen.add(visitor.page.evaluate(read))
        visitor.page.wait_for_timeout(150)
    assert len(seen) > 1


def test_keys_alone_are_enough(visitor):
    visitor.page.focus("#picture")
    for _ in range(3):
        visitor.page.keyboard.press("Shift+ArrowLeft")
    visitor.page.keyboard.press("Enter")
    for _ in range(2):
        visitor.page.keyboard.press("Shift+ArrowDown")
    visitor.page.keyboard.press("Enter")
    visitor.hears("reached to")
    assert visitor.samples() == 5
    visitor.page.focus("#picture")
    visitor.page.keyboard.press("Control+z")
    visitor.until("document.querySelectorAll('#pokes button').length === 0")


def test_what_is_saved_opens_again(visitor, tmp_path):
    visitor.drag(0, 30)
    visitor.hears("reached to")
    visitor.page.select_option("#export-format", "png")
    with visitor.page.expect_download() as download:
        visitor.page.click("#export")
    file = tmp_path / "kept.png"
    download.value.save_as(file)
    assert image_of(file.read_bytes(), "kept.png").shape[2] == 3
    visitor.page.click("#undo")
    visitor.until("document.querySelectorAll('#pokes button').length === 0")
    with visitor.page.expect_file_chooser() as chooser:
        visitor.page.click("#reopen")
    chooser.value.set_files(file)
    visitor.until("document.querySelectorAll('#pokes button').length > 0")


def test_two_visitors_are_both_answered(chromium, server):
    visitors = [Visitor(chromium, server) for _ in range(2)]
    for number, one in enumerate(visitors):
        one.drag(0, 20 + 8 * number)
    for one in visitors:
        one.hears("reached to")
        assert one.samples() == 5
        one.close()


@pytest.mark.parametrize("width", [360, 1024, 1600])
def test_nothing_is_wider_than_the_window(chromium, server, width):
    visitor = Visitor(chromium, server, width=width)
    assert visitor.page.evaluate("document.documentElement.scrollWidth") <= width
    assert visitor.page.evaluate("document.querySelector('#picture').clientWidth") > 200
    visitor.close()
