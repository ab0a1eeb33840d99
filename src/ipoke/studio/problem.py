"""What goes wrong for a visitor."""


class Problem(Exception):  # noqa: N818  (what a person did, or ran into; said to them, not raised at them)
    """An answer that is not a success: a status and one line in words."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status, self.words = status, words


def one_line(text: str, most: int) -> str:
    """Make one line of so many characters of a text that somebody sent, without what a terminal would obey."""
    return "".join(letter if letter.isprintable() else " " for letter in text[:most])
