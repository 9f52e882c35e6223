"""What several machines can share, and Slurm's script for it, run by a stand-in for sbatch."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from competition.pipeline.execute import Step
from competition.pipeline.waves import waves
from tests.conftest import LEXICAL_ALONE, artefacts, comp, make_workspace

# Runs each job at once, an array element by element, and notes how it was submitted.
SBATCH = """#!/bin/sh
echo "$*" >> "$LOG"
last=0
for word in "$@"; do
    case $word in --array=1-*) last=${word#--array=1-} ;; esac
    wrap=$word
done
if [ "$last" = 0 ]; then sh -c "$wrap" >&2; fi
for number in $(seq 1 "$last"); do SLURM_ARRAY_TASK_ID=$number sh -c "$wrap" >&2; done
grep -c . "$LOG"
"""
# Stands in for Python: notes what it is to run.
PYTHON = """#!/bin/sh
shift 2
for word in "$@"; do printf '%s\\t' "$word" >> "$COMMANDS"; done
echo >> "$COMMANDS"
"""


def step(name: str, *needs: Step, trains: str | None = None, along: Step | None = None) -> Step:
    return Step(name, name, needs, lambda: None, lambda: None, trains=trains, along=along)


def test_waves_follow_what_trainings_need() -> None:
    folds, encoder = step("folds"), step("encoder")
    first = [step(f"train a fold {k}", folds, encoder, trains="a") for k in range(2)]
    tests = [step(f"predict a fold {k}", train, along=train) for k, train in enumerate(first)]
    audit = step("audit a", *first, *tests)
    second = step("train b", folds, encoder, audit, trains="b")
    end = step("scores", *first, second)
    plan = waves([folds, encoder, *first, *tests, audit, second, end])
    assert plan.inputs == [folds, encoder]
    assert plan.trainings == [first, [second]]
    assert plan.rest == [*tests, audit, end]


def test_slurm_makes_what_one_machine_makes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = make_workspace(tmp_path / "a 'quoted' name", settings=LEXICAL_ALONE)
    for name, text in (("sbatch", SBATCH), ("python", PYTHON)):
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "bin" / name).write_text(text, encoding="utf-8")
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin" / "python"))
    assert comp("plan", "--slurm", "-w", space.root).exit_code == 0

    names = {"LOG": str(tmp_path / "log"), "COMMANDS": str(tmp_path / "commands")}
    path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    script = ["sh", str(space.root / "slurm" / "submit.sh"), "--partition=gpu"]
    ran = subprocess.run(
        script, env=os.environ | names | {"PATH": path}, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == "The last job is 3.\n"
    jobs = Path(names["LOG"]).read_text(encoding="utf-8").splitlines()
    assert [job.partition(" --wrap")[0].split() for job in jobs] == [
        ["--parsable", "--job-name=comp-inputs", "--partition=gpu"],
        ["--parsable", "--job-name=comp-train", "--array=1-5", "--dependency=afterok:1", "--partition=gpu"],
        ["--parsable", "--job-name=comp-run", "--dependency=afterok:2", "--partition=gpu"],
    ]  # fmt: skip

    commands = [
        line.split("\t")[:-1]
        for line in Path(names["COMMANDS"]).read_text(encoding="utf-8").splitlines()
    ]
    run = ["run", "-w", str(space.root.resolve())]
    assert commands == [
        [*run, "--step", "folds five", "--step", "text features"],
        *([*run, "--step", f"train lexical fold {k}"] for k in range(5)),
        run,
    ]
    for command in commands[:3]:
        assert comp(*command).exit_code == 0
    assert len([name for name in artefacts(space.root) if "lexical" in name]) == 2 * 2
    left = comp("plan", "--json", "-w", space.root).output
    assert "train lexical fold 2" in left
    assert "train lexical fold 1" not in left


def test_a_step_is_named_as_the_plan_names_it(tmp_path: Path) -> None:
    space = make_workspace(tmp_path, settings=LEXICAL_ALONE)
    result = comp("run", "--step", "train lexical fold 11", "-w", space.root)
    assert result.exit_code == 2
    assert "There is no step 'train lexical fold 11' (did you mean" in result.stderr
    early = comp("run", "--step", "submit main", "-w", space.root)
    assert early.exit_code == 1
    assert "builds them." in early.stderr
