"""`python -m competition …` runs `comp …`."""

import sys

try:
    import os
    import signal
    from types import FrameType
except KeyboardInterrupt:
    # Ctrl-C before here is Python's to end: while it starts, and in the lines of the script that called this.
    sys.exit(130)


def _exit_at_once(number: int, frame: FrameType | None) -> None:
    # Nothing has started yet that would need cleaning up.
    os._exit(128 + number)


def main() -> None:
    """Run `comp`; Ctrl-C and SIGTERM also end it silently while its modules are being imported."""
    for number in (signal.SIGINT, signal.SIGTERM):
        # A shell may have asked to ignore a signal, as `nohup` and `&` do.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _exit_at_once)

    from competition.cli import app

    app()


if __name__ == "__main__":
    main()
