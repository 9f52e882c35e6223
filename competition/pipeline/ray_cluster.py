"""A cluster of Ray: that of an address, or one of this machine alone, for as long as a command lasts."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from competition.core.console import console
from competition.core.errors import CompError, InputError, pluralize
from competition.pipeline.crew import THREADS
from competition.pipeline.jobs import step_threads
from competition.pipeline.schedule import Machine

_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_worker_niceness": "0",  # its 15 leaves next to nothing beside any other work
}
_STORE = 80 << 20  # bytes; Ray takes no less. What does not fit goes to its disk.


@dataclass(frozen=True)
class Cluster:
    """A cluster of Ray that this process is connected to.

    Attributes:
        machine: what its nodes have in all.
        scratch: where nodes keep copies of the workspace; None where they share its file system.
        largest: bytes of memory of the node that has most.
        home: the node of this process.
        home_cores: of that node.
    """

    machine: Machine
    scratch: Path | None
    largest: int
    home: str
    home_cores: float


@contextmanager
def connect(
    address: str | None, jobs: int | None, gpus_each: float, scratch: Path | None
) -> Iterator[Cluster]:
    """Join a cluster, or start one on this machine, for as long as the block lasts; nothing is reported to anyone.

    Args:
        address: of the cluster; None starts one.
        jobs: steps at a time; as many as there are cores for unless given.
        gpus_each: GPUs of each step that uses any.
        scratch: see `Cluster`.

    Raises:
        InputError: Ray is not installed, there is no cluster at `address`, or no node has room for a step.
    """
    os.environ |= _ENVIRONMENT
    try:
        import ray
    except ModuleNotFoundError:
        raise InputError(
            "`--on ray` needs ray, which is not installed: `pip install comp-relevance[ray]`."
        ) from None

    threads = step_threads(jobs or os.cpu_count() or 1)
    # It says on stdout what its exceptions say, too.
    ray._private.worker.print_to_stdstream = lambda *_, **__: None
    handler = signal.getsignal(signal.SIGTERM)
    folder = tempfile.mkdtemp(prefix="comp-ray-", dir="/tmp") if address is None else None
    own: dict[str, Any] = {
        "num_cpus": None if jobs is None else jobs * threads,
        "include_dashboard": False,
        "object_store_memory": _STORE,
        "_temp_dir": folder,
    }
    try:
        ray.init(
            address=address or "local",
            log_to_driver=False,
            logging_level=logging.ERROR,
            runtime_env={"env_vars": {THREADS: str(threads)}},
            **(own if folder else {}),
        )
    except ConnectionError as error:
        raise InputError(f"There is no Ray cluster at {address}: {error}") from error

    # Ray's would end this process in the middle of things.
    signal.signal(signal.SIGTERM, handler)
    try:
        yield _describe(jobs, threads, gpus_each, scratch)
    except ray.exceptions.RayError as error:
        raise CompError(
            f"The Ray cluster does not answer any more ({error}): the same command goes on from what is done."
        ) from error
    finally:
        ray.shutdown()
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def _describe(jobs: int | None, threads: int, gpus_each: float, scratch: Path | None) -> Cluster:
    import ray

    home = ray.get_runtime_context().get_node_id()
    nodes = {node["NodeID"]: node["Resources"] for node in ray.nodes() if node["Alive"]}
    room = sum(int(node.get("CPU", 0) // threads) for node in nodes.values())
    gpus = int(sum(node.get("GPU", 0) for node in nodes.values()))
    if not room:
        raise InputError(f"No machine of the cluster has {threads} cores: lower {THREADS}.")
    if gpus_each > max(gpus, 1):
        raise InputError(f"--gpus {gpus_each:g} is more than the cluster has: {gpus}.")

    console.print(f"Ray: {pluralize(len(nodes), 'machine')}, {pluralize(gpus, 'GPU')}.")
    memory = [int(node.get("memory", 0)) for node in nodes.values()]
    machine = Machine(min(jobs or room, room), gpus, sum(memory), threads, gpus_each)
    return Cluster(machine, scratch, max(memory), home, nodes[home].get("CPU", 0))
