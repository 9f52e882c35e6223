"""The seconds of the steps that fine-tune no encoder: they are built for real, of a sample of the rows.

They are built by their own code in a temporary workspace, so a new kind of step needs no new
estimate. What encoders would say of the rows is made up of labels and noise. Where the sample is not
all rows, there are two samples, and the line through both says what all rows take: most steps take
the same time whatever the rows, and then a little for each. A pre-training ends after some blocks.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stderr, suppress
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
from rich.progress import TaskID

from competition.config.recipe import MemberRecipe
from competition.core.console import drawn_by, silent, warn
from competition.core.errors import CompError
from competition.core.fingerprint import derive_seed
from competition.core.workspace import Workspace
from competition.data import store
from competition.pipeline.crew import THREADS
from competition.pipeline.execute import Step, in_order
from competition.pipeline.recipes import OFFLINE
from competition.pipeline.steps import Pipeline
from competition.scoring import predictions
from competition.scoring.task import Kind

_SMALL, _LARGE = 400, 1_600  # rows, about: whole queries
_ALL = 2 * _SMALL  # up to which there is one sample, of all
_TIME_LIMIT = 5.0  # seconds of a pre-training, of each sample

# What steps import when they come to it, and what these modules import when they are used.
_OF_ALL = (
    "competition.models.lexical.lexical",
    "competition.models.lexical.bm25",
    "competition.models.ensemble.crossfit",
    "competition.noise.audit",
    "scipy.optimize",
    "scipy.stats",
    "sklearn.feature_extraction.text",
)
_OF_ENCODERS = (
    "competition.training.finetune",
    "competition.models.encoder.model",
    "transformers.models.auto.modeling_auto",
    "transformers.models.bert.modeling_bert",
)


# Multiplies matrices until the process that started it has ended.
_BUSY = "import os, numpy; parent = os.getppid(); a = numpy.ones((512, 512))\nwhile os.getppid() == parent: a @ a"


@contextmanager
def beside_others(others: int, threads: int) -> Iterator[None]:
    """Keep as many processes busy within as there will be beside a step, since they make it slower."""
    environment = os.environ | {THREADS: str(threads)}
    # In a session of their own, Ctrl-C does not reach them.
    busy = [
        subprocess.Popen([sys.executable, "-c", _BUSY], env=environment, start_new_session=True)
        for _ in range(others)
    ]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


def import_seconds(steps: Iterable[Step]) -> float:
    """Import what some steps do, and return the seconds that this took; nothing may have imported it before."""
    start = time.monotonic()
    names = _OF_ALL + (_OF_ENCODERS if any(step.shared for step in steps) else ())
    for name in names:
        import_module(name)
    return time.monotonic() - start


def rehearse(pipeline: Pipeline, steps: Iterable[Step], threads: int) -> dict[str, float]:
    """Return the seconds of the steps that fine-tune no encoder, by their names.

    Left out are those that load an encoder from elsewhere, translate, or cannot be built of a
    sample, such as one that leaves a fold without a row.

    Args:
        pipeline: of the workspace, to which nothing is written.
        steps: that are to be built.
        threads: with which they are to be built.
    """
    from threadpoolctl import threadpool_limits

    names = {step.name for step in steps}
    rows = len(pipeline.tables.examples)
    sizes = [rows] if rows <= _ALL else [_SMALL, min(_LARGE, rows)]
    times = []
    failed: list[str] = []
    try:
        with threadpool_limits(threads), silent(), redirect_stderr(io.StringIO()):
            for size in sizes:
                with _part_of(pipeline, size) as part:
                    times.append((len(part.tables.examples), dict(_build(part, names, failed))))
    except CompError as error:
        warn(
            f"Only the trainings of encoders are measured: a sample of the rows will not do ({error})"
        )
        return {}

    if failed and len(sizes) == 1:
        warn(f"The run will not do on these rows: {failed[0]}")
    (few, small), (many, large) = times[0], times[-1]
    per_row = {
        name: max(0.0, large[name] - small[name]) / (many - few) if many > few else 0.0
        for name in large.keys() & small.keys()
    }
    return {name: large[name] + each * (rows - many) for name, each in per_row.items()}


@contextmanager
def _part_of(pipeline: Pipeline, size: int) -> Iterator[Pipeline]:
    """Yield a workspace of about `size` rows of random queries, with the same settings."""
    workspace, examples = pipeline.workspace, pipeline.tables.examples
    sizes = examples.groupby("query_id").size().sample(frac=1, random_state=0)
    queries = sizes.index[: 1 + int(np.searchsorted(sizes.cumsum(), size))]
    rows = examples[examples["query_id"].isin(queries)]
    shown = store.product_rows(rows, pipeline.tables.products)
    products = pipeline.tables.products.iloc[np.unique(shown[shown >= 0])]

    with TemporaryDirectory(prefix="comp-dry-run-") as folder:
        shutil.copy(workspace.settings_file, folder)
        if workspace.recipe_folder.is_dir():
            shutil.copytree(workspace.recipe_folder, Path(folder, workspace.recipe_folder.name))
        part = Workspace.open(Path(folder), workspace.paths_from)
        store.save(part, pipeline.plan.contest, rows, products, "a dry run")
        # These know rows by their ids, and may be large.
        for source, link in (
            (workspace.members, part.members),
            (workspace.unlabelled, part.unlabelled),
        ):
            if source.exists():
                link.symlink_to(source.resolve())
        yield Pipeline(part)


def _build(part: Pipeline, names: set[str], failed: list[str]) -> Iterator[tuple[str, float]]:
    """Build the steps `names` and what they need, as far as that is possible; yield the seconds of each.

    `failed` gets why steps fail, the first one first: what needs one of them fails, too.
    """
    steps = part.steps()
    needed = in_order(
        [step for step in steps if step.name in names], {step.command for step in steps}
    )
    models = _models(part)
    for step in needed:
        try:
            if step.name in models:
                _make_up(part, step, *models[step.name])
            elif _is_rehearsed(step):
                watch = _Stopwatch()
                with drawn_by(watch), suppress(_Enough):
                    step.build()
                yield step.name, watch.seconds()
        except (CompError, OSError) as error:
            failed.append(str(error))


class _Enough(Exception):
    """Enough of a pre-training is timed."""


class _Stopwatch:
    """Times a step by the progress that it draws, see `Bars`; ends a pre-training when it has seen enough."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._first = 0.0  # when the first block began
        self._blocks = self._done = 0.0

    def add_task(self, description: str, *, total: float | None, unit: str) -> TaskID:
        """Begin to count where blocks of a pre-training are counted."""
        if unit != "blocks":
            return TaskID(0)
        self._first, self._blocks = time.monotonic(), total or 0.0
        return TaskID(1)

    def advance(self, task_id: TaskID, advance: float) -> None:
        """Count blocks; raises _Enough."""
        if task_id:
            self._done += advance
            if time.monotonic() - self._first > _TIME_LIMIT:
                raise _Enough

    def update(self, task_id: TaskID, *, completed: float) -> None:
        """Ignore what is done."""

    def remove_task(self, task_id: TaskID) -> None:
        """Ignore what has ended."""

    def seconds(self) -> float:
        """Return what the step has taken, or would have taken to its end."""
        now = time.monotonic()
        if not 0 < self._done < self._blocks:
            return now - self._began
        return self._first - self._began + (now - self._first) * self._blocks / self._done


def _is_rehearsed(step: Step) -> bool:
    """Return whether a step is built for real: nothing is loaded from elsewhere, and nothing takes hours."""
    kind, _, name = step.name.partition(" ")
    loads = kind == "encoder" and name.partition(" ")[0] not in OFFLINE
    return kind == "pretrain" or not (step.shared or loads or kind in ("translate", "char3"))


def _models(part: Pipeline) -> dict[str, tuple[MemberRecipe, tuple[int, ...]]]:
    """Return the recipe and the folds that are held out of each training of an encoder, by the name of its step."""
    found = {}
    for step in part.steps():
        if step.shared and step.trains is not None:
            recipe = part.recipes.member(step.trains)
            numbers = step.name.rpartition("fold")[2].removeprefix("s").split(" and ")
            found[step.name] = (recipe, tuple(map(int, numbers)))
    return found


def _make_up(part: Pipeline, step: Step, recipe: MemberRecipe, held: tuple[int, ...]) -> None:
    """Write what a model would say of the rows that it holds out, and of test rows."""
    examples, kind = part.tables.examples, part.recipes.kind_of(recipe)
    is_nested = len(held) > 1
    fold = part.tables.fold_of_rows("five" if is_nested else recipe.scheme)
    is_test = (examples["split"] == "test").to_numpy()
    said = _outputs(kind, examples, derive_seed(step.name))
    if not is_nested:
        of_test = part.plan.fold(recipe, *held).test_fingerprint
        path = part.workspace.test_fold(recipe.name, held[0])
        predictions.write_outputs(path, said[is_test], kind, of_test)
    held_out = fold.isin(held).to_numpy() & ~is_test
    predictions.write_outputs(step.files[0], said[held_out], kind, step.fingerprint)


def _outputs(kind: Kind, examples: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Return example_id and outputs that know as much of the labels as noise leaves."""
    rng = np.random.default_rng(seed)
    target = kind.numeric_target(examples)  # (rows,)
    known = np.where(np.isnan(target), 0.0, target)
    if kind.is_classes:
        values = rng.dirichlet(np.ones(kind.targets), len(examples))
        values = (values + np.eye(kind.targets)[known.astype(np.int64)]) / 2
    else:
        values = ((known + rng.uniform(size=len(examples))) / 2)[:, None]
        values = kind.from_unit(values) if kind.role == "rating" else values
    frame = pd.DataFrame(values, columns=list(kind.outputs))
    frame.insert(0, "example_id", examples["example_id"].to_numpy())
    return frame
