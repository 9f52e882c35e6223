"""Steps as tasks of Ray: `jobs` schedules, `ray_tasks` builds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

from competition import __version__
from competition.core.commands import named_workspace
from competition.core.console import console
from competition.core.errors import CompError
from competition.core.fingerprint import fingerprint
from competition.core.workspace import Workspace
from competition.pipeline.crew import Builder
from competition.pipeline.execute import Step, in_order
from competition.pipeline.parcels import Packed, Parcel, bring, files_no_step_leaves, files_of, pack
from competition.pipeline.ray_cluster import Cluster
from competition.pipeline.ray_tasks import Desk, Task, build
from competition.pipeline.running import note_of_this_process
from competition.pipeline.schedule import Machine, Work
from competition.pipeline.worker import Built, Failed, Lost, Order, Settings


@dataclass(eq=False)
class RayWorker(Builder):
    """A step of which a task, or several that are connected, are under way."""

    number: int = 0
    tasks: list[Any] = field(default_factory=list)  # references to what they return
    left: list[Any] = field(default_factory=list)  # of these, the tasks that have not ended
    held: ExitStack = field(default_factory=ExitStack)  # lock and placement group of the step
    host: str = "a machine of the cluster"


@dataclass
class RayCrew:
    """Builds each step by a task with its resources."""

    cluster: Cluster
    machine: Machine
    work: Work
    workspace: Workspace
    settings: Settings
    workers: list[RayWorker] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Start the actor that hears the tasks, on this machine."""
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        self._here = NodeAffinitySchedulingStrategy(self.cluster.home, soft=False)
        desk = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(Desk)
        self._desk = desk.options(scheduling_strategy=self._here).remote()
        self._news = self._desk.hear.remote()
        self._build = ray.remote(max_retries=0)(build)
        # A process that has used a GPU, or was connected to others, ends with its step.
        self._build_once = ray.remote(max_retries=0, max_calls=1)(build)
        self._numbers = count()
        self._sent: dict[tuple[Path, int, int], Packed] = {}
        made_from = fingerprint([[step.name, step.fingerprint] for step in self.work.steps])
        # The folder of copies: another one for other settings, recipes or rows.
        self._copy = f"{self.workspace.root.resolve().name}-{made_from}"

    def worker_for(self, on_gpu: bool) -> RayWorker | None:
        """Return a builder that is idle; None if there is none."""
        idle = next((each for each in self.workers if each.step is None), None)
        if idle is None and len(self.workers) < self.machine.jobs:
            idle = RayWorker()
            self.workers.append(idle)
        return idle

    def begin(self, worker: RayWorker, step: Step) -> None:
        """Hand a step to the cluster; raises CompError where another command works on it."""
        worker.held.enter_context(self.workspace.lock(step.name))
        worker.number = next(self._numbers)
        cluster, machine = self.cluster, self.machine
        on_gpu = step.shared and machine.gpus > 0
        world = max(1, int(machine.gpus_each)) if on_gpu else 1
        # Without a shared file system, only what takes long is sent away.
        is_sent = bool(cluster.scratch and step.files and (step.shared or step.trains))
        is_here = bool(cluster.scratch) and not is_sent
        order = Order(step.name, step.fingerprint, self.work.recipes.get(step.name))
        ordered = Task(
            worker.number,
            order,
            self.settings,
            note_of_this_process(self.workspace).resolve(),
            cluster.home,
            cluster.scratch / self._copy if cluster.scratch else None,
            self._inputs(step) if is_sent else {},
            __version__,
            world=world,
        )

        takes: dict[str, Any] = {
            "num_cpus": min(machine.threads, cluster.home_cores) if is_here else machine.threads,
            "num_gpus": min(machine.gpus_each, 1) if on_gpu else 0,
            "memory": min(self.work.memory.get(step.name, 0), cluster.largest),
        }
        where = self._together(worker, takes, world) if world > 1 else [{}]
        if is_here:
            where = [{"scheduling_strategy": self._here}]
        build = self._build_once if on_gpu else self._build
        worker.tasks = [
            build.options(**takes, **each).remote(replace(ordered, rank=rank), self._desk)
            for rank, each in enumerate(where)
        ]
        worker.left = list(worker.tasks)

    def _together(
        self, worker: RayWorker, takes: Mapping[str, Any], world: int
    ) -> list[dict[str, Any]]:
        """Return the places of processes that build one step: room for all of them is taken at once."""
        from ray.util.placement_group import placement_group, remove_placement_group
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        each = {"CPU": takes["num_cpus"], "GPU": takes["num_gpus"], "memory": takes["memory"]}
        # The copy of a workspace, with its checkpoints, is on one machine.
        strategy = "STRICT_PACK" if self.cluster.scratch else "PACK"
        group = placement_group([each] * world, strategy=strategy)
        worker.held.callback(remove_placement_group, group)
        return [
            {"scheduling_strategy": PlacementGroupSchedulingStrategy(group, rank)}
            for rank in range(world)
        ]

    # --- files, where machines share none ---

    def _inputs(self, step: Step) -> Parcel:
        """Return what a step reads: the rows, the settings, and all that it is made from."""
        steps = self.work.steps
        commands = {each.command for each in steps}
        needs = [each for each in in_order([step], commands) if each is not step]
        paths = files_no_step_leaves(self.workspace, steps)
        # The weights of models are read by the next step alone, outputs also by later ones.
        for each in needs:
            is_model = each.trains is not None and each not in step.needs
            paths += [path for path in each.files if path.is_file() or not is_model]
        root = self.workspace.root
        return {str(path.relative_to(root)): self._send(path) for path in files_of(paths)}

    def _send(self, path: Path) -> Packed:
        """Return a file whose bytes are in the object store, each file once."""
        import ray

        found = path.stat()
        key = path, found.st_mtime_ns, found.st_size
        if key not in self._sent:
            packed = pack(path)
            self._sent[key] = replace(packed, content=ray.put(packed.content))
        return self._sent[key]

    # --- what tasks say ---

    def messages(self) -> Iterator[tuple[RayWorker, tuple[object, ...]]]:
        """Wait for a task to say something, to end or to die, and yield it."""
        import ray

        running = {task: worker for worker in self.workers for task in worker.left}
        (ready,), _ = ray.wait([self._news, *running], num_returns=1)
        if ready in running:
            # What it said goes before how it ended.
            self._desk.wake.remote()
        said = ray.get(self._news)
        self._news = self._desk.hear.remote()

        by_number = {worker.number: worker for worker in self.workers if worker.step is not None}
        for number, message in said:
            if number in by_number:
                if message[0] == "host":
                    by_number[number].host = str(message[1])
                yield by_number[number], message
        if ready in running and running[ready].step is not None:
            yield from self._ended(running[ready], ready)

    def _ended(
        self, worker: RayWorker, task: Any
    ) -> Iterator[tuple[RayWorker, tuple[object, ...]]]:
        """Yield how a step has ended, if its last task has."""
        import ray

        worker.left.remove(task)
        ended = self._result(worker, task)
        if worker.left and isinstance(ended, Built):
            return
        for other in worker.left:  # it would wait for ever
            ray.cancel(other, force=True)
        worker.left = []
        worker.held.close()
        self._desk.end.remote(worker.number)
        yield worker, ("end", ended)

    def _result(self, worker: RayWorker, task: Any) -> Built | Failed | Lost:
        import ray
        from ray import exceptions

        step = worker.step
        assert step is not None
        ended: Built | Failed
        parcel: Parcel
        try:
            ended, parcel = ray.get(task)
            for each in (step, *(each for each in self.work.steps if each.along is step)):
                if parcel and each.state != "done":
                    bring(each, parcel, self.workspace)
            return ended
        except exceptions.TaskCancelledError:
            return Failed(None)
        except exceptions.OutOfMemoryError:
            return Lost(f"the memory of {worker.host} was full, so Ray ended it")
        except (
            exceptions.WorkerCrashedError,
            exceptions.NodeDiedError,
            exceptions.LocalRayletDiedError,
            exceptions.ObjectLostError,
        ):
            return Lost(f"its process on {worker.host}, or that machine, has died")
        except exceptions.RayError as error:
            return Failed(CompError(f"Ray could not build {step.name}: {error}"))
        except CompError as error:
            return Failed(error)

    def stop(self) -> None:
        """Ask all tasks to end where nothing is half done, and wait for it."""
        import ray

        left = [task for worker in self.workers for task in worker.left]
        for task in left:
            ray.cancel(task)
        if left:
            ray.wait(left, num_returns=len(left))
        self._desk.wake.remote()
        # Ray would complain about a call without an end.
        ray.wait([self._news])
        for worker in self.workers:
            worker.held.close()


@contextmanager
def open_ray_crew(
    cluster: Cluster, workspace: Workspace, machine: Machine, work: Work, has_bars: bool
) -> Iterator[RayCrew]:
    """Yield what builds the steps of a workspace on a cluster; the others see `jobs`."""
    settings = Settings(workspace.root.resolve(), named_workspace(), console.quiet, has_bars)
    crew = RayCrew(cluster, machine, work, workspace, settings)
    try:
        yield crew
    finally:
        crew.stop()
