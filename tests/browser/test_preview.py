"""Previews: the last frame during a drag; the newest request wins."""

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

SHOWN_IS = """async (question) => {
  const response = await fetch("/api/preview", { method: "POST", body: JSON.stringify(question) });
  const image = await createImageBitmap(await response.blob());
  const [asked, shown] = [image, document.querySelector("#picture")].map((source) => {
    const context = new OffscreenCanvas(64, 64).getContext("2d");
    context.drawImage(source, 0, 0, 64, 64);
    return context.getImageData(0, 0, 64, 64).data;
  });
  return asked.reduce((sum, value, at) => sum + Math.abs(value - shown[at]), 0) / asked.length;
}"""
"""Mean difference, 0 to 255, between the shown frame and the preview of a question."""


def test_a_preview_follows_the_drag_and_the_newest_wins(visitor):
    page, asked, answered = visitor.page, [], []
    page.on("request", lambda r: asked.append(r.post_data_json) if r.url.endswith("/api/preview") else None)
    page.on("requestfinished", lambda r: answered.append(r) if r.url.endswith("/api/preview") else None)
    page.click("#show-arrows")
    visitor.press(0, 40)
    visitor.until("document.querySelector('#latency').textContent.includes('preview')")
    visitor.until_true(lambda: dragged(asked[-1]) == 40 and len(answered) == len(asked), "the last drag is answered")
    page.wait_for_timeout(200)
    assert len(asked) > 1
    assert "clips" not in visitor.calls
    assert page.evaluate(SHOWN_IS, asked[-1]) < page.evaluate(SHOWN_IS, asked[0]) / 3
    page.mouse.up()
    visitor.hears("target error")


def test_one_preview_runs_and_older_ones_that_wait_are_dropped(visitor):
    held = []
    visitor.page.route("**/api/preview", lambda route: held.append(route))
    visitor.ask_for(1)
    visitor.press(0, 30)
    assert [dragged(route.request.post_data_json) for route in held] == [5]
    held[0].continue_()
    visitor.until_true(lambda: len(held) > 1, "the next preview is asked for")
    assert [dragged(route.request.post_data_json) for route in held] == [5, 30]
    visitor.page.mouse.up()
    visitor.hears("target error")


def dragged(question):
    return question["pokes"][0]["dy"]
