"""Commands in messages, as they are to be typed: quoted for a shell, and for the workspace that the user named."""

import re
import shlex
from pathlib import Path

# What another process was started with, `comp run`, since when, is quoted as it was.
_QUOTED = re.compile(r"`(comp (?!init\b)[^`]+)`(?!, since)")


class _Named:
    """The workspace that the running command was given; the current folder where it was given none."""

    root = Path()


_named = _Named()


def set_workspace(root: Path) -> None:
    """Remember which workspace the running command was given."""
    _named.root = root


def named_workspace() -> Path:
    """Return which workspace the running command was given."""
    return _named.root


def shell_quoted(text: object) -> str:
    """Return a name or path, quoted for a shell."""
    return shlex.quote(str(text))


def command_for(command: str, root: Path | None = None) -> str:
    """Return a command, or several joined by `&&`, for the workspace `root`; default: that of the running command."""
    root = _named.root if root is None else root

    # The current folder is the option's default.
    if root == Path() or " -w " in command:
        return command

    # Each command of a chain needs the option.
    return " && ".join(f"{each} -w {shell_quoted(root)}" for each in command.split(" && "))


def pasteable(sentence: str, root: Path | None = None) -> str:
    """Return a sentence whose commands, which stand in backquotes, can be pasted."""
    return _QUOTED.sub(lambda match: f"`{command_for(match[1], root)}`", sentence)
