"""Run the soak: `python -m tests.soak --kills 100 --refusals 100 --inputs 20000`."""

import argparse
import tempfile
from pathlib import Path

from tests.soak.faults import Undisturbed, killed_at_times, killed_at_writes, refused_writes, suffer
from tests.soak.hostile import bad_inputs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100, help="SIGKILLs, at random times")
    parser.add_argument("--kills-at-writes", type=int, default=0, help="SIGKILLs, at random writes")
    parser.add_argument("--refusals", type=int, default=100, help="writes that fail")
    parser.add_argument("--at-once", type=int, default=1, help="faults that a run meets before it is left alone")
    parser.add_argument("--inputs", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=2022)
    asked = parser.parse_args()
    faults = {
        killed_at_times: asked.kills,
        killed_at_writes: asked.kills_at_writes,
        refused_writes: asked.refusals,
    }
    with tempfile.TemporaryDirectory() as folder:
        if any(faults.values()):
            whole = Undisturbed.make(Path(folder))
            print(f"undisturbed: {whole.seconds:.1f} s, {whole.writes} writes, {len(whole.artefacts)} artefacts")
        for fault, count in faults.items():
            if count:
                done, ends = suffer(whole, fault, count, asked.at_once, asked.seed)
                print(f"{fault.__name__}: {done}; {ends} of {ends} runs ended in the same bytes", flush=True)
        if asked.inputs:
            counted = bad_inputs(Path(folder), asked.inputs, asked.seed)
            for what, number in sorted(counted.items()):
                print(f"bad inputs: {what}: {number:,}")
            print(f"bad inputs: {counted.total():,}, each refused or taken within 5 s, nothing half-written")


if __name__ == "__main__":
    main()
