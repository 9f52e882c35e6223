"""Steps as tasks of Ray: the bytes of one process, whoever dies on the way, with one file system or without."""

import asyncio
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from competition.core.errors import CompError
from competition.core.workspace import Workspace
from competition.pipeline import crew, jobs
from competition.pipeline.crew import Builder
from competition.pipeline.execute import Step
from competition.pipeline.parcels import Packed, bring, files_no_step_leaves, files_of, pack, unpack
from competition.pipeline.ray_tasks import Desk
from competition.pipeline.schedule import Machine, Work
from competition.pipeline.worker import Built, Lost
from tests.conftest import LEXICAL_ALONE, artefacts, comp, make_workspace, refused
from tests.pipeline.crews import Scripted, Unheard
from tests.processes import _SERVER


@pytest.fixture
def two_nodes(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Return the address of a cluster of two nodes on this machine."""
    utility = pytest.importorskip("ray.cluster_utils", reason="the extra ray is not installed")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_worker_niceness", "0")
    node = {"num_cpus": 1, "object_store_memory": 80 << 20}
    cluster = utility.Cluster(
        initialize_head=True, head_node_args=node | {"include_dashboard": False}
    )
    cluster.add_node(**node)
    yield cluster.address
    cluster.shutdown()


@pytest.mark.slow
def test_a_killed_task_begins_again_and_two_nodes_leave_the_bytes_of_one_process(
    two_nodes: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second node has no file system in common with the command; clocks differ by an hour."""
    monkeypatch.setattr(crew, "CONTEXT", _SERVER)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    one = make_workspace(tmp_path / "one", settings=LEXICAL_ALONE).root
    two = Path(shutil.copytree(one, tmp_path / "two"))
    assert comp("run", "-w", one).exit_code == 0

    hear, killed = jobs._Run._hear, []

    def watched(run: jobs._Run, worker: Builder, message: tuple[object, ...]) -> None:
        hear(run, worker, message)
        if message[0] == "host" and not killed and worker.step.name == "train lexical fold 0":
            children = psutil.Process().children(recursive=True)
            killed.extend(child for child in children if child.name() == "ray::build")
            for task in killed:
                task.kill()

    monkeypatch.setattr(jobs._Run, "_hear", watched)
    scratch = tmp_path / "scratch"
    options = ("--on", "ray", "--address", two_nodes, "--scratch", scratch)
    done = comp("run", *options, "-w", two)
    assert done.exit_code == 0, done.output
    assert killed
    assert "lost and begins again: its process on" in done.stderr
    assert artefacts(two) == artefacts(one)
    assert list(scratch.glob("two-*/oof/lexical/fold-*.parquet"))

    # Trials of a search, which no file of the workspace names, are trained there, too.
    space = tmp_path / "space.toml"
    space.write_text("[keys]\nn_estimators = [2, 3]\n", encoding="utf-8")
    tune = ("tune", "lexical", "--trials", "2", "--space", space, "--jobs", "2")
    for root, where in ((one, ()), (two, options)):
        tuned = comp(*tune, *where, "-w", root)
        assert tuned.exit_code == 0, tuned.output
        assert "No gain: no trial over all folds was better than lexical." in tuned.stdout
    assert list(scratch.glob("two-*/oof/lexical-n_estimators=*/fold-*.parquet"))
    assert artefacts(two) == artefacts(one)
    (table,) = two.glob("reports/tune-*")
    assert table.read_bytes() == (one / table.relative_to(two)).read_bytes()

    # What another machine wrote may seem to be from the future, or older than what it was made from.
    for number, path in enumerate(sorted(two.rglob("*"))):
        written = path.stat().st_mtime + (3600 if number % 2 else -3600)
        os.utime(path, (written, written))
    assert comp("run", "--on", "ray", "-w", two).stdout.startswith("Nothing to do")


def test_what_ray_alone_does_is_refused_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = make_workspace(tmp_path / "w", settings=LEXICAL_ALONE)
    run = ("run", "-w", space.root)
    assert refused(*run, "--gpus", "1") == "--gpus is for Ray: add `--on ray`."
    run = (*run, "--on", "ray")
    assert refused(*run, "--gpus", "1.5") == (
        "--gpus 1.5 is neither a part of one GPU nor a number of them."
    )
    assert refused(*run, "--scratch", "here") == (
        "--scratch here is not an absolute path, as other machines need it."
    )
    monkeypatch.setitem(sys.modules, "ray", None)
    assert refused(*run) == (
        "`--on ray` needs ray, which is not installed: `pip install comp-relevance[ray]`."
    )


@pytest.mark.parametrize("deaths", [0, 2, 3])
def test_a_step_that_is_lost_begins_again_before_others_but_not_for_ever(deaths: int) -> None:
    first, second = (Step(name, name, (), lambda: None, lambda: None) for name in "ab")
    run = jobs._Run([first, second], Machine(1, 0, 0, 1), Work(), None, Unheard())
    # It dies with the step that it is given, `deaths` times.
    crew = Scripted(lambda begun: Lost("it died") if len(begun) <= deaths else Built(True))
    if deaths == 3:
        with pytest.raises(CompError, match=r"^a was begun 3 times and lost: it died\.$"):
            run.finish_all(crew)
        assert crew.begun == ["a"] * 3
    else:
        run.finish_all(crew)
        assert crew.begun == ["a"] * (deaths + 1) + ["b"]
        assert run.built == 2


def test_locks_of_the_desk_pass_from_task_to_task_and_from_dead_ones_too() -> None:
    async def story() -> None:
        desk = Desk()
        await desk.acquire("tokens", 1)
        second, third = (asyncio.create_task(desk.acquire("tokens", k)) for k in (2, 3))
        await asyncio.sleep(0)
        assert not second.done()
        await desk.end(2)  # it died while it waited: it must not keep the third from the lock
        await desk.end(1)
        await asyncio.wait_for(asyncio.gather(second, third), 10)
        assert desk._holders == {"tokens": 3}
        await desk.release("tokens")
        await desk.acquire("tokens", 4)

        await desk.say(4, ("stdout", "one"))
        await desk.say(4, ("stdout", "two"))
        assert await desk.hear() == [(4, ("stdout", "one")), (4, ("stdout", "two"))]
        await desk.wake()
        assert await desk.hear() == []

    asyncio.run(story())


def made_by_hand(space: Workspace, recorded: list[str | None]) -> Step:
    files = (space.oof_fold("c1", 0), space.model("c1", 0))
    return Step(
        "train c1", "of this", (), lambda: recorded[-1], lambda: None, trains="c1", files=files
    )


def test_files_travel_whole_or_not_at_all(tmp_path: Path) -> None:
    there, here = Workspace(tmp_path / "there"), Workspace(tmp_path / "here")
    recorded = ["of this"]
    step, mine = made_by_hand(there, recorded), made_by_hand(here, recorded)
    (step.files[1] / "seed").mkdir(parents=True)
    (step.files[1] / "seed" / "weights").write_bytes(bytes(range(256)))
    (step.files[1] / "made_from.json").write_bytes(b"")
    step.files[0].parent.mkdir(parents=True)
    step.files[0].write_bytes(b"rows")
    there.log("c1").write_text("1\n2\n", encoding="utf-8")
    here.log("c1").parent.mkdir(parents=True)
    here.log("c1").write_text("0\n1\n", encoding="utf-8")

    paths = [*step.files, there.log("c1"), there.root / "not there"]
    parcel = {str(path.relative_to(there.root)): pack(path) for path in files_of(paths)}
    assert len(parcel) == 4
    bring(mine, parcel, here)
    assert here.log("c1").read_text(encoding="utf-8") == "0\n1\n2\n"
    for target, source in zip(mine.files, step.files, strict=True):
        assert [path.read_bytes() for path in files_of([target])] == [
            path.read_bytes() for path in files_of([source])
        ]

    third = tmp_path / "third"
    unpack(parcel, third, lambda content: content)
    read = []
    unpack(parcel, third, read.append)  # what is there is not asked for again
    assert read == []

    name = "oof/c1/fold-0.parquet"
    damaged = parcel | {name: Packed(parcel[name].digest, np.frombuffer(b"rowz", np.uint8))}
    with pytest.raises(CompError, match=f"^{name} was damaged on its way"):
        bring(mine, damaged, here)
    assert mine.files[0].read_bytes() == b"rows"
    recorded.append("of another")
    with pytest.raises(CompError, match=r"^What came back of train c1 is not complete"):
        bring(mine, parcel, here)


def test_a_copy_needs_what_no_step_leaves(tmp_path: Path) -> None:
    space = make_workspace(tmp_path / "w", settings=LEXICAL_ALONE)
    own = ["competition.toml", "data/data.json", "data/examples.parquet", "data/products.parquet"]
    added = ["members/theirs.parquet", "oof/lexical/verdicts.parquet", "recipes/mine.toml"]
    made = [".locks/data.lock", "data/tokens/ab/keys.npy", "data/vocabulary/names.json"]
    made += ["data/text_features.parquet", "folds/five.parquet", "models/lexical/fold-0/model.txt"]
    made += ["oof/lexical/fold-0.parquet"]
    for name in added + made:
        (space.root / name).parent.mkdir(parents=True, exist_ok=True)
        (space.root / name).write_bytes(b"")
    steps = [made_by_hand(space, ["of this"])]
    sent = {str(each.relative_to(space.root)) for each in files_no_step_leaves(space, steps)}
    assert sent == {*own, *added}
