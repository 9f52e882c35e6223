"""Trainings for many machines: which of them can be made at the same time, and the script that asks Slurm for them."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable
from dataclasses import dataclass

from competition.core.workspace import Workspace
from competition.pipeline.execute import Step
from competition.pipeline.schedule import needs_among


@dataclass(frozen=True)
class Waves:
    """What is left of a workspace, in the order in which machines can share it."""

    inputs: list[Step]  # what the trainings share: built first, by one machine
    trainings: list[
        list[Step]
    ]  # each list needs those before it; its steps need none of each other
    rest: list[Step]  # what reads complete runs: built last, by one machine


def waves(steps: Iterable[Step]) -> Waves:
    """Sort the steps that are not done into inputs, waves of trainings and the rest.

    What stands between two waves and belongs to no run, such as an audit, is built by the first
    training that needs it; others wait for it.
    """
    missing = {step.name: step for step in steps if step.state != "done"}
    needs = needs_among(missing)
    trainings = {
        name: step
        for name, step in missing.items()
        if (step.trains is not None or step.shared) and step.along not in missing.values()
    }

    depth: dict[str, int] = {}
    for name in trainings:  # each behind what it needs
        depth[name] = 1 + max((depth[need] for need in needs[name] if need in depth), default=-1)
    by_depth: list[list[Step]] = [[] for _ in range(max(depth.values(), default=-1) + 1)]
    for name, number in depth.items():
        by_depth[number].append(trainings[name])

    others = [step for name, step in missing.items() if name not in trainings]
    needed = set().union(*(needs[name] for name in trainings), set())
    inputs = [
        step for step in others if step.name in needed and not needs[step.name] & depth.keys()
    ]
    return Waves(inputs, by_depth, [step for step in others if step not in inputs])


def slurm_files(workspace: Workspace, plan: Waves) -> dict[str, str]:
    """Return the files by which Slurm makes what is left, by name: `submit.sh`, and the steps of each array."""
    root = workspace.root.resolve()
    run = f"{shlex.quote(sys.executable)} -m competition run -w {shlex.quote(str(root))}"
    files = {}
    lines = [
        "#!/bin/sh",
        "# Made by `comp plan --slurm`. Options of this script are given to every sbatch, such as",
        "#   sh submit.sh --partition=gpu --gres=gpu:1 --cpus-per-task=8 --time=24:00:00",
        "set -eu",
        'here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)',
        "# The bytes of models depend on the number of threads: one for all machines.",
        "export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}",
        "after=",
    ]

    if plan.inputs:
        names = " ".join(f"--step {shlex.quote(step.name)}" for step in plan.inputs)
        lines += ["", "# What the trainings share.", *_submit("comp-inputs", f"{run} {names}")]
    for number, wave in enumerate(plan.trainings, 1):
        name = f"steps-{number}.txt"
        files[name] = "".join(f"{step.name}\n" for step in wave)
        line = '$(sed -n "${SLURM_ARRAY_TASK_ID}p" "$COMP_STEPS")'
        lines += ["", f"# {len(wave)} trainings, one a line of {name}."]
        lines += [f'export COMP_STEPS="$here/{name}"']
        lines += _submit("comp-train", f'{run} --step "{line}"', f"--array=1-{len(wave)}")
    if plan.rest:
        lines += ["", "# Audits, ensembles, submission, scores.", *_submit("comp-run", run)]
    files["submit.sh"] = "\n".join([*lines, 'echo "The last job is $after."', ""])
    return files


def _submit(job: str, command: str, *options: str) -> list[str]:
    """Return the lines that submit a job behind the one before."""
    words = " ".join(["sbatch", "--parsable", f"--job-name={job}", *options])
    return [
        f'after=$({words} ${{after:+--dependency=afterok:$after}} "$@" \\',
        f"    --wrap {shlex.quote(command)})",
    ]
