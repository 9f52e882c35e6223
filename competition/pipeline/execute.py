"""Steps with edges: order them, find what is missing, and build it.

Every step knows the fingerprint of what it would be made from now, and where the fingerprint of
what it was last made from is recorded. It is built when the two differ; so a changed recipe redoes
only what depends on it, and new test rows redo predictions only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from competition.core import distributed
from competition.core.commands import command_for
from competition.core.console import console
from competition.core.errors import CompError
from competition.core.workspace import DATA_LOCK, Workspace
from competition.pipeline.running import announce
from competition.pipeline.time_left import TimeLeft
from competition.training.checkpoint_index import checkpoint_fingerprints


@dataclass(frozen=True, eq=False)
class Step:
    """One artefact: the steps that it is made from, and the function that makes it.

    A step without a `command` is built along with whatever needs it. One that has a command belongs
    to a run: another run's command reads it and does not build it.
    """

    name: str
    fingerprint: str
    needs: tuple[Step, ...]
    recorded: Callable[[], str | None]  # the fingerprint that it was last built from
    build: Callable[[], None]
    command: str | None = None
    shared: bool = False  # whether several processes build it together; else the first of them does
    checkpoints: Path | None = None  # the folder of those of its training
    along: Step | None = None  # the step that builds this one, too, where both are missing
    summary: Callable[[], str] | None = None  # of what was built, in a line
    trains: str | None = None  # the recipe of which it trains a model
    # What it leaves, the first of them last; empty where it is not to be brought from elsewhere.
    files: tuple[Path, ...] = ()

    @property
    def state(self) -> str:
        """`done`, `begun` (training goes on from a checkpoint), `stale` (made from something else) or `missing`."""
        recorded = self.recorded()
        if recorded == self.fingerprint:
            return "done"

        folder = self.checkpoints
        if folder is not None and self.fingerprint in checkpoint_fingerprints(folder):
            return "begun"
        return "missing" if recorded is None else "stale"


def in_order(targets: Iterable[Step], commands: Iterable[str | None] | None = None) -> list[Step]:
    """Return the steps that build some targets, each behind what it needs.

    Args:
        targets: in the order in which they are to be built.
        commands: whose steps are built; those of the targets and of no run unless given.

    Raises:
        ValueError: two different steps have one name.
    """
    targets = list(targets)
    built = set(commands or {None, *(step.command for step in targets)})
    order: dict[str, Step] = {}

    def visit(step: Step) -> None:
        if order.get(step.name) is step:
            return
        for need in step.needs:
            if need.command in built:
                visit(need)
        # Two steps of one name are one where they build the same.
        if order.setdefault(step.name, step).fingerprint != step.fingerprint:
            raise ValueError(f"two different steps are called {step.name!r}")

    for target in targets:
        visit(target)
    return list(order.values())


def counted_steps(missing: Sequence[Step]) -> list[Step]:
    """Return the steps that a command counts: those that are missing, without what another one builds along."""
    return [step for step in missing if step.along is None or step.along not in missing]


@dataclass(frozen=True)
class StepStates:
    """Steps and their states by name, each looked at once, counted as `comp run` counts them."""

    steps: Sequence[Step] = ()
    of: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def look(cls, steps: Sequence[Step]) -> StepStates:
        """Look at the files of some steps."""
        return cls(steps, {step.name: step.state for step in steps})

    @property
    def total(self) -> int:
        """How many steps there are."""
        return len(counted_steps(self.steps))

    @property
    def left(self) -> list[Step]:
        """The steps that are not done."""
        return counted_steps([step for step in self.steps if self.of[step.name] != "done"])


def unmet_needs(steps: Iterable[Step]) -> list[Step]:
    """Return what steps that are not done read, is not among them and is not done either, in order."""
    steps = list(steps)
    here = {step.name for step in steps}
    unmet: dict[str, Step] = {}

    def visit(step: Step) -> None:
        if step.name in here or step.name in unmet or step.state == "done":
            return
        # Behind its own needs, so that the first one that is named can be built at once.
        for need in step.needs:
            visit(need)
        unmet[step.name] = step

    for step in steps:
        outside = [need for need in step.needs if need.name not in here]
        if outside and step.state != "done":
            for need in outside:
                visit(need)
    return list(unmet.values())


def execute(workspace: Workspace, targets: Iterable[Step], left: TimeLeft | None = None) -> int:
    """Build what is not done of some targets and of what they need, in order, each step under its lock.

    Of several processes the first takes the locks and builds what is not shared, while the others
    wait for it.

    Args:
        workspace: whose steps.
        targets: in the order in which they are to be built.
        left: counts the steps of an open-ended command beyond these; None for a command of these alone.

    Returns:
        The number of steps that were built.

    Raises:
        CompError: the data are being replaced, or a step of another run is missing.
    """
    steps = in_order(targets)
    built = 0
    with (
        distributed.process_group(),
        workspace.lock(DATA_LOCK, shared=True),
        announce(workspace) as announcement,
    ):
        if unmet := distributed.broadcast_from_main(unmet_sentence(steps)):
            raise CompError(unmet)

        # All processes follow what the first one sees of the files, or one would wait for ever.
        names = distributed.broadcast_from_main(
            [step.name for step in steps if step.state != "done"]
        )
        missing = [step for step in steps if step.name in set(names)]
        left = left or TimeLeft(step.name for step in counted_steps(missing))

        is_main = distributed.is_main_process()
        for step in missing:
            with workspace.lock(step.name, wait=True) if is_main else nullcontext():
                state = distributed.broadcast_from_main(step.state)
                if (
                    state == "done"
                ):  # along with another step, or by another command in the meantime
                    left.skip(step.name)
                    continue

                note = " (out of date)" if state == "stale" else ""
                console.print(f"{left.place(step.name)} {step.name}{note}", style="bold")
                announcement.begin(step.name)
                with left.timed(step.name):
                    if step.shared or is_main:
                        step.build()
                    # What is built is read by all.
                    distributed.barrier()
                announcement.end(step.name, left.sentence())
                # A search says by itself what its trainings score.
                if step.summary is not None and is_main and not left.open_ended:
                    console.print(f"{step.summary()}; {left.sentence()}")
            built += 1
    return built


def unmet_sentence(steps: list[Step]) -> str:
    """Return what is missing and the one command that builds all of it; empty where nothing is."""
    unmet = unmet_needs(steps)
    if not unmet:
        return ""

    first = unmet[0]
    state = "out of date" if first.state == "stale" else "missing"
    commands = dict.fromkeys(step.command for step in unmet if step.command)
    line = " && ".join(map(command_for, commands))
    if len(unmet) == 1:
        return f"{first.name} is {state}: `{line}` builds it."
    return (
        f"{len(unmet)} steps are missing or out of date, the first is {first.name}: "
        f"`{line}` builds them."
    )
