"""The two ways in which a command ends without its result."""


class CompError(Exception):
    """A step failed; the message is one sentence for the user. Exit code 1."""

    exit_code = 1


class InputError(CompError):
    """The input or the arguments are wrong; the message names what and where, and the mend. Exit code 2."""

    exit_code = 2
