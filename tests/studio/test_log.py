import io
import logging

import pytest

from ipoke.studio.log import LINES, LONGEST, RateLimitedHandler


@pytest.fixture
def told():
    now, stream = [0.0], io.StringIO()
    logger = logging.Logger("a visitor's doing")
    logger.addHandler(RateLimitedHandler(stream, clock=lambda: now[0]))
    return now, stream, logger


def test_a_flood_of_messages_becomes_a_few_and_their_number(told):
    now, stream, logger = told
    for count in range(5000):
        logger.warning("refused %d", count)
    assert stream.getvalue().splitlines() == [f"refused {count}" for count in range(LINES)]
    now[0] = 61
    logger.warning("later")
    assert stream.getvalue().splitlines()[LINES:] == [
        f"{5000 - LINES} more messages of this minute were dropped",
        "later",
    ]


def test_a_message_is_short_and_commands_no_terminal(told):
    _, stream, logger = told
    logger.warning("%s", "\x1b[2J\r" + "x" * 1_000_000)
    assert len(stream.getvalue()) <= LONGEST + 1
    assert "\x1b" not in stream.getvalue()


def test_nobody_to_tell_is_no_failure(told):
    _, stream, logger = told
    stream.close()
    logger.warning("said to nobody")
