"""Errors that are sent to visitors."""


class Problem(Exception):  # noqa: N818  (a response to a visitor, not a defect)
    """An error response: an HTTP status and a message of one line."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status, self.words = status, words


def one_line(text: str, most: int) -> str:
    """Reduce a text of a visitor to one line of at most ``most`` printable characters."""
    return "".join(letter if letter.isprintable() else " " for letter in text[:most])
