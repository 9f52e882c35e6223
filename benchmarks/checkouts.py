"""Commands of this checkout and of another one, each in a process of its own, timed from outside."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

GIB = 1 << 30


class Usage(NamedTuple):
    """What a command took: seconds of wall and processor, and its peak memory in GiB."""

    wall: float
    processor: float
    peak: float


def checkouts(against: Path | None) -> dict[str, Path]:
    """Return this checkout as `now`, after another one, if any, as `before`."""
    before = {"before": against.resolve()} if against else {}
    return before | {"now": Path(__file__).parent.parent}


def run(checkout: Path, folder: Path, *command: str) -> Usage:
    """Run `comp COMMAND …` in a folder with the code of a checkout, without what it prints."""
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "competition", *command],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(checkout)},
        stdout=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        words = " ".join(command)
        raise SystemExit(f"comp {words} of {checkout} ended with exit code {process.returncode}")
    return Usage(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024 / GIB)


def write_seeds(folder: Path, runs: int) -> tuple[list[str], str]:
    """Write recipes that vary `c1` by its seed; return their names and the settings that train them."""
    names = [f"seed{number:03}" for number in range(runs)]
    folder.joinpath("recipes").mkdir(parents=True)
    for number, name in enumerate(names):
        recipe = f'base = "c1"\n[set]\nscheme = "five"\nseed = {number}\n'
        (folder / "recipes" / f"{name}.toml").write_text(recipe, encoding="utf-8")
    settings = f'preset = "tiny"\nrecipes = {names}\ndefault_recipe = "c1"\nnoise_run = ""\n'
    return names, f"{settings}ensembles = []\n[submission]\ntask2 = '{names[0]}'\n"
