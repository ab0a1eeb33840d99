"""What every mistake must be answered with: one short line of printable characters, soon, and in little memory."""

import contextlib
import os
import resource
import signal
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest

from commands import Answer
from ipoke.core.errors import InputError

LONGEST = 300
SECONDS = 20
MEMORY = 3 * 2**30
"""Address space that an answer may take beyond what is mapped before it, bytes."""


def assert_one_line(text: str) -> None:
    """Check what a person is told."""
    assert text
    assert text.isprintable(), f"holds characters that a terminal obeys: {text!r}"
    assert len(text) <= LONGEST, f"{len(text)} characters: {text[:100]} ..."


def refusal(call: Callable[[], object]) -> str:
    """Give the line with which something is refused."""
    with pytest.raises(InputError) as caught:
        call()
    assert_one_line(str(caught.value))
    return str(caught.value)


def refusal_or_none(call: Callable[[], object]) -> str | None:
    """Give the line with which something is refused, if it is."""
    try:
        call()
    except InputError as error:
        assert_one_line(str(error))
        return str(error)
    return None


def assert_refused(answer: Answer) -> None:
    """Check the answer of a command to a mistake."""
    assert answer.code == 2, answer
    assert answer.out == "", answer
    assert answer.err.endswith("\n")
    assert answer.err.startswith("ipoke: ")
    assert_one_line(answer.err[:-1])


class Hang(BaseException):
    """No answer in time; nothing that a reader could take for a fault of a file."""


@contextlib.contextmanager
def bounded(seconds: int = SECONDS) -> Generator[None]:
    """Turn a hang into an error, and a request for too much memory too."""

    def stop(*_: object) -> None:
        raise Hang(f"no answer within {seconds} s")

    before, (soft, hard) = signal.signal(signal.SIGALRM, stop), resource.getrlimit(resource.RLIMIT_AS)
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (mapped + MEMORY, hard))
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def odd_files(folder: Path, ending: str) -> Iterator[tuple[str, Path]]:
    """Make what is no regular file, and files that no reader expects: what they are, and where."""
    yield "folder", folder / f"folder{ending}"
    (folder / f"folder{ending}").mkdir()
    yield "fifo", folder / f"fifo{ending}"
    os.mkfifo(folder / f"fifo{ending}")
    for name, target in (("zero", "/dev/zero"), ("null", "/dev/null"), ("to-fifo", f"fifo{ending}")):
        (folder / f"{name}{ending}").symlink_to(target)
        yield name, folder / f"{name}{ending}"
    (folder / f"loop{ending}").symlink_to(f"loop{ending}")
    yield "loop", folder / f"loop{ending}"
    yield "missing", folder / f"missing{ending}"
    yield "long name", folder / ("n" * 300 + ending)
    yield "escapes in its name", folder / f"\x1b[31mred\x1b]0;title\x07{ending}"
    yield "two lines in its name", folder / f"two\nlines\u202e{ending}"
    yield "not UTF-8 in its name", folder / f"\udcff{ending}"
    for name, content in CONTENTS.items():
        (folder / f"{name}{ending}").write_bytes(content)
        yield name, folder / f"{name}{ending}"


CONTENTS = {
    "empty": b"",
    "nul": bytes(64),
    "not UTF-8": b"\xff\xfe\xfd{",
    "bom": b"\xef\xbb\xbf{}",
    "deep lists": b"[" * 50_000,
    "deep lists closed": b"[" * 50_000 + b"]" * 50_000,
    "deep tables": b'{"a":' * 50_000,
    "null value": b"null",
    "number": b"1" * 10_000,
    "list": b"[1, 2]",
    "text": b'"\\u001b[31m"',
    "escapes": b"\x1b[2J\x1b[31m\x07",
    "long line": b"a" * 2_000_000,
}
