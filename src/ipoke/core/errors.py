"""Errors that a user can act on: one printable line each."""

import re
import reprlib

LONGEST = 300
"""Characters of an error message."""
LONGEST_WORD = 80
"""Characters of a path or a value in a message that would be too long."""


class InputError(Exception):
    """A user's mistake or a broken input; the command line prints it as one line and exits with status 2.

    The message says what is wrong, where, what was got, what was expected, and what to do. Any other exception is a
    defect of the package.

    >>> import ipoke
    >>> ipoke.load("no-such-model")
    Traceback (most recent call last):
    ipoke.core.errors.InputError: model: got 'no-such-model', expected ...
    """

    def __init__(self, message: str) -> None:
        """Reduce a message, which may contain names and values of a file, to one line of printable characters."""
        super().__init__(one_line(message))


def one_line(text: str) -> str:
    r"""Reduce a message to one line: escape control characters, and shorten long words in their middle.

    >>> one_line("two" + chr(10) + "lines")
    'two\\nlines'
    """
    line = printable(text)
    if len(line) > LONGEST:
        line = re.sub(r"\S+", lambda word: cut(word[0], LONGEST_WORD), line)
    return cut(line, LONGEST)


def printable(text: str) -> str:
    """Escape characters that are not printable: control characters, direction marks, lone surrogates."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def cut(text: str, longest: int) -> str:
    """Shorten a text to ``longest`` characters by dropping its middle."""
    if len(text) <= longest:
        return text
    head, tail = (longest - 2) // 2, (longest - 3) // 2
    return f"{text[:head]}...{text[-tail:]}"


class _Short(reprlib.Repr):
    """Python's repr, limited in depth, entries and characters."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxstring, self.maxother, self.maxlong = 3, LONGEST_WORD, LONGEST_WORD, LONGEST_WORD

    def repr_int(self, x: int, level: int) -> str:
        return super().repr_int(x, level) if x.bit_length() < 4000 else f"a number of {x.bit_length()} bits"


shown = _Short().repr
"""The repr of a value, shortened however large or deep the value is."""
