"""`comp run` that is killed, or whose disk refuses a write: run again, it must end in the bytes of one undisturbed."""

import errno
import multiprocessing
import os
import random
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from competition.cli import app
from competition.data import store, synthetic
from competition.workspace import Workspace
from tests.conftest import artefacts

# The smallest workspace that has every kind of artefact: tables, trees, an encoder, weights, cards, answer files.
SETTINGS = """
preset = "tiny"
recipes = ["lexical", "c1"]
noise_run = "lexical"
[submission]
task2 = "blend"
[overrides]
scheme = "five"
max_length = 16
epochs = 1
batch_size = 64
trees = 3
adversary = "none"
r_drop = 0.0
"""
# What `comp run` imports when it comes to it: done once, before the processes part.
ROOMS = ("training.finetune", "ensemble.boosting", "ensemble.bm25", "ensemble.crossfit", "noise.audit", "noise.report")


def small_workspace(folder: Path) -> Workspace:
    """The built-in catalogue as a workspace of one task."""
    folder.mkdir()
    (folder / "competition.toml").write_text(SETTINGS, encoding="utf-8")
    workspace = Workspace.open(folder)
    examples, products, _ = synthetic.make(60, noise=0.05, seed=7)
    store.save(workspace, examples.assign(task1=False, task3=False), products, "one task")
    return workspace


@dataclass(frozen=True)
class Undisturbed:
    """A run that nothing happened to: where it started, what it left, how long it took, how often it wrote."""

    start: Path
    artefacts: dict[str, str]
    seconds: float
    writes: int

    @classmethod
    def make(cls, folder: Path) -> "Undisturbed":
        """Run once, in a process of its own like all that follow."""
        for room in ROOMS:
            import_module(f"competition.{room}")
        start = small_workspace(folder / "start").root
        root = Path(shutil.copytree(start, folder / "undisturbed"))
        disk, began = Disk(root), time.monotonic()
        code, said = run(root, disk.watch)
        assert code == 0, said
        return cls(start, artefacts(root), time.monotonic() - began, disk.writes)

    def again(self, name: str) -> Path:
        """A fresh workspace at the start."""
        root = self.start.with_name(name)
        shutil.rmtree(root, ignore_errors=True)
        return Path(shutil.copytree(self.start, root))

    def check(self, root: Path) -> None:
        """Let a disturbed run come to its end, and compare what it left."""
        code, said = run(root)
        assert code == 0, said
        found = artefacts(root)
        differ = [name for name in found.keys() | self.artefacts.keys() if found.get(name) != self.artefacts.get(name)]
        assert not differ, f"{root}: {sorted(differ)} differ"
        half = [path for path in root.rglob("*") if path.name.endswith((".tmp", ".old"))]
        assert not half, f"{root}: {half} are left over"
        shutil.rmtree(root)


class Disk:
    """Counts the writes of a process below `root`; from the one whose number is `at`, it answers them.

    A write is a file opened to be written, one opened by its temporary name (to bring it to the disk, when a library
    of C++ or Rust has written it), a move, or a new folder.
    """

    def __init__(self, root: Path, at: int = 0, answer: Callable[[str], None] | None = None, once: bool = True) -> None:
        self._root, self._at, self._answer, self._once = f"{root}{os.sep}", at, answer, once
        self._count = multiprocessing.Value("i", 0)  # shared with the process that forks

    @property
    def writes(self) -> int:
        """How many there were."""
        return self._count.value

    def watch(self) -> None:
        """Begin, for as long as this process lives."""
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event not in ("open", "os.rename", "os.mkdir") or isinstance(arguments[0], int):
            return
        path = os.fsdecode(arguments[0])
        if not path.startswith(self._root):
            return
        if event == "open" and not arguments[2] & (os.O_WRONLY | os.O_RDWR) and ".tmp" not in path:
            return
        self._count.value += 1
        late = self._count.value - self._at
        if self._answer is not None and (late == 0 or late > 0 and not self._once):
            self._answer(path)


def run(root: Path, begin: Callable[[], None] | None = None, killed_after: float | None = None) -> tuple[int, str]:
    """`comp run` in a child process, which has imported everything already.

    Args:
        root: of the workspace.
        begin: called in the child first.
        killed_after: seconds, then SIGKILL.

    Returns:
        The exit code, negative for a signal, and what the command said.
    """
    log = root.with_name(f"{root.name}.log")
    child = os.fork()
    if not child:
        _become_comp(root, log, begin)
    if killed_after is not None:
        time.sleep(killed_after)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status), log.read_text(encoding="utf-8") if log.exists() else ""


def _become_comp(root: Path, log: Path, begin: Callable[[], None] | None) -> None:
    code: Any = 70
    try:
        handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        if begin is not None:
            begin()
        app(["run", "-w", str(root)])
    except SystemExit as end:
        code = end.code or 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


# --- faults ------------------------------------------------------------------------------------------------------


def _kill(_: str) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def killed_at_times(whole: Undisturbed, draw: random.Random, root: Path, share: float) -> bool:
    """Kill a run at a random time of the first `share` of an undisturbed one; False where it had ended before."""
    code, said = run(root, killed_after=draw.uniform(0, share * whole.seconds))
    assert code in (0, -signal.SIGKILL), said
    return code != 0


def killed_at_writes(whole: Undisturbed, draw: random.Random, root: Path, share: float) -> bool:
    """The same at a random write."""
    disk = Disk(root, draw.randint(1, max(1, int(share * whole.writes))), _kill)
    code, said = run(root, disk.watch)
    assert code in (0, -signal.SIGKILL), said
    return code != 0


def refused_writes(whole: Undisturbed, draw: random.Random, root: Path, share: float) -> bool:
    """Let a random write fail, alone or with all that follow; the command must say so in one sentence."""
    number = draw.choice([errno.ENOSPC, errno.EIO])

    def refuse(path: str) -> None:
        if os.path.isfile(path) and ".tmp" in path:
            os.truncate(path, draw.randint(0, os.path.getsize(path)))
        raise OSError(number, os.strerror(number), path)

    disk = Disk(root, draw.randint(1, max(1, int(share * whole.writes))), refuse, once=draw.random() < 0.5)
    code, said = run(root, disk.watch)
    assert code in (0, 1) and "Traceback" not in said, said
    errors = [line for line in said.splitlines() if line.startswith("error: ")]
    assert len(errors) == code and all(os.strerror(number) in line for line in errors), said
    return code == 1


Fault = Callable[[Undisturbed, random.Random, Path, float], bool]


def suffer(whole: Undisturbed, fault: Fault, count: int, at_once: int, seed: int) -> tuple[int, int]:
    """Disturb runs `count` times or a few more, each `at_once` times before it may end.

    Returns:
        How many faults there were, and how many ends were compared with the undisturbed one.
    """
    draw, done, ends = random.Random(seed), 0, 0
    while done < count:
        root = whole.again(f"{fault.__name__}-{ends}")
        done += sum(fault(whole, draw, root, 1 / at_once) for _ in range(at_once))
        whole.check(root)
        ends += 1
        if ends % 10 == 0:
            print(f"{fault.__name__}: {done} of {count}", flush=True)
    return done, ends
