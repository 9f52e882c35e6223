"""A step makes one artefact; steps are executed in order, each under its lock, and only where they are not done."""

from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from competition.core import distributed
from competition.core.console import console
from competition.core.workspace import DATA_LOCK, Workspace
from competition.training.checkpoint_index import checkpoint_fingerprints


@dataclass(frozen=True)
class Step:
    """One artefact: what it would be made from now, what it was made from, and how to make it."""

    name: str
    inputs: str
    recorded: Callable[[], str | None]
    make: Callable[[], None]
    shared: bool = False  # whether several processes make it together; else the first of them does
    checkpoints: Path | None = None  # the folder of those of its training

    @property
    def state(self) -> str:
        """`done`, `begun` (training goes on from a checkpoint), `stale` (made from something else) or `missing`."""
        recorded = self.recorded()
        if recorded == self.inputs:
            return "done"
        if self.checkpoints is not None and self.inputs in checkpoint_fingerprints(
            self.checkpoints
        ):
            return "begun"
        return "missing" if recorded is None else "stale"


def execute(workspace: Workspace, steps: Iterable[Step]) -> int:
    """Make what is not done, in order, each under its lock; returns how many steps ran.

    Of several processes the first takes the locks and makes what is not shared, while the others
    wait for it.

    Raises:
        CompError: the data are being replaced.
    """
    with distributed.process_group(), workspace.lock(DATA_LOCK, shared=True):
        listed = list(steps)
        return sum(
            _execute(workspace, step, f"[{i}/{len(listed)}]")
            for i, step in enumerate(listed, start=1)
        )


def _execute(workspace: Workspace, step: Step, place: str) -> bool:
    """Make one step if it is not done; returns whether it was made here."""
    if distributed.broadcast_from_main(step.state) == "done":
        return False
    with workspace.lock(step.name, wait=True) if distributed.is_main_process() else nullcontext():
        state = distributed.broadcast_from_main(step.state)
        if state == "done":  # another command finished it in the meantime
            return False
        console.print(
            f"{place} {step.name}" + (" (out of date)" if state == "stale" else ""), style="bold"
        )
        if step.shared or distributed.is_main_process():
            step.make()
        distributed.barrier()  # what is made is read by all
    return True
