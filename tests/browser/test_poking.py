"""Pokes: drag, select, move, delete and undo, by mouse, by touch and by keys alone."""

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]


def test_a_drag_becomes_clips_and_can_be_undone(visitor):
    heard = visitor.poke(0, 30)
    assert "Poke 1 from 38,137 by 0,30" in heard
    assert "5 samples" in heard
    assert visitor.samples() == 5
    assert visitor.calls.count("clips") == 1
    assert float(visitor.page.evaluate("document.body.dataset.firstFrameMs")) > 0
    assert "first frame" in visitor.page.locator("#latency").text_content()
    visitor.page.click("#undo")
    visitor.without_pokes()
    assert visitor.samples() == 0
    visitor.page.click("#redo")
    visitor.hears("Redone")
    assert visitor.pokes() == ["138,137 by 0,30"]


def test_the_picture_moves(visitor):
    visitor.ask_for(1)
    visitor.poke()
    seen = set()
    for _ in range(6):
        seen.add(visitor.page.evaluate("document.querySelector('#picture').toDataURL()"))
        visitor.page.wait_for_timeout(150)
    assert len(seen) > 1


def test_a_click_pins_a_point(visitor):
    visitor.ask_for(1)
    visitor.page.mouse.click(*visitor.place(128, 200))
    assert "Pin 1 at 128,200" in visitor.hears("target error")
    assert visitor.pokes() == ["1pin 128,200"]


def test_an_arrow_is_moved_by_its_head_and_its_dot_and_deleted(visitor):
    visitor.ask_for(1)
    visitor.poke(0, 30)
    visitor.drag(10, 0, start=(38, 167))
    visitor.hears("Poke 1 from 38,137 by 10,30")
    visitor.drag(6, -4)
    visitor.hears("Poke 1 from 44,133 by 10,30")
    visitor.page.mouse.click(*visitor.place(44, 133))
    visitor.hears("Poke 1 selected")
    visitor.page.keyboard.press("Delete")
    visitor.hears("Poke 1 deleted")
    assert visitor.pokes() == []


def test_touch_drags_as_a_mouse_does(visit):
    visitor = visit(width=390, height=844, has_touch=True, is_mobile=True, device_scale_factor=2)
    visitor.ask_for(1)
    hand = visitor.page.context.new_cdp_session(visitor.page)
    for step in range(7):
        x, y = visitor.place(38, 137 + 5 * step)
        kind = "touchMove" if step else "touchStart"
        hand.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": y}]})
    hand.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    assert "Poke 1 from 38,137 by 0,30" in visitor.hears("target error")


def test_keys_alone_are_enough(visitor):
    keys = visitor.page.keyboard
    visitor.ask_for(1)
    visitor.page.focus("#picture")
    for key in ["Shift+ArrowLeft"] * 3 + ["Enter"] + ["Shift+ArrowDown"] * 2 + ["Enter"]:
        keys.press(key)
    assert "Poke 1 from 98,128 by 0,20" in visitor.hears("target error")
    assert visitor.samples() == 1
    for key in ("Tab", "ArrowRight", "ArrowRight"):
        keys.press(key)
    visitor.hears("Poke 1 from 100,128 by 0,20; 1 sample")
    keys.press("Control+z")
    visitor.hears("Undone; 1 sample")
    assert visitor.pokes() == ["198,128 by 0,20"]
    keys.press("Control+Shift+z")
    visitor.hears("Redone; 1 sample")
    keys.press("Delete")
    visitor.hears("Poke 1 deleted")
    assert visitor.pokes() == []


def test_keys_play_and_scrub(visitor):
    visitor.ask_for(1)
    visitor.poke()
    visitor.page.focus("#picture")
    visitor.page.keyboard.press(".")
    visitor.until("document.querySelector('#play').getAttribute('aria-label') === 'Play'")
    shown = int(visitor.page.input_value("#scrub"))
    visitor.page.keyboard.press(",")
    visitor.until(f"document.querySelector('#scrub').value === '{max(0, shown - 1)}'")
    visitor.page.keyboard.press(" ")
    visitor.until("document.querySelector('#play').getAttribute('aria-label') === 'Pause'")
