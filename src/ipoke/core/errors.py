"""What goes wrong through no fault of ours, in one line that a person can act on."""

import re
import reprlib

LONGEST = 300
"""Characters of a line about a mistake."""
LONGEST_WORD = 80
"""Characters of a path or a value in a line that would be too long."""


class InputError(Exception):
    """A person's mistake or a broken input; the command line prints it as one line and exits with 2.

    The message says what, where, got, expected, and what to do. Everything else that is raised is a defect of ours.
    """

    def __init__(self, message: str) -> None:
        """Keep a message as one line of printable characters, whatever names and values of a file are in it."""
        super().__init__(one_line(message))


def one_line(text: str) -> str:
    r"""Bring a message to one line that no terminal obeys: control characters escaped, long values cut in their middle.

    >>> one_line("two" + chr(10) + "lines")
    'two\\nlines'
    """
    line = printable(text)
    if len(line) > LONGEST:
        line = re.sub(r"\S+", lambda word: cut(word[0], LONGEST_WORD), line)
    return cut(line, LONGEST)


def printable(text: str) -> str:
    """Escape what is not seen but obeyed: control characters, marks of direction, halves of surrogate pairs."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def cut(text: str, longest: int) -> str:
    """Leave out the middle of a text that is longer than ``longest`` characters."""
    if len(text) <= longest:
        return text
    head, tail = (longest - 2) // 2, (longest - 3) // 2
    return f"{text[:head]}...{text[-tail:]}"


class _Short(reprlib.Repr):
    """Writes values as Python does, a few levels deep and a few entries wide."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxstring, self.maxother, self.maxlong = 3, LONGEST_WORD, LONGEST_WORD, LONGEST_WORD

    def repr_int(self, x: int, level: int) -> str:
        return super().repr_int(x, level) if x.bit_length() < 4000 else f"a number of {x.bit_length()} bits"


shown = _Short().repr
"""Write a value of a file, however large or deep, in few characters."""
