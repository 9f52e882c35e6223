"""Optimism of approximate scores, as `comp audit-leaks` measured it: what shuffled labels score above chance."""

from collections.abc import Iterable

from competition.core.json_files import read_json, write_json
from competition.core.workspace import Workspace
from competition.scoring.intervals import Estimate
from competition.scoring.predictions import RunPlan

_LOCK = "flattery"
Optimism = dict[tuple[str, str], Estimate]  # run, task -> by how much its score flatters it


def read_optimism(workspace: Workspace, plans: Iterable[RunPlan]) -> Optimism:
    """Return what was measured of approximate runs as they are made now; what is older says nothing of them."""
    measured = read_json(workspace.optimism)
    optimism: Optimism = {}

    for plan in plans:
        entry = measured.get(plan.name, {})
        if plan.label_paths and entry.get("inputs") == plan.held_out_fingerprint:
            for task, estimate in entry["tasks"].items():
                optimism[plan.name, task] = Estimate.from_json(estimate)
    return optimism


def record_optimism(workspace: Workspace, plan: RunPlan, task: str, estimate: Estimate) -> None:
    """Keep what was measured of a run, beside what was measured of it on other tasks."""
    with workspace.lock(_LOCK, wait=True):
        measured = read_json(workspace.optimism)
        before = measured.get(plan.name, {})

        # What was measured before the run was made again is dropped.
        tasks = before["tasks"] if before.get("inputs") == plan.held_out_fingerprint else {}
        measured[plan.name] = {
            "inputs": plan.held_out_fingerprint,
            "tasks": tasks | {task: estimate.as_json()},
        }

        write_json(workspace.optimism, measured)
