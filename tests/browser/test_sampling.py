"""Seeds, numbers of samples and frames, variations and interpolation."""

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]


def test_the_number_of_frames_is_asked_undone_and_bounded(visitor):
    visitor.ask_for(1)
    visitor.poke()
    assert visitor.page.input_value("#frames") == "10"
    asked = noted(visitor)
    visitor.page.fill("#frames", "4")
    visitor.page.press("#frames", "Enter")
    visitor.hears("4 frames; 1 sample")
    assert asked[-1]["frames"] == 4
    assert visitor.page.get_attribute("#scrub", "max") == "4"
    visitor.page.click("#undo")
    visitor.hears("Undone; 1 sample")
    assert "frames" not in asked[-1]
    assert visitor.page.input_value("#frames") == "10"
    assert visitor.page.get_attribute("#scrub", "max") == "10"
    visitor.page.fill("#frames", "400")
    visitor.page.press("#frames", "Enter")
    visitor.hears("40 frames; 1 sample")
    assert visitor.page.input_value("#frames") == "40"


def test_a_locked_seed_stays_and_an_unlocked_one_is_redrawn_with_a_new_poke(visitor):
    visitor.ask_for(1)
    visitor.poke()
    asked = noted(visitor)
    visitor.page.click("#dice")
    visitor.hears("Seed ")
    seed = int(visitor.page.input_value("#seed"))
    visitor.hears(f"Seed {seed}; 1 sample")
    assert asked[-1]["residuals"] == [[[seed, 0, 1]]]
    visitor.drag(0, 10, start=(38, 167))
    visitor.hears("by 0,40; 1 sample")
    assert asked[-1]["residuals"] == [[[seed, 0, 1]]]
    visitor.page.click("#lock")
    visitor.drag(0, 20, start=(200, 60))
    visitor.hears("Poke 2 from 200,60 by 0,20; 1 sample")
    assert asked[-1]["residuals"] != [[[seed, 0, 1]]]


def test_variations_and_interpolation(visitor):
    visitor.ask_for(2)
    visitor.poke()
    asked = noted(visitor)
    visitor.page.fill("#mix-share", "0.5")
    visitor.page.dispatch_event("#mix-share", "change")
    visitor.hears("50 % of the way from sample 1 to sample 2")
    assert [[seed, number] for seed, number, _ in asked[-1]["residuals"][0]] == [[0, 0], [0, 1]]
    assert visitor.samples() == 3
    visitor.page.click("#samples .more >> nth=0")
    visitor.hears("More like sample 1; 2 samples")
    assert [terms[0][:2] for terms in asked[-1]["residuals"]] == [[0, 0], [0, 0]]


def test_a_burst_of_temperatures_is_one_step_of_undo(visitor):
    visitor.ask_for(1)
    visitor.poke()
    visitor.page.focus("#temperature")
    for _ in range(4):
        visitor.page.keyboard.press("ArrowLeft")
    visitor.hears("Temperature 0.80; 1 sample")
    visitor.page.click("#undo")
    visitor.hears("Undone")
    assert visitor.page.input_value("#temperature") == "1"


def noted(visitor):
    """A list to which every request for clips is appended."""
    asked = []
    visitor.page.on("request", lambda r: asked.append(r.post_data_json) if r.url.endswith("/api/clips") else None)
    return asked
