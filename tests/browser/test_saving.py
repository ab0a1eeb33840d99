"""Clips saved as files and links, and reopened."""

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

KINDS = ["mp4", "webm", "webp", "gif", "png", "frames", "tracks"]
PLAYS = """async (bytes) => {
  const video = document.createElement("video");
  video.muted = true;
  video.src = URL.createObjectURL(new Blob([Uint8Array.from(bytes)]));
  document.body.append(video);
  await new Promise((resolve, reject) => {
    video.onended = resolve;
    video.onerror = () => reject(new Error(video.error.message));
    video.play().catch(reject);
  });
  const { videoWidth, videoHeight, currentTime } = video;
  video.remove();
  return [videoWidth, videoHeight, currentTime];
}"""


@pytest.fixture(scope="module")
def saved(visit_long, tmp_path_factory):
    """Saved files of one poke, by format."""
    folder, visitor = tmp_path_factory.mktemp("saved"), visit_long()
    visitor.ask_for(2)
    visitor.page.fill("#frames", "3")
    visitor.page.press("#frames", "Enter")
    visitor.poke(0, 30)
    visitor.page.check("#export-chosen")
    return {kind: visitor.save(kind, folder) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_saved_files_reopen(visitor, saved, kind):
    visitor.open(saved[kind], button="#reopen")
    visitor.hears("Opened; 1 sample; target error")
    assert visitor.pokes() == ["138,137 by 0,30"]
    assert visitor.page.input_value("#frames") == "3"
    assert visitor.page.get_attribute("#scrub", "max") == "3"


def test_videos_play(visitor, saved):
    for kind in ("mp4", "webm"):
        width, height, seconds = visitor.page.evaluate(PLAYS, list(saved[kind].read_bytes()))
        assert (width, height) == (256, 256)
        assert seconds == pytest.approx(0.4, abs=0.15)


def test_a_link_restores_picture_pokes_seed_and_frames(visitor, visit):
    visitor.ask_for(2)
    visitor.page.fill("#frames", "5")
    visitor.page.press("#frames", "Enter")
    visitor.page.fill("#seed", "123")
    visitor.page.press("#seed", "Enter")
    visitor.poke(0, 30)
    visitor.page.click("#copy-link")
    visitor.hears("Link copied")
    other = visit(visitor.page.evaluate("navigator.clipboard.readText()"), opened="Opened; 2 samples")
    assert other.pokes() == visitor.pokes()
    assert other.page.input_value("#seed") == "123"
    assert other.page.input_value("#frames") == "5"
    assert other.page.get_attribute("#pictures button", "aria-pressed") == "true"
    bits = [one.page.locator("#samples .bits").all_text_contents() for one in (visitor, other)]
    assert bits[0] == bits[1]
    assert len(bits[0]) == 2


def test_a_damaged_link_is_reported_and_the_page_works(visit, server):
    visitor = visit(f"{server}#session=damaged")
    assert "link is damaged" in visitor.page.locator("#problem-text").text_content()


def test_command_and_python_are_copied(visitor):
    visitor.ask_for(2)
    visitor.poke(0, 30)
    visitor.page.click("#copy-shell")
    visitor.hears("Command copied")
    shell = visitor.page.evaluate("navigator.clipboard.readText()")
    assert shell.startswith("ipoke poke still.png --poke 38,137,0,30 --samples 2 --seed 0")
    visitor.page.click("#copy-python")
    visitor.hears("Python copied")
    assert "seed=0" in visitor.page.evaluate("navigator.clipboard.readText()")
