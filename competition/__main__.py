"""`python -m competition …` is `comp …`."""

import os
import signal
from types import FrameType


def _end(number: int, frame: FrameType | None) -> None:
    os._exit(128 + number)  # nothing was begun that would have to be ended


def main() -> None:
    """Run `comp`. Ctrl-C and SIGTERM end it without a word while it is still being imported, too."""
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _end)

    from competition.cli import app

    app()


if __name__ == "__main__":
    main()
