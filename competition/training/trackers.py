"""Experiment trackers, by way of Accelerate: the numbers of a run's log are sent on. They change no result."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from accelerate import PartialState
from accelerate.tracking import LOGGER_TYPE_TO_CLASS

from competition.core import distributed
from competition.core.console import warn
from competition.core.errors import CompError, InputError
from competition.training.loop import Log

PROJECT = "comp"
# Packages to install; of MLflow, what its own database of runs in a file needs.
_PIP = {
    "tensorboard": "tensorboard",
    "mlflow": "mlflow-skinny sqlalchemy alembic",
    "wandb": "wandb",
}


def check_tracker(name: str) -> None:
    """Raise InputError when the package of a tracker is not installed."""
    if find_spec(name) is None:
        raise InputError(
            f"The tracker {name!r} is not installed: `pip install {_PIP[name]}` does it."
        )


class TrackedLog(Log):
    """A log whose numbers also go to a tracker, by optimiser step. A tracker that fails stops no training."""

    def __init__(self, path: Path, tracker: Any, **always: Any) -> None:
        super().__init__(path, **always)
        self._tracker = tracker
        self._step = 0
        self._before = 0  # steps of earlier seeds

    def write(self, **values: Any) -> None:
        """See `Log`."""
        super().write(**values)
        if self._tracker is None:
            return

        step = int(values.pop("step", self._step))
        if step < self._step:  # another seed begins
            self._before += self._step
        self._step = step
        numbers = {
            name: float(value) for name, value in values.items() if isinstance(value, int | float)
        }
        # Whatever the library or its server raises, training goes on.
        try:
            self._tracker.log(numbers, step=self._before + step)
        except Exception as error:
            warn(f"The tracker failed and gets nothing more: {error}")
            self._tracker = None


@contextmanager
def open_log(
    path: Path,
    tracker: str | None,
    folder: Path,
    run: str,
    recipe: Mapping[str, Any],
    **always: Any,
) -> Iterator[Log]:
    """Open a log, and behind it a tracker if one is named.

    Args:
        path: of the log.
        tracker: its name, or None.
        folder: for the tracker's files.
        run: the name of this training in the tracker.
        recipe: the settings that it shows.
        always: the fields of every line of the log.

    Raises:
        InputError: the tracker is not installed.
        CompError: it does not start.
    """
    if tracker is None or not distributed.is_main_process():
        yield Log(path, **always)
        return

    check_tracker(tracker)
    PartialState()  # which Accelerate's logger needs
    try:
        running = _start(tracker, folder, run, recipe)
    except Exception as error:
        raise CompError(f"The tracker {tracker!r} does not start: {error}") from error
    try:
        yield TrackedLog(path, running, **always)
    finally:
        running.finish()


def _start(name: str, folder: Path, run: str, recipe: Mapping[str, Any]) -> Any:
    """Return the tracker of a new run."""
    folder.mkdir(parents=True, exist_ok=True)
    if name == "tensorboard":
        tracker = LOGGER_TYPE_TO_CLASS[name](run, folder)
        tracker.start()
        tracker.log({"recipe": f"```\n{json.dumps(dict(recipe), indent=2)}\n```"}, step=0)
        return tracker

    if name == "mlflow":
        import mlflow

        if "MLFLOW_TRACKING_URI" not in os.environ:
            mlflow.set_tracking_uri(f"sqlite:///{folder.resolve() / 'mlflow.db'}")
        files = (folder.resolve() / "files").as_uri()
        tracker = LOGGER_TYPE_TO_CLASS[name](PROJECT, logging_dir=files, run_name=run)
    else:
        tracker = LOGGER_TYPE_TO_CLASS[name](PROJECT, name=run, dir=str(folder))
    tracker.start()
    tracker.store_init_configuration(dict(recipe))
    return tracker
