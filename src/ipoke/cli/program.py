"""The entry point: run a command, and report errors in one line."""

import contextlib
import os
import sys
from typing import NoReturn

from cyclopts.exceptions import CycloptsError, UnusedCliTokensError

from ipoke.cli import figures, make, measure, serve, use
from ipoke.cli.app import app
from ipoke.cli.terminal import err
from ipoke.core.errors import InputError, one_line, shown

COMMANDS = (use, serve, make, measure, figures)
"""The files that hold the commands; importing them registers them."""
OLD_OPTIONS = {"--as-drawn": "--unguided"}
"""Names of options until 0.1, and as they are named now."""


def main() -> None:
    """Run a command; a user's mistake is one line on standard error and exit status 2."""
    try:
        app([OLD_OPTIONS.get(word, word) for word in sys.argv[1:]], exit_on_error=False, print_error=False)
    except UnusedCliTokensError as error:
        left = " ".join(error.unused_tokens or [])
        _refuse(f"got {shown(left)}, expected no further arguments; put an option's name before each value")
    except InputError as error:
        _refuse(str(error))
    except CycloptsError as error:
        _refuse(" ".join(str(error).split()))
    except MemoryError:
        _refuse("not enough memory; use fewer samples or smaller pictures")
    except KeyboardInterrupt:
        err.print("stopped; no incomplete file is left, repeat the command to resume")
        raise SystemExit(130) from None
    except OSError as error:
        with contextlib.suppress(OSError):  # standard output may not be a file
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            raise SystemExit(1) from None
        _refuse(" ".join(str(error).split()))


def _refuse(message: str) -> NoReturn:
    err.print(one_line(f"ipoke: {message}"), style="red")
    raise SystemExit(2) from None
