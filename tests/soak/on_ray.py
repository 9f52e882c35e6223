"""`comp run --on ray` whose tasks, nodes or command are killed: the bytes of one process, and no step ends twice."""

import random
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from competition.core.workspace import Workspace
from tests.soak.faults import SETTINGS, Fault, Kind, Undisturbed, _ends, kill, run

# Four recipes of five folds.
FOUR = SETTINGS.replace('["lexical", "c1"]', '["lexical", "trees", "c1", "c2"]')
TREES = 'description = "other trees"\nmodel = "lexical"\nseed = 7\n'
CPUS = 2  # of each of two nodes: four steps at a time
TASKS = ("ray::build", "ray::Desk")  # titles of the processes of a command, without those of Ray
AT_ONCE = 8  # kills that one run meets at most
_SUMMARY = re.compile(r"^(\w+ fold \d): task2 ", re.MULTILINE)

# Two machines, as far as Ray can tell. A line on stdin takes the second away and brings another.
_CLUSTER = """
import os, sys
os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}
from ray.cluster_utils import Cluster
node = {"num_cpus": int(sys.argv[1]), "object_store_memory": 80 << 20}
cluster = Cluster(initialize_head=True, head_node_args=node | {"include_dashboard": False})
second = cluster.add_node(**node)
print(cluster.address, flush=True)
for _ in sys.stdin:
    cluster.remove_node(second, allow_graceful=False)
    second = cluster.add_node(**node)
    print("changed", flush=True)
cluster.shutdown()
"""


def four_recipes(workspace: Workspace) -> None:
    """Let a small workspace ask for four recipes of five folds."""
    workspace.recipe_folder.mkdir()
    (workspace.recipe_folder / "trees.toml").write_text(TREES, encoding="utf-8")
    workspace.settings_file.write_text(FOUR, encoding="utf-8")


@dataclass
class Nodes:
    """A cluster of two nodes in a process of its own."""

    process: subprocess.Popen[str]
    address: str
    ended: dict[Path, Counter[str]] = field(default_factory=dict)  # workspace -> ends of each step

    @classmethod
    @contextmanager
    def start(cls) -> Iterator["Nodes"]:
        """Start them, and stop them at the end."""
        process = subprocess.Popen(
            [sys.executable, "-c", _CLUSTER, str(CPUS)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert process.stdout is not None
        try:
            yield cls(process, process.stdout.readline().strip())
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.wait()

    def change(self) -> None:
        """Take a node away without a word, and bring another."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "changed\n"

    def tasks(self) -> list[psutil.Process]:
        """Return the processes that build steps, and those that hear them."""
        found = []
        for child in psutil.Process(self.process.pid).children(recursive=True):
            try:
                title = " ".join(child.cmdline())
            except psutil.Error:
                continue
            if title.startswith(TASKS):
                found.append(child)
        return found

    def run(
        self,
        root: Path,
        options: tuple[str, ...],
        killed_after: float | None = None,
        strike: Callable[[int], None] = kill,
    ) -> int:
        """Run the command on these nodes, see `faults.run`; fails where a step has ended a second time."""
        asked = ("--on", "ray", "--address", self.address, *options)
        code, said = run(root, None, killed_after, strike, asked)
        ended = self.ended.setdefault(root, Counter())
        ended.update(_SUMMARY.findall(said))
        assert set(ended.values()) <= {1}, f"made twice: {ended}: {said}"
        assert code in (0, 1, -9), said
        assert (code == 1) == ("was begun 3 times and lost" in said), said
        return code


def make_once_each(nodes: Nodes, whole: Undisturbed) -> int:
    """Make everything by four workers on two nodes that nothing happens to; return how often that went wrong."""
    root = whole.again("once-each")
    code = nodes.run(root, ())
    folds = len(nodes.ended[root])
    whole.check(root)
    print(f"four workers of Ray: {folds} of 20 folds made once each, the bytes of one process")
    return int(code != 0 or folds != 20)


def _disk(root: Path, draw: random.Random) -> tuple[str, ...]:
    """Let the machines share the file system, or not."""
    return draw.choice([(), ("--scratch", str(root.with_name(f"{root.name}-scratch")))])


def kinds(nodes: Nodes, kills: int) -> dict[Kind, int]:
    """Return the faults, each with how often it is to happen."""

    def killed_ray_tasks(whole: Undisturbed, draw: random.Random, share: float) -> Fault:
        """SIGKILL of processes that build or hear, one after the other."""
        return Fault(
            f"up to {AT_ONCE} SIGKILLs of tasks", lambda root: _kill_tasks(nodes, root, draw)
        )

    def killed_ray_nodes(whole: Undisturbed, draw: random.Random, share: float) -> Fault:
        """A node dies, and another joins."""
        seconds = draw.uniform(5, 15)

        def strike(root: Path) -> int:
            code = nodes.run(root, _disk(root, draw), seconds, lambda _: nodes.change())
            assert code == 0
            return 1

        return Fault(f"a node is changed after {seconds:.3f} s", strike)

    def killed_ray_commands(whole: Undisturbed, draw: random.Random, share: float) -> Fault:
        """SIGKILL of the command, and of the same command again."""

        def strike(root: Path) -> int:
            options = _disk(root, draw)
            killed = 0
            while killed < AT_ONCE and nodes.run(root, options, draw.uniform(2, 20)) != 0:
                killed += 1
            return killed

        return Fault(f"up to {AT_ONCE} SIGKILLs of the command", strike)

    few = -(-kills // 5)
    return {killed_ray_tasks: kills, killed_ray_nodes: few, killed_ray_commands: few}


def _kill_tasks(nodes: Nodes, root: Path, draw: random.Random) -> int:
    """Run the command once, and kill its tasks meanwhile; return how many."""
    killed = 0

    def victims(command: int) -> None:
        nonlocal killed
        while killed < AT_ONCE and not _ends(command, draw.uniform(0.3, 3)):
            if tasks := nodes.tasks():
                draw.choice(tasks).kill()
                killed += 1

    nodes.run(root, _disk(root, draw), draw.uniform(3, 6), victims)
    return killed
