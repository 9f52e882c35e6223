"""Steps side by side: the bytes are those of one after the other, whoever is killed on the way."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.progress import Progress as Bar

from competition.core.console import drawn_by, progress
from competition.core.errors import CompError, Diverged
from competition.pipeline import crew, jobs
from competition.pipeline.crew import Worker
from competition.pipeline.execute import Step
from competition.pipeline.schedule import Machine, Work
from competition.pipeline.steps import Pipeline
from competition.pipeline.worker import Built, Failed, _Board, _Lines, portable
from tests.conftest import LEXICAL_ALONE, artefacts, comp, make_workspace
from tests.pipeline.crews import Scripted, Unheard
from tests.processes import _SERVER
from tests.soak.faults import small_workspace

Begin = Callable[[object, object, Worker, Step, int], None]


@pytest.fixture(autouse=True)
def quick_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers are forked from a process that has imported the libraries."""
    monkeypatch.setattr(crew, "CONTEXT", _SERVER)


def at(monkeypatch: pytest.MonkeyPatch, name: str, act: Callable[[Worker], None]) -> None:
    """Do something once, when the step `name` has just begun."""
    begin: Begin = jobs._Run._begin
    waiting = [name]

    def watched(run: jobs._Run, some: object, worker: Worker, step: Step, running: int) -> None:
        begin(run, some, worker, step, running)
        if step.name in waiting:
            waiting.remove(step.name)
            act(worker)

    monkeypatch.setattr(jobs._Run, "_begin", watched)


@pytest.mark.slow
def test_two_jobs_that_are_killed_and_stopped_leave_the_bytes_of_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGKILL of a worker in a training, SIGTERM of the command in another, then left alone."""
    one = small_workspace(tmp_path / "one").root
    two = Path(shutil.copytree(one, tmp_path / "two"))
    assert comp("run", "-w", one).exit_code == 0

    at(monkeypatch, "train c1 fold 0", lambda w: os.kill(w.process.pid, signal.SIGKILL))
    killed = comp("run", "--jobs", "2", "-w", two)
    assert killed.exit_code == 1
    failed, error = [line for line in killed.stderr.splitlines() if "train c1 fold 0" in line]
    assert failed.startswith("warning: train c1 fold 0 failed: no other step begins")
    assert error == (
        "error: The process that builds train c1 fold 0 was ended by SIGKILL, as a system does whose memory is full: "
        "use fewer --jobs then; the same command goes on from what is done."
    )
    assert not (two / "oof" / "c1" / "fold-0.parquet").exists()

    at(monkeypatch, "train c1 fold 2", lambda _: os.kill(os.getpid(), signal.SIGTERM))
    stopped = comp("run", "--jobs", "2", "-w", two)
    assert stopped.exit_code == 128 + signal.SIGTERM
    assert stopped.stderr.splitlines()[-1] == (
        "error: interrupted; the same command continues from what is done."
    )

    done = comp("run", "--jobs", "2", "-w", two)
    assert done.exit_code == 0, done.output
    assert "each with 1 thread" in done.output
    found = artefacts(two)
    assert len(found) > 30
    assert found == artefacts(one)
    assert comp("run", "--jobs", "2", "-w", two).output.startswith("Nothing to do")
    assert not [path for path in two.rglob("*") if path.name.endswith((".tmp", ".old"))]


def test_a_step_that_fails_says_what_it_says_alone_and_the_others_end(tmp_path: Path) -> None:
    space = make_workspace(tmp_path, settings=LEXICAL_ALONE)
    blocked = space.oof_fold("lexical", 0)
    (blocked / "in the way").mkdir(parents=True)

    alone = comp("run", "-w", space.root)
    beside = comp("run", "--jobs", "2", "--debug", "-w", space.root)
    assert (alone.exit_code, beside.exit_code) == (1, 1)
    error = f"error: Is a directory: {blocked.parent}/.{blocked.name}"
    assert alone.stderr.splitlines()[-1].startswith(error)
    assert isinstance(beside.exception, IsADirectoryError)
    assert beside.exception.filename.startswith(f"{blocked.parent}/.{blocked.name}")
    assert "in build_fold" in beside.exception.__notes__[0]
    assert not space.run_card("lexical").exists()


def test_what_follows_is_built_too_and_a_training_that_diverges_is_no_failure_then() -> None:
    made = {name: Step(name, name, (), lambda: None, lambda: None) for name in "abcd"}
    heard = []

    def follow(step: Step, diverged: Diverged | None) -> list[Step]:
        heard.append((step.name, str(diverged)))
        if step.name == "d":
            raise CompError("enough")
        return {"a": [made["b"], made["c"]], "b": [made["c"], made["d"]]}.get(step.name, [])

    def run(follow: object, **ends: object) -> list[str]:
        crew = Scripted(lambda begun: ends.get(begun[-1], Built(True)))
        some = jobs._Run([made["a"]], Machine(1, 0, 0, 1), Work(), None, Unheard(), follow)
        some.finish_all(crew)
        return crew.begun

    diverged = Failed(portable(Diverged("the loss is nan")))
    with pytest.raises(CompError, match=r"^enough$"):
        run(follow, b=diverged)
    # What is asked for twice is built once.
    none = "None"
    assert heard == [("a", none), ("b", "the loss is nan"), ("c", none), ("d", none)]
    assert run(None) == ["a"]
    with pytest.raises(Diverged):
        run(None, a=diverged)


def test_changed_settings_are_noticed(tmp_path: Path) -> None:
    space = make_workspace(tmp_path, settings=LEXICAL_ALONE)
    steps = Pipeline(space).steps()
    space.settings_file.write_text(LEXICAL_ALONE.replace("= 15", "= 16"), encoding="utf-8")
    machine = Machine(jobs=2, gpus=0, memory=0, threads=1)
    with pytest.raises(CompError, match=r"train lexical fold \d is another step now: run the same"):
        jobs.execute_jobs(space, steps, machine, Work(steps))
    assert space.folds("five").is_file()
    assert not space.oof_fold("lexical", 0).exists()


def test_threads_are_those_that_are_asked_for_or_cores_divided(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert [jobs.step_threads(n) for n in (1, 2, 99)] == [3, 3, 3]
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert [jobs.step_threads(n) for n in (1, 2, 3, 99)] == [8, 8 // 2, 8 // 3, 1]


def test_a_process_keeps_its_gpu_and_work_without_one_leaves_free_gpus_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Made:
        def __init__(self, settings: object, gpu: str | None, threads: int) -> None:
            self.gpu, self.step = gpu, None

    monkeypatch.setattr(crew, "Worker", Made)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    some = crew.Crew(None, Machine(jobs=3, gpus=2, memory=0, threads=1), Work())
    train = Step("train", "", (), lambda: None, lambda: None, shared=True)
    folds = Step("folds", "", (), lambda: None, lambda: None)

    first = some.worker_for(on_gpu=True)
    first.step = train
    second = some.worker_for(on_gpu=True)
    assert [first.gpu, second.gpu] == ["4", "6"]
    second.step = train
    third = some.worker_for(on_gpu=False)
    assert third.gpu == "4"
    second.step = None
    # Two are idle: one sees the GPU that trains, the other a free one.
    assert some.worker_for(on_gpu=False) is third
    assert some.worker_for(on_gpu=True) is second
    second.step = folds
    assert some.worker_for(on_gpu=True) is None


def test_a_process_does_not_hear_ctrl_c_from_its_start_on() -> None:
    # Of a fresh interpreter, since the tracker of resources is started once.
    script = (
        "import signal\n"
        "from multiprocessing import util\n"
        "from pathlib import Path\n"
        "from competition.pipeline.crew import Worker\n"
        "from competition.pipeline.worker import Settings\n"
        "start = util.spawnv_passfds\n"
        "def noted(path, words, files):\n"
        "    if 'spawn_main' in str(words):\n"
        "        print(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, []))\n"
        "    return start(path, words, files)\n"
        "util.spawnv_passfds = noted\n"
        "worker = Worker(Settings(Path(), Path(), quiet=True, has_bars=False), gpu=None, threads=1)\n"
        "worker.process.kill()\n"
        "print(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, []))\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (ended.stdout.split(), ended.stderr) == (["True", "False"], "")


def test_the_board_shows_what_a_process_draws() -> None:
    sent: list[tuple[object, ...]] = []
    with (
        drawn_by(_Board(lambda *message: sent.append(message))),
        progress("c1 fold 0", 10, "rows") as work,
    ):
        work.advance(4)
        work.reach(6)
    assert [kind for kind, *_ in sent] == ["add", "advance", "update", "remove"]

    class Drawn:
        def __init__(self) -> None:
            self.lines: dict[int, int] = {}

    bar = Bar()
    run, worker = jobs._Run([], Machine(2, 0, 0, 1), Work(), bar, None), Drawn()
    for message in sent[:3]:
        run._hear(worker, message)
    (task,) = bar.tasks
    assert (task.description, task.total, task.completed) == ("c1 fold 0", 10, 6)
    run._hear(worker, sent[3])
    assert not bar.tasks


def test_lines_and_errors_of_a_process_arrive_whole() -> None:
    sent: list[tuple[object, ...]] = []
    lines = _Lines(lambda *message: sent.append(message), "stderr")
    print("one", "line", file=lines)
    lines.write("half")
    lines.write(" a line\n\nmore")
    assert sent == [("stderr", "one line"), ("stderr", "half a line"), ("stderr", "")]

    class OfALibrary(Exception):
        pass

    assert repr(portable(KeyError("x"))) == "KeyError('x')"
    assert repr(portable(OfALibrary("broken"))) == "RuntimeError('OfALibrary: broken')"
