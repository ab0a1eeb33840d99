"""Accessibility: axe-core finds no violation in any state of the page."""

from importlib.resources import files

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

RUN = """async () => {
  const { violations } = await axe.run(document, { resultTypes: ["violations"] });
  return violations.flatMap(({ id, nodes }) => nodes.map(({ html, any }) => `${id}: ${html} ${any[0]?.message ?? ""}`));
}"""


@pytest.fixture(scope="module")
def axe():
    package = pytest.importorskip(
        "axe_playwright_python", reason="axe-core is not installed; pip install -e '.[browser]'"
    )
    return (files(package) / "axe.min.js").read_text()


@pytest.fixture
def clean():
    """Check the current page: light and dark, 360 px and 1600 px wide."""

    def check(visitor):
        for width in (360, 1600):
            visitor.page.set_viewport_size({"width": width, "height": 900})
            for scheme in ("light", "dark"):
                visitor.page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
                assert visitor.page.evaluate(RUN) == [], f"{width} px, {scheme}"

    return check


def test_axe_finds_nothing(visitor, axe, clean):
    page = visitor.page
    page.evaluate(axe)
    clean(visitor)
    visitor.ask_for(2)
    visitor.poke()
    page.click("#show-motion")
    clean(visitor)
    page.click("#continue")
    visitor.hears("Step 2")
    clean(visitor)
    page.click("#keys")
    clean(visitor)


def test_axe_finds_nothing_in_dialogs_and_where_something_is_wrong(visitor, axe, clean, video, own_picture):
    page = visitor.page
    page.evaluate(axe)
    visitor.open(video)
    page.wait_for_selector("#video-dialog[open]")
    clean(visitor)
    page.click("#video-cancel")
    visitor.open(own_picture)
    page.wait_for_selector("#crop-dialog[open]")
    clean(visitor)
    page.click("#crop-cancel")
    page.route("**/api/clips", lambda route: route.abort())
    visitor.drag(0, 30)
    visitor.until("!document.querySelector('#problem').hidden")
    clean(visitor)


def test_what_happens_is_announced(visitor):
    page = visitor.page
    assert page.get_attribute("#status", "aria-live") == "polite"
    assert page.get_attribute("#problem", "role") == "alert"
    page.focus("#picture")
    page.keyboard.press("ArrowRight")
    assert visitor.hears("129,128")
    page.keyboard.press("Enter")
    assert "Drag from 129,128 with the arrow keys" in visitor.status()
    page.keyboard.press("Shift+ArrowUp")
    assert "by 0,-10" in visitor.status()
    page.keyboard.press("Escape")
    assert "Drag cancelled" in visitor.status()
