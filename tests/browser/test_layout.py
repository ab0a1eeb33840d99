"""Layout at all widths, and colour themes."""

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

GROUND = "getComputedStyle(document.body).backgroundColor"


def test_nothing_is_wider_than_the_window(visitor):
    visitor.ask_for(2)
    visitor.poke()
    for width in (360, 640, 1024, 1600):
        visitor.page.set_viewport_size({"width": width, "height": 900})
        assert visitor.page.evaluate("document.documentElement.scrollWidth") <= width
        assert visitor.page.evaluate("document.querySelector('#picture').clientWidth") > 280


def test_buttons_are_large_enough_for_touch(visit):
    visitor = visit(width=390, height=844, has_touch=True, is_mobile=True)
    small = visitor.page.evaluate(
        """Array.from(document.querySelectorAll("button, select"))
          .filter((one) => one.checkVisibility())
          .map((one) => [one.id, one.getBoundingClientRect()])
          .filter(([, box]) => box.width < 44 || box.height < 44)
          .map(([id]) => id)"""
    )
    assert small == []


def test_the_theme_is_that_of_the_system_or_the_chosen_one(visitor):
    light, dark = "rgb(245, 245, 243)", "rgb(18, 19, 22)"
    for system, ground in (("light", light), ("dark", dark)):
        visitor.page.emulate_media(color_scheme=system)
        seen = [visitor.page.evaluate(GROUND)]
        for _ in range(3):
            visitor.page.click("#theme")
            seen.append(visitor.page.evaluate(GROUND))
        assert seen == [ground, light, dark, ground]
