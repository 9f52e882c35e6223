"""The soak in small: a run killed twice, one whose disk refuses two writes, 40 bad inputs."""

import random
import re
from pathlib import Path

import pytest

from tests.processes import forked
from tests.soak.__main__ import main, visit_zoo
from tests.soak.faults import Count, Fault, Undisturbed, suffer
from tests.zoo import Zoo

pytestmark = pytest.mark.slow


def test_faults_and_bad_inputs_leave_what_is_right() -> None:
    few = ["--kills", "0", "--kills-at-writes", "2", "--refusals", "2", "--at-once", "2"]
    few += ["--kills-beside", "0"]  # tests/pipeline/test_jobs.py has some
    few += ["--inputs", "40", "--families", "0", "--tables", "20", "--adapters", "1"]
    few += ["--members", "4", "--requests", "0"]
    done = forked(main, few)
    assert done.codes == [0], done.stdout + done.stderr
    counts = dict(
        re.findall(
            r"^(\w+): (\d+); (?:\d+) of \d+ runs ended in the same bytes$",
            done.stdout,
            re.MULTILINE,
        )
    )
    assert int(counts["killed_at_writes"]) >= 2
    assert int(counts["refused_writes"]) >= 2
    assert (
        "bad inputs: 40, each refused or taken in 5 s of CPU, nothing half-written" in done.stdout
    )
    assert "adapters: 1 of 1 killed; 1 of 1 ended in the same bytes" in done.stdout
    for command in ("check", "score", "data", "verdicts"):
        assert re.search(rf"^bad inputs: {command}, refused: \d+$", done.stdout, re.MULTILINE), (
            done.stdout
        )


def test_a_family_that_does_something_else_is_named_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the families do is tested in tests/training/test_zoo.py."""

    def check(zoo: Zoo, family: str, method: str) -> None:
        assert (family, method) != ("bert", "awp"), "it trains something else"

    monkeypatch.setattr(Zoo, "check", check)
    assert visit_zoo(tmp_path / "zoo", ["albert", "bert"]) == 1
    first, *_, last = capsys.readouterr().out.splitlines()
    assert first.startswith("wrong: bert, awp: Traceback")
    assert last == "encoders: 11 of 12 families by methods train, or are refused by key"


def test_a_run_that_ends_wrongly_is_named_and_counted_and_its_folder_stays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def strike(root: Path) -> bool:
        raise AssertionError("it said nothing")

    def unplugged(whole: Undisturbed, draw: random.Random, share: float) -> Fault:
        return Fault(f"unplugged after {share * whole.seconds:.0f} s", strike)

    (tmp_path / "start").mkdir()
    counted = suffer(
        Undisturbed(tmp_path / "start", {}, 20.0, 1), unplugged, count=2, at_once=2, seed=1
    )
    assert counted == Count(faults=2, ends=2, wrong=2)
    roots = [tmp_path / "unplugged-0", tmp_path / "unplugged-1"]
    what = "unplugged after 10 s, then unplugged after 10 s: AssertionError: it said nothing"
    assert capsys.readouterr().out.splitlines()[:2] == [f"wrong: {root}: {what}" for root in roots]
    assert all(root.is_dir() for root in roots)
