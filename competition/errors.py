"""The two ways in which a command ends without its result, and how strangers' text is shown."""

import reprlib
from collections.abc import Iterable


class CompError(Exception):
    """A step failed; the message is one sentence for the user. Exit code 1."""

    exit_code = 1


class InputError(CompError):
    """The input or the arguments are wrong; the message names what and where, and the mend. Exit code 2."""

    exit_code = 2


_MOST = 300  # characters of a list of names
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 80


def shown(value: object) -> str:
    """A cell from outside for a message: in quotes, its middle left out where it is long, nothing in it invisible."""
    return _SHORT.repr(value)


def listed(names: Iterable[object]) -> str:
    """Names from outside for a message, the rest left out where they are many."""
    text = ", ".join(map(str, names))
    return text if len(text) <= _MOST else f"{text[: _MOST - 1]}…"


def visible(text: str) -> str:
    """Text for a terminal, in one line: what is no letter, sign or blank is written as its number and does nothing."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
