"""Overlays, the ambiguity meter, and playback."""

from itertools import pairwise

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

PICTURE = "document.querySelector('#picture').toDataURL()"


def test_overlays_show_correlation_diversity_and_motion(visitor):
    page = visitor.page
    visitor.ask_for(3)
    visitor.poke()
    assert float(page.locator("#ambiguity-value").text_content().removesuffix(" px")) > 0
    page.click("#play")
    page.fill("#scrub", "10")
    seen = []
    for overlay, legend, words in (
        ("spread", "heat", "different"),
        ("motion", "motion", "rim"),
        ("correlation", "heat", "correlated"),
    ):
        page.click(f"#show-{overlay}")
        assert words in page.locator(f"#{legend}-legend").text_content()
        if overlay == "correlation":
            with page.expect_response("**/api/correlation"):
                page.mouse.move(*visitor.place(90, 120))
        page.wait_for_timeout(200)
        seen.append(page.evaluate(PICTURE))
        assert page.get_attribute(f"#show-{overlay}", "aria-pressed") == "true"
    assert page.get_attribute("#show-spread", "aria-pressed") == "false"
    page.click("#show-correlation")
    page.wait_for_timeout(200)
    assert len({*seen, page.evaluate(PICTURE)}) == 4


def test_ambiguity_needs_two_samples(visitor):
    visitor.ask_for(2)
    visitor.poke()
    visitor.until("document.querySelector('#ambiguity-value').textContent.includes('px')")
    visitor.ask_for(1)
    visitor.until("document.querySelector('#ambiguity-words').textContent.includes('at least two samples')")
    assert visitor.page.locator("#ambiguity-value").text_content() == "–"


def test_clips_loop_or_play_forward_and_backward(visitor):
    visitor.ask_for(1)
    visitor.poke()
    visitor.page.click("#ping-pong")
    back = min(steps(visitor.page))
    assert -5 < back < 0
    visitor.page.click("#ping-pong")
    assert min(steps(visitor.page)) < -5


def steps(page):
    """By how many frames the clip went on, each time that it did."""
    shown = page.evaluate(
        """async () => {
          const seen = [];
          const until = performance.now() + 2500;
          while (performance.now() < until) {
            seen.push(Number(document.querySelector("#scrub").value));
            await new Promise(requestAnimationFrame);
          }
          return seen;
        }"""
    )
    return [later - sooner for sooner, later in pairwise(shown)]
