"""The two ways in which a command ends without its result; how strangers' text is shown, and what was meant by it."""

import reprlib
from collections.abc import Collection, Iterable
from difflib import SequenceMatcher


class CompError(Exception):
    """A step failed; the message is one sentence for the user. Exit code 1."""

    exit_code = 1


class InputError(CompError):
    """The input or the arguments are wrong; the message names what and where, and the fix. Exit code 2."""

    exit_code = 2


class Diverged(CompError):
    """A training has diverged: a loss, an output or a weight is not finite."""


_MOST = 300  # characters of a list of names
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 80


def short_repr(value: object) -> str:
    """Return a cell from outside for a message: in quotes, shortened in its middle, nothing in it invisible.

    NumPy's numbers are shown as Python's.
    """
    plain = value.item() if hasattr(value, "item") else value
    return _SHORT.repr(plain)


def join_names(names: Iterable[object]) -> str:
    """Return names from outside for a message, the rest left out where they are many."""
    text = ", ".join(map(str, names))
    return text if len(text) <= _MOST else f"{text[: _MOST - 1]}…"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ` (did you mean 'x'?)` with the nearest known name; nothing where none is near.

    All that are equally near are named. Upper case counts as lower case. Of a name of two letters, one may be wrong.
    """
    ratios = {
        name: SequenceMatcher(None, name.casefold(), word.casefold()).ratio()
        for name in sorted(known)
    }
    best = max(ratios.values(), default=0.0)

    # One of two letters is half of them.
    if best < (0.5 if len(word) < 3 else 0.6):
        return ""

    *others, last = (repr(name) for name, ratio in ratios.items() if ratio == best)
    before = f"{', '.join(others)} or " if others else ""
    return f" (did you mean {before}{last}?)"


def unknown_name(what: str, name: str, known: Collection[str]) -> InputError:
    """Return the error for an unknown name: the nearest of the known ones, then all."""
    return InputError(
        f"There is no {what} {name!r}{did_you_mean(name, known)}: known are {join_names(known)}."
    )


def escape_controls(text: str) -> str:
    """Return text for a terminal, in one line: what is invisible is written as its number and does nothing."""
    # `ascii` writes it in quotes.
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def pluralize(number: int, thing: str, things: str = "") -> str:
    """Return a number and the noun that it counts: `1 query`, `1,200 queries`; the plural of `thing` is `things`."""
    noun = thing if number == 1 else things or f"{thing}s"
    return f"{number:,} {noun}"
