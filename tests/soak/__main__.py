"""Run the soak: `python -m tests.soak --kills 100 --refusals 100 --inputs 20000`."""

import argparse
import shutil
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tests.soak.adapters import killed_adapters
from tests.soak.faults import (
    Kind,
    Undisturbed,
    killed_at_times,
    killed_at_writes,
    killed_with_workers,
    killed_workers,
    refused_writes,
    suffer,
)
from tests.soak.hostile import SECONDS, bad_inputs
from tests.soak.members import damaged_members
from tests.soak.requests import hostile_requests
from tests.soak.tables import made_up_tables
from tests.zoo import FAMILIES, METHODS, Zoo


def visit_zoo(folder: Path, families: list[str]) -> int:
    """Let each family of encoders train by each method; returns how many did something else."""
    folder.mkdir()
    zoo, wrong = Zoo.open(folder), 0
    for family in families:
        for method in METHODS:
            try:
                zoo.check(family, method)
            except Exception:
                wrong += 1
                print(f"wrong: {family}, {method}: {traceback.format_exc()}", flush=True)
    tried = len(families) * len(METHODS)
    print(
        f"encoders: {tried - wrong} of {tried} families by methods train, or are refused by key",
        flush=True,
    )
    return wrong


def disturb(folder: Path, options: argparse.Namespace) -> int:
    """Kill runs and refuse their writes; return how many did not end in the bytes of an undisturbed one."""
    kinds: dict[Kind, int] = {
        killed_at_times: options.kills,
        killed_at_writes: options.kills_at_writes,
        refused_writes: options.refusals,
        killed_workers: options.kills_beside,
        killed_with_workers: options.kills_beside,
    }
    if not any(kinds.values()):
        return 0

    return suffer_all(Undisturbed.make(folder), kinds, options)


def suffer_all(whole: Undisturbed, kinds: dict[Kind, int], options: argparse.Namespace) -> int:
    """Disturb runs by each kind of fault; return how many did not end in the bytes of an undisturbed one."""
    took = f"{whole.seconds:.1f} s, {whole.writes} writes, {len(whole.artefacts)} artefacts"
    print(f"undisturbed: {took}; all is in {whole.start.parent}", flush=True)
    wrong = 0
    for kind, count in kinds.items():
        if count:
            outcome = suffer(whole, kind, count, options.at_once, options.seed)
            right = f"{outcome.ends - outcome.wrong} of {outcome.ends} runs ended in the same bytes"
            print(f"{kind.__name__}: {outcome.faults}; {right}", flush=True)
            wrong += outcome.wrong
    return wrong


def disturb_on_ray(folder: Path, options: argparse.Namespace) -> int:
    """Make four recipes of five folds on two nodes of Ray, then kill tasks, nodes and the command."""
    from tests.soak import on_ray

    folder.mkdir()
    whole = Undisturbed.make(folder, on_ray.four_recipes)
    with on_ray.Nodes.start() as nodes:
        kinds = on_ray.kinds(nodes, options.kills_on_ray)
        return on_ray.make_once_each(nodes, whole) + suffer_all(whole, kinds, options)


def show(name: str, counted: Counter[str], failures: int, promise: str) -> int:
    """Print what became of the inputs of a kind; return how many sorts of them went wrong."""
    for what, number in sorted(counted.items()):
        print(f"{name}: {what}: {number:,}")
    if not failures:
        print(f"{name}: {counted.total():,}, {promise}")
    return failures


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what the arguments ask for, by default those of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100, help="SIGKILLs, at random times")
    parser.add_argument("--kills-at-writes", type=int, default=0, help="SIGKILLs, at random writes")
    parser.add_argument(
        "--kills-beside",
        type=int,
        default=20,
        help="SIGKILLs of a worker of two jobs, and as many of the command itself",
    )
    parser.add_argument(
        "--kills-on-ray",
        type=int,
        default=0,
        help="SIGKILLs of tasks on two nodes of Ray (extra `ray`), a fifth as many of nodes and of the command",
    )
    parser.add_argument("--refusals", type=int, default=100, help="writes that fail")
    parser.add_argument(
        "--at-once", type=int, default=1, help="faults that a run meets before it is left alone"
    )
    parser.add_argument("--inputs", type=int, default=20_000)
    parser.add_argument(
        "--families", type=int, default=len(FAMILIES), help="of encoders, by each method"
    )
    parser.add_argument(
        "--tables", type=int, default=20_000, help="made-up tables that are read and written"
    )
    parser.add_argument(
        "--adapters", type=int, default=50, help="SIGKILLs of a decoder's adapters in training"
    )
    parser.add_argument(
        "--members", type=int, default=1_000, help="damaged files of outputs of another tool"
    )
    parser.add_argument(
        "--requests", type=int, default=1_000, help="hostile requests to a server, sent twice"
    )
    parser.add_argument("--seed", type=int, default=2022)
    options = parser.parse_args(arguments)
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    wrong = disturb(folder, options)
    if options.kills_on_ray:
        wrong += disturb_on_ray(folder / "ray", options)
    if options.inputs:
        counted, failures = bad_inputs(folder, options.inputs, options.seed)
        promise = f"each refused or taken in {SECONDS} s of CPU, nothing half-written"
        wrong += show("bad inputs", counted, failures, promise)
    if options.adapters:
        wrong += killed_adapters(folder / "adapters", options.adapters, options.seed)
    if options.families:
        wrong += visit_zoo(folder / "zoo", sorted(FAMILIES)[: options.families])
    if options.tables:
        counted, failures = made_up_tables(folder, options.tables, options.seed)
        promise = "each came back or was refused by name and line"
        wrong += show("tables", counted, failures, promise)
    if options.members:
        counted, failures = damaged_members(folder, options.members, options.seed)
        wrong += show("members", counted, failures, "each refused by its row")
    if options.requests:
        wrong += hostile_requests(folder / "requests", options.requests, options.seed)
    if wrong:
        sys.exit(f"{wrong} went wrong: see the lines above that begin with `wrong:`, and {folder}")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
