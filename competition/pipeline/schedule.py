"""Which steps may begin now: those whose needs are built and for which the machine has room."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from heapq import heappop, heappush

from competition.config.recipe import MemberRecipe
from competition.pipeline.execute import Step


@dataclass(frozen=True)
class Machine:
    """What steps share: how many are built at a time, on how many GPUs, in how many bytes of memory."""

    jobs: int
    gpus: int
    memory: int
    threads: int  # of each step
    gpus_each: float = 1  # of each step that uses any


@dataclass
class Work:
    """What may be built; a search adds to it, and its crew sees that.

    Attributes:
        steps: all, with those that are built along.
        memory: bytes by the name of a step, as far as they are known.
        recipes: by the name of a step the recipe that has it, where the workspace does not ask for it.
    """

    steps: list[Step] = field(default_factory=list)
    memory: dict[str, int] = field(default_factory=dict)
    recipes: dict[str, MemberRecipe] = field(default_factory=dict)


class Schedule:
    """The steps that are left, each of which begins behind what it needs.

    The first to begin are those behind which the most trainings wait one after another, such as the
    folds of a run that an audit reads; equal ones begin in the order in which they are given, those
    that find room before those that do not.
    """

    def __init__(self, steps: Iterable[Step], machine: Machine, memory: Mapping[str, int]) -> None:
        """Begin with nothing built.

        Args:
            steps: all that are to be built, in order.
            machine: what they share.
            memory: bytes by the name of a step, as far as they are known.
        """
        self._waiting: dict[str, Step] = {}
        self._running: dict[str, Step] = {}
        self._machine = machine
        self._memory = memory
        self.add(steps)

    def add(self, steps: Iterable[Step]) -> None:
        """Take up steps that are to be built, too, each behind what it needs; those that are known are left out."""
        steps = [*self._running.values(), *self._waiting.values(), *steps]
        steps = list({step.name: step for step in steps}.values())
        self._needs = needs_among({step.name: step for step in steps})
        length = chains(steps, lambda step: float(step.shared or step.trains is not None))
        waiting = [step for step in steps if step.name not in self._running]
        waiting.sort(key=lambda step: -length[step.name])  # stable
        self._waiting = {step.name: step for step in waiting}

    def startable(self) -> Iterator[Step]:
        """Yield the steps that may begin now, each of them if no other one does."""
        if len(self._running) >= self._machine.jobs:
            return

        unbuilt = self._waiting.keys() | self._running.keys()
        for step in list(self._waiting.values()):
            if not self._needs[step.name] & unbuilt and self._has_room(step):
                yield step

    def _has_room(self, step: Step) -> bool:
        if self.on_gpu(step):
            users = 1 + sum(map(self.on_gpu, self._running.values()))
            # Ten steps of a tenth of a GPU fit, whatever the floating-point numbers say.
            if users > 1 and users * self._machine.gpus_each > self._machine.gpus + 1e-6:
                return False

        # What is larger than the machine is built alone: its forecast may be too high.
        held = sum(self._memory.get(name, 0) for name in self._running)
        needed = self._memory.get(step.name, 0)
        return not self._running or held + needed <= self._machine.memory

    def on_gpu(self, step: Step) -> bool:
        """Return whether a step takes a GPU."""
        return step.shared and self._machine.gpus > 0

    def begin(self, step: Step) -> None:
        """Take what a step needs of the machine."""
        self._running[step.name] = self._waiting.pop(step.name)

    def finish(self, step: Step) -> None:
        """Give it back: the step is built."""
        del self._running[step.name]

    def put_back(self, step: Step) -> None:
        """Give it back: the step is not built, and begins again before all others."""
        self._waiting = {step.name: self._running.pop(step.name)} | self._waiting


def needs_among(steps: Mapping[str, Step]) -> dict[str, set[str]]:
    """Return which of some steps each of them needs, at once or through others that are not among them."""
    found: dict[str, set[str]] = {}

    def visit(step: Step) -> set[str]:
        if step.name not in found:
            found[step.name] = set().union(
                *({need.name} | visit(need) for need in step.needs), set()
            )
        return found[step.name]

    return {name: visit(step) & steps.keys() for name, step in steps.items()}


def chains(steps: Iterable[Step], seconds: Callable[[Step], float]) -> dict[str, float]:
    """Return how long each step takes with what waits for it at least: the longest chain that begins with it.

    Args:
        steps: in order, each behind what it needs.
        seconds: of a step.
    """
    by_name = {step.name: step for step in steps}
    needs = needs_among(by_name)
    # The longest chain of what waits for a step.
    behind = dict.fromkeys(by_name, 0.0)
    lengths: dict[str, float] = {}
    for name, step in reversed(by_name.items()):
        lengths[name] = seconds(step) + behind[name]
        for need in needs[name]:
            behind[need] = max(behind[need], lengths[name])
    return lengths


def simulate(schedule: Schedule, seconds: Callable[[Step], float]) -> float:
    """Return how many seconds the steps of a schedule take side by side, where each takes its `seconds`."""
    now = 0.0
    ends: list[tuple[float, int, Step]] = []
    begun = 0
    while True:
        while (step := next(schedule.startable(), None)) is not None:
            schedule.begin(step)
            heappush(ends, (now + seconds(step), begun, step))
            begun += 1
        if not ends:
            return now

        now, _, step = heappop(ends)
        schedule.finish(step)
