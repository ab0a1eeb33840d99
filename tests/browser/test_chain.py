"""Chains of clips: continue, go back, save and reopen."""

import json

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

STEPS = "#timeline button"


@pytest.fixture(scope="module")
def chains(visit_long, tmp_path_factory):
    """A chain saved after two steps and after three: file and thumbnails of each."""
    visitor, folder = visit_long(), tmp_path_factory.mktemp("chains")
    visitor.ask_for(2)
    visitor.poke(0, 30)
    visitor.page.keyboard.press("2")
    with visitor.page.expect_request("**/api/continue") as asked:
        visitor.page.click("#continue")
    assert asked.value.post_data_json["residuals"] == [[[0, 1, 1]]]
    visitor.hears("Step 2: the last frame is now the picture")
    visitor.ask_for(1)
    visitor.poke(0, 20, start=(200, 70))
    two = visitor.save("mp4", folder), thumbs(visitor)
    visitor.page.click("#continue")
    visitor.hears("Step 3")
    visitor.poke(0, 10, start=(200, 90))
    return two, (visitor.save("gif", folder), thumbs(visitor))


def thumbs(visitor):
    return visitor.page.evaluate("[...document.querySelectorAll('#timeline canvas')].map((one) => one.toDataURL())")


def test_a_chain_is_opened_again_and_its_steps_gone_back_to(visitor, chains):
    file, made = chains[0]
    assert made[0] != made[1]
    visitor.open(file, button="#reopen")
    visitor.hears("Opened; 1 sample")
    assert visitor.pokes() == ["1200,70 by 0,20"]
    visitor.until(f"[...document.querySelectorAll('{STEPS}')].filter((one) => !one.disabled).length === 2")
    assert thumbs(visitor) == made
    assert visitor.calls.count("continue") == 0
    steps = visitor.page.locator(STEPS)
    assert [one.get_attribute("title") for one in steps.all()] == ["Step 1, 1 poke", "Step 2, 1 poke"]
    assert steps.nth(1).get_attribute("aria-current") == "step"
    steps.nth(0).click()
    visitor.hears("Step 1; 2 samples")
    assert visitor.pokes() == ["138,137 by 0,30"]
    visitor.page.click("#undo")
    visitor.hears("Undone; 1 sample")
    assert visitor.pokes() == ["1200,70 by 0,20"]


def test_the_last_step_opens_where_the_chain_cannot_be_made_again(visit, chains):
    file, made = chains[1]
    broken = {"on": True}

    def answer(route):
        words = json.dumps({"error": "continue: broken for a while; try again"})
        route.fulfill(status=500, body=words) if broken["on"] else route.continue_()

    visitor = visit(routes={"**/api/continue": answer})
    visitor.open(file)
    visitor.hears("Opened; 1 sample")
    visitor.until("!document.querySelector('#problem').hidden")
    assert "broken for a while" in visitor.page.locator("#problem-text").text_content()
    assert [one.is_disabled() for one in visitor.page.locator(STEPS).all()] == [False, True, False]
    assert visitor.pokes() == ["1200,90 by 0,10"]
    broken["on"] = False
    visitor.page.click("#problem-retry")
    visitor.until(f"[...document.querySelectorAll('{STEPS}')].every((one) => !one.disabled)")
    assert thumbs(visitor) == made
    assert visitor.calls.count("continue") == 2
