"""`comp run` that is killed, or whose disk refuses a write: run again, it must end in the bytes of one undisturbed."""

import errno
import multiprocessing
import os
import random
import select
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

import psutil

from competition.cli import app
from competition.core.console import Progress
from competition.core.workspace import Workspace
from competition.data import store, synthetic
from tests.conftest import artefacts
from tests.esci import CONTEST

# The smallest workspace that has every kind of artefact: tables, trees, an encoder, weights, cards,
# answer files.
SETTINGS = """
preset = "tiny"
recipes = ["lexical", "c1"]
noise_run = "lexical"
ensembles = ["blend.lightgbm"]
[submission]
task2 = "blend.lightgbm"
[overrides]
scheme = "five"
max_length = 16
epochs = 1
batch_size = 64
n_estimators = 3
adversary = "none"
r_drop = 0.0
"""
PATIENCE = 600  # seconds; a run that takes longer hangs
# What `comp run` imports when it comes to it: done once, before the processes part.
MODULES = (
    "training.finetune",
    "models.lexical.lexical",
    "models.lexical.bm25",
    "models.ensemble.crossfit",
    "noise.audit",
    "noise.report",
)


def small_workspace(folder: Path) -> Workspace:
    """The built-in catalogue as a workspace of one task."""
    folder.mkdir()
    (folder / "competition.toml").write_text(SETTINGS, encoding="utf-8")
    workspace = Workspace.open(folder)
    examples, products, _ = synthetic.make(60, noise=0.05, seed=7)
    store.save(workspace, CONTEST, examples.assign(task1=False, task3=False), products, "one task")
    return workspace


@dataclass
class Undisturbed:
    """A run that nothing happened to: where it started, what it left, how long it took, how often it wrote.

    The `seconds` become those of a later one that met no fault, since the machine may be busier or
    less so by then.
    """

    start: Path
    artefacts: dict[str, str]
    seconds: float
    writes: int

    @classmethod
    def make(
        cls, folder: Path, prepare: Callable[[Workspace], None] | None = None
    ) -> "Undisturbed":
        """Run once, in a process of its own like all that follow; `prepare` changes the small workspace first."""
        for module in MODULES:
            import_module(f"competition.{module}")
        space = small_workspace(folder / "start")
        if prepare is not None:
            prepare(space)
        start = space.root
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
        differ = [
            name
            for name in found.keys() | self.artefacts.keys()
            if found.get(name) != self.artefacts.get(name)
        ]
        assert not differ, f"{sorted(differ)} differ"
        half = [
            str(path.relative_to(root))
            for path in root.rglob("*")
            if path.name.endswith((".tmp", ".old"))
        ]
        assert not half, f"{half} are left over"
        shutil.rmtree(root)


class Disk:
    """Counts the writes of a process below `root`; from the one whose number is `at`, it answers them.

    A write is a file opened to be written, one opened by its temporary name (to bring it to the
    disk, when a library of C++ or Rust has written it), a move, or a new folder.
    """

    def __init__(
        self,
        root: Path,
        at: int = 0,
        answer: Callable[[str], None] | None = None,
        once: bool = True,
    ) -> None:
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
        if self._answer is not None and (late == 0 or (late > 0 and not self._once)):
            self._answer(path)


def kill(process: int) -> None:
    """End a process by SIGKILL."""
    os.kill(process, signal.SIGKILL)


def kill_a_worker(command: int) -> None:
    """End one of the processes that build steps for a command, if there is one."""
    children = psutil.Process(command).children()
    workers = [child for child in children if "spawn_main" in " ".join(child.cmdline())]
    for worker in workers[:1]:
        worker.kill()


def run(
    root: Path,
    begin: Callable[[], None] | None = None,
    killed_after: float | None = None,
    strike: Callable[[int], None] = kill,
    options: tuple[str, ...] = (),
) -> tuple[int, str]:
    """`comp run` in a child process, which has imported everything already.

    Args:
        root: of the workspace.
        begin: called in the child first.
        killed_after: seconds, then `strike` is called with its process id.
        strike: ends it, or a part of it; then it has PATIENCE to end by itself.
        options: of the command.

    Returns:
        The exit code, negative for a signal, and what the command said.

    Raises:
        AssertionError: it hangs; it is killed.
    """
    log = root.with_name(f"{root.name}.log")
    child = os.fork()
    if not child:
        _become_comp(root, log, begin, options)
    in_time = _ends(child, PATIENCE if killed_after is None else killed_after)
    if not in_time and killed_after is not None:
        strike(child)
        in_time = _ends(child, PATIENCE)
    if not in_time:
        kill(child)
    _, status = os.waitpid(child, 0)
    said = log.read_text(encoding="utf-8") if log.exists() else ""
    assert in_time, f"not done after {PATIENCE} s: {said}"
    return os.waitstatus_to_exitcode(status), said


def _ends(child: int, seconds: float) -> bool:
    """Whether a process ends within some seconds."""
    handle = os.pidfd_open(child)
    try:
        return bool(select.select([handle], [], [], seconds)[0])
    finally:
        os.close(handle)


def _become_comp(
    root: Path, log: Path, begin: Callable[[], None] | None, options: tuple[str, ...]
) -> None:
    code: Any = 70
    try:
        handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        if begin is not None:
            begin()
        app(["run", *options, "-w", str(root)])
    except SystemExit as end:
        code = end.code or 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


# --- faults
# ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fault:
    """What is done to one run: in words, and how; `strike` says how often the run met it before its end."""

    name: str
    strike: Callable[[Path], int]


# Draws a fault that falls into the first share of an undisturbed run.
Kind = Callable[[Undisturbed, random.Random, float], Fault]


def _write_of(whole: Undisturbed, draw: random.Random, share: float) -> int:
    return draw.randint(1, max(1, int(share * whole.writes)))


def killed_at_times(whole: Undisturbed, draw: random.Random, share: float) -> Fault:
    """SIGKILL at a random time."""
    seconds = draw.uniform(0, share * whole.seconds)

    def strike(root: Path) -> bool:
        began = time.monotonic()
        code, said = run(root, killed_after=seconds)
        assert code in (0, -signal.SIGKILL), said
        if code == 0 and share == 1:
            whole.seconds = time.monotonic() - began
        return code != 0

    return Fault(f"SIGKILL after {seconds:.3f} s", strike)


def killed_at_writes(whole: Undisturbed, draw: random.Random, share: float) -> Fault:
    """SIGKILL at a random write."""
    number = _write_of(whole, draw, share)

    def strike(root: Path) -> bool:
        disk = Disk(root, number, lambda _: os.kill(os.getpid(), signal.SIGKILL))
        code, said = run(root, disk.watch)
        assert code in (0, -signal.SIGKILL), said
        return code != 0

    return Fault(f"SIGKILL at write {number}", strike)


def killed_workers(whole: Undisturbed, draw: random.Random, share: float) -> Fault:
    """SIGKILL of a process that builds a step of `comp run --jobs 2`, at a random time."""
    return _killed_beside(whole, draw, share, kill_a_worker, {0, 1})


def killed_with_workers(whole: Undisturbed, draw: random.Random, share: float) -> Fault:
    """SIGKILL of `comp run --jobs 2` itself, at a random time: its processes end by themselves."""
    return _killed_beside(whole, draw, share, kill, {0, -signal.SIGKILL})


def _killed_beside(
    whole: Undisturbed,
    draw: random.Random,
    share: float,
    victim: Callable[[int], None],
    codes: set[int],
) -> Fault:
    # The processes first import what the others have imported before they part.
    seconds = draw.uniform(0, 3 * share * whole.seconds)

    def strike(root: Path) -> bool:
        code, said = run(root, None, seconds, victim, ("--jobs", "2"))
        assert code in codes, said
        assert (code == 1) == ("was ended by SIGKILL" in said), said
        return code != 0

    return Fault(f"{victim.__name__} after {seconds:.3f} s", strike)


def refused_writes(whole: Undisturbed, draw: random.Random, share: float) -> Fault:
    """A random write fails, alone or with all that follow; the command must say so in one sentence."""
    error, number, once = (
        draw.choice([errno.ENOSPC, errno.EIO]),
        _write_of(whole, draw, share),
        draw.random() < 0.5,
    )
    left = draw.random()  # of a file that is being written

    def refuse(path: str) -> None:
        if os.path.isfile(path) and ".tmp" in path:
            os.truncate(path, int(left * os.path.getsize(path)))
        raise OSError(error, os.strerror(error), path)

    def strike(root: Path) -> bool:
        disk = Disk(root, number, refuse, once)
        code, said = run(root, disk.watch)
        assert code in (0, 1), said
        assert "Traceback" not in said, said
        errors = [line for line in said.splitlines() if line.startswith("error: ")]
        assert len(errors) == code, said
        assert all(os.strerror(error) in line for line in errors), said
        return code == 1

    return Fault(
        f"{errno.errorcode[error]} at write {number}{'' if once else ' and all after it'}", strike
    )


@dataclass
class Count:
    """How many faults there were, how many ends were compared with the undisturbed one, and how many were wrong."""

    faults: int = 0
    ends: int = 0
    wrong: int = 0


def suffer(whole: Undisturbed, kind: Kind, count: int, at_once: int, seed: int) -> Count:
    """Disturb runs `count` times or a few more, each `at_once` times before it may end.

    One that ends wrongly is named with what was done to it, its folder stays, and the next one
    begins.
    """
    draw, counted, name = random.Random(seed), Count(), kind.__name__
    work = Progress(name, count, None)  # without a bar, whose thread no fork would survive
    while counted.faults < count:
        root = whole.again(f"{name}-{counted.ends}")
        faults = [kind(whole, draw, 1 / at_once) for _ in range(at_once)]
        struck = 0
        try:
            for fault in faults:
                struck += fault.strike(root)
            whole.check(root)
        except Exception as error:
            counted.wrong += 1
            done = ", then ".join(fault.name for fault in faults)
            print(f"wrong: {root}: {done}: {type(error).__name__}: {error}", flush=True)
            struck = max(1, struck)  # else one that never strikes would be tried forever
        counted.faults += struck
        counted.ends += 1
        work.advance(struck)
    work.close()
    return counted
