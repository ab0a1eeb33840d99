"""Motion transfer: the motion of a video becomes a sample."""

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]


def test_a_video_moves_the_picture_and_its_residual_is_poked_again(visitor, video):
    asked = []
    visitor.page.on("request", lambda r: asked.append(r.post_data_json) if r.url.endswith("/api/clips") else None)
    visitor.page.fill("#temperature", "0.5")
    visitor.open(video, button="#transfer")
    heard = visitor.hears("Motion of sliding.mp4 transferred")
    assert "round-trip error " in heard
    assert float(heard.rsplit(" ", 1)[1].rstrip(".")) < 1e-4
    assert visitor.samples() == 1
    assert len(visitor.pokes()) == 1
    assert not visitor.page.is_checked("#guidance")
    tools = visitor.page.locator("#samples .more")
    assert tools.is_disabled()
    assert tools.text_content() == "From a video"
    assert visitor.page.locator("#mix-share").is_disabled()
    assert visitor.page.locator("#mix-words").is_visible()
    visitor.page.click("#dice")
    visitor.hears("Seed ")
    visitor.page.click("#undo")
    visitor.hears("Undone; 1 sample")
    (poke,) = asked[-1]["pokes"]
    assert poke["dy"] > 10
    assert asked[-1]["guidance"] is False
    assert asked[-1]["temperature"] == 1
    visitor.drag(12, 0, start=(poke["x"] + poke["dx"], poke["y"] + poke["dy"]))
    visitor.hears("Poke 1 from")
    (residual,) = asked[-1]["residuals"]
    assert len(residual["given"]) > 100
    assert asked[-1]["pokes"][0]["dx"] == pytest.approx(poke["dx"] + 12, abs=1)
    assert asked[-1]["pokes"][0]["dy"] == pytest.approx(poke["dy"], abs=1)
    assert residual == asked[-2]["residuals"][0]


def test_a_transfer_is_saved_reopened_and_continued(visitor, visit, video, tmp_path):
    visitor.page.fill("#frames", "7")
    visitor.page.press("#frames", "Enter")
    visitor.open(video, button="#transfer")
    visitor.hears("transferred")
    assert visitor.page.input_value("#frames") == "10"
    seen = last_frame(visitor)
    file = visitor.save("webp", tmp_path)
    other = visit()
    other.open(file)
    other.hears("Opened; 1 sample")
    assert other.pokes() == visitor.pokes()
    assert last_frame(other) == seen
    visitor.page.click("#continue")
    visitor.hears("Step 2")
    visitor.page.click("#pictures button")
    visitor.hears("Picture: still")
    visitor.poke()


def last_frame(visitor):
    visitor.page.evaluate("document.activeElement.blur()")
    visitor.page.keyboard.press(".")
    visitor.page.fill("#scrub", "10")
    visitor.page.mouse.move(0, 0)
    visitor.page.wait_for_timeout(150)
    return visitor.page.evaluate("document.querySelector('#samples canvas').toDataURL()")
