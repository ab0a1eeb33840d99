"""Pictures: bundled ones, own files, frames of videos."""

import numpy as np
import pytest

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

CORNERS = """() => {
  const canvas = document.querySelector("#picture");
  const context = new OffscreenCanvas(2, 2).getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(canvas, 0, 0, 2, 2);
  return Array.from(context.getImageData(0, 0, 2, 2).data);
}"""


def test_an_own_picture_is_turned_upright_cropped_and_poked(visitor, own_picture):
    visitor.ask_for(1)
    before = np.array(visitor.page.evaluate(CORNERS))
    visitor.open(own_picture)
    visitor.page.click("#crop-use")
    visitor.hears("Picture: own.jpg, 256 by 256 px")
    assert "reopen" not in visitor.calls
    assert np.abs(np.array(visitor.page.evaluate(CORNERS)) - before).max() < 12
    visitor.poke()


def test_the_crop_can_be_moved_and_made_smaller(visitor, own_picture):
    visitor.open(own_picture)
    visitor.page.fill("#crop-size", "0.5")
    visitor.page.focus("#crop")
    for _ in range(3):
        visitor.page.keyboard.press("Shift+ArrowRight")
    visitor.page.click("#crop-use")
    visitor.hears("Picture: own.jpg, 128 by 128 px")


def test_a_file_that_is_neither_is_refused_in_a_line(visitor, tmp_path):
    file = tmp_path / "notes.png"
    file.write_bytes(b"not a picture")
    visitor.open(file)
    visitor.until("!document.querySelector('#problem').hidden")
    assert "notes.png: the browser cannot read it" in visitor.page.locator("#problem-text").text_content()
    visitor.page.click("#problem-dismiss")
    assert visitor.page.locator("#problem").is_hidden()


def test_a_file_that_is_too_large_is_not_sent(visit, video):
    def about(route):
        told = route.fetch().json()
        told["limits"]["video_bytes"] = 1000
        route.fulfill(json=told)

    visitor = visit(routes={"**/api/about": about})
    visitor.open(video)
    visitor.until("!document.querySelector('#problem').hidden")
    assert "expected at most 0.001 MB" in visitor.page.locator("#problem-text").text_content()
    assert visitor.page.locator("#video-dialog").is_hidden()


@pytest.mark.parametrize(
    "event",
    ['DragEvent("drop", { dataTransfer: data', 'ClipboardEvent("paste", { clipboardData: data'],
    ids=["drop", "paste"],
)
def test_pictures_are_dropped_and_pasted(visitor, own_picture, event):
    visitor.page.evaluate(
        f"""(bytes) => {{
          const data = new DataTransfer();
          data.items.add(new File([Uint8Array.from(bytes)], "own.jpg", {{ type: "image/jpeg" }}));
          document.body.dispatchEvent(new {event}, bubbles: true }}));
        }}""",
        list(own_picture.read_bytes()),
    )
    visitor.page.click("#crop-use")
    visitor.hears("Picture: own.jpg, 256 by 256 px")


def test_a_frame_of_a_video_becomes_the_picture(visitor, video):
    visitor.open(video)
    visitor.page.click("#video-frame")
    visitor.page.click("#crop-use")
    visitor.hears("Picture: sliding.mp4, 96 by 96 px")


def test_bundled_pictures_are_a_row_of_thumbnails(visitor):
    visitor.page.set_viewport_size({"width": 360, "height": 800})
    thumbs = visitor.page.locator("#pictures button")
    names = [one.get_attribute("data-picture") for one in thumbs.all()]
    assert len(names) >= 3
    visitor.until("[...document.querySelectorAll('#pictures img')].every((image) => image.naturalWidth > 0)")
    assert visitor.page.evaluate("(row => row.scrollWidth - row.clientWidth)(document.querySelector('#pictures'))") == 0
    assert all(one.bounding_box()["width"] >= 44 for one in thumbs.all())
    thumbs.nth(2).click()
    visitor.hears(f"Picture: {names[2]}")
    pressed = [one.get_attribute("aria-pressed") for one in thumbs.all()]
    assert [name for name, on in zip(names, pressed, strict=True) if on == "true"] == [names[2]]
