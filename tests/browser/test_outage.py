"""A server that dies during a drag, and comes back."""

from urllib.parse import urlsplit

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]


def test_a_server_that_dies_in_a_drag_loses_nothing(visit, serve, own_picture):
    with serve() as (address, kill):
        visitor = visit(address)
        visitor.ask_for(2)
        visitor.open(own_picture)
        visitor.page.click("#crop-use")
        visitor.hears("Picture: own.jpg")
        visitor.poke(0, 30)
        visitor.press(0, 20, start=(200, 60))
        kill()
        visitor.page.mouse.move(*visitor.place(200, 90))
        visitor.until("!document.querySelector('#problem').hidden")
        words = visitor.page.locator("#problem-text").text_content()
        assert "does not respond" in words
        assert "\n" not in words
        visitor.page.mouse.up()
        visitor.until("!document.querySelector('#problem-retry').hidden")
        assert len(visitor.pokes()) == 2
    visitor.page.evaluate("window.stayed = true")
    with serve(urlsplit(address).port):
        visitor.hears("Poke 2 from 200,60 by 0,30; 2 samples")
        assert visitor.page.locator("#problem").is_hidden()
        assert visitor.pokes() == ["138,137 by 0,30", "2200,60 by 0,30"]
        assert visitor.page.evaluate("window.stayed")
