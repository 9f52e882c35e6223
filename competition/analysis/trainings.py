"""Trainings of recipes that no file holds, one after another or side by side, for searches.

Side by side, the steps are those of one schedule, see `pipeline.jobs`, which goes on for as long as
what has ended asks for more.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple, Protocol

from competition.analysis.forecast import forecast_memory
from competition.core.errors import Diverged
from competition.core.workspace import Workspace
from competition.pipeline.execute import Step, execute, in_order
from competition.pipeline.jobs import Crew, OpenCrew, execute_jobs
from competition.pipeline.schedule import Machine, Work
from competition.pipeline.steps import Pipeline
from competition.pipeline.time_left import TimeLeft


class Fold(NamedTuple):
    """A fold of a recipe that the pipeline knows."""

    recipe: str
    number: int


# Hears which fold is trained, and why where it diverged; returns those that are to be trained next.
Ended = Callable[[Fold, Diverged | None], Iterable[Fold]]


class Trainer(Protocol):
    """Trains folds."""

    @property
    def pipeline(self) -> Pipeline:
        """Of the workspace."""

    @property
    def at_a_time(self) -> int:
        """How many side by side."""

    def train(self, first: Iterable[Fold], ended: Ended) -> None:
        """Train what is missing of some folds, and of those that `ended` asks for.

        Raises:
            CompError: a training failed; whatever `ended` raised, behind those that have begun.
        """


@dataclass(frozen=True)
class OneAfterAnother:
    """Trains in this process."""

    pipeline: Pipeline
    at_a_time: int = 1
    _left: TimeLeft = field(default_factory=partial(TimeLeft, open_ended=True))

    def train(self, first: Iterable[Fold], ended: Ended) -> None:
        """See `Trainer`."""
        waiting = deque(first)
        while waiting:
            fold = waiting.popleft()
            diverged = None
            try:
                execute(self.pipeline.workspace, self.pipeline.training_steps(*fold), self._left)
            except Diverged as error:
                diverged = error
            waiting.extend(ended(fold, diverged))


@dataclass
class SideBySide:
    """Trains by a crew, which stays from one search to its confirmation: to start it takes seconds.

    Attributes:
        pipeline: of the workspace.
        machine: what the trainings share.
        open_crew: of those who train.
    """

    pipeline: Pipeline
    machine: Machine
    open_crew: OpenCrew
    _work: Work = field(default_factory=Work)
    _crews: ExitStack = field(default_factory=ExitStack)
    _crew: Crew | None = None

    @property
    def at_a_time(self) -> int:
        """As many as the machine makes steps."""
        return self.machine.jobs

    def train(self, first: Iterable[Fold], ended: Ended) -> None:
        """See `Trainer`."""
        waiting: dict[str, Fold] = {}  # by the name of the step

        def begin(folds: Iterable[Fold]) -> list[Step]:
            steps = []
            ready = deque(folds)
            while ready:
                fold = ready.popleft()
                *_, step = of_fold = self._steps(fold)
                if step.state == "done" and step.name not in waiting:
                    ready.extend(ended(fold, None))
                    continue
                waiting[step.name] = fold
                steps += of_fold
            return steps

        def follow(step: Step, diverged: Diverged | None) -> list[Step]:
            fold = waiting.pop(step.name, None)
            return [] if fold is None else begin(ended(fold, diverged))

        steps = begin(first)
        space = self.pipeline.workspace
        execute_jobs(space, steps, self.machine, self._work, self._stay, follow)

    def _steps(self, fold: Fold) -> list[Step]:
        """Return the steps that train a fold, and let the crew know of them."""
        steps = in_order(self.pipeline.training_steps(*fold))
        recipe = self.pipeline.recipes.member(fold.recipe)
        work = self._work
        new = [step for step in steps if step.name not in work.recipes]
        work.memory |= forecast_memory(self.pipeline, new, self.machine.gpus)
        work.recipes |= {step.name: recipe for step in new}

        # With the test predictions, which a training leaves, too.
        known = {step.name for step in work.steps}
        of_recipe = in_order(self.pipeline.recipe_steps(*fold))
        work.steps += [step for step in of_recipe if step.name not in known]
        return steps

    @contextmanager
    def _stay(
        self, workspace: Workspace, machine: Machine, work: Work, has_bars: bool
    ) -> Iterator[Crew]:
        """Open the crew when it is needed first."""
        if self._crew is None:
            opened = self.open_crew(workspace, machine, work, has_bars)
            self._crew = self._crews.enter_context(opened)
        try:
            yield self._crew
        except BaseException:
            # What is under way ends before the locks are given back.
            self.close()
            raise

    def close(self) -> None:
        """End the crew."""
        self._crew = None
        self._crews.close()
