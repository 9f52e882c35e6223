"""How time and memory grow: each size in a process of its own, so that the peak of its memory is its own."""

import resource
import subprocess
import sys
from collections.abc import Sequence

import numpy as np

ONE = "--one"  # asks a benchmark for one measurement, in the words that follow


def measured(benchmark: str, *words: object) -> list[float]:
    """The numbers in the last line that `python -m benchmarks.<benchmark> --one WORDS` prints."""
    command = [sys.executable, "-m", f"benchmarks.{benchmark}", ONE, *map(str, words)]
    printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return [float(number) for number in (printed.splitlines() or [""])[-1].split()]


def peak() -> float:
    """The most memory that this process has held, in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def exponent(seconds: Sequence[float], sizes: Sequence[int]) -> float:
    """How time grows with rows, from the smallest to the largest size; NaN of one size."""
    return (
        float(np.log(seconds[-1] / seconds[0]) / np.log(sizes[-1] / sizes[0]))
        if len(sizes) > 1
        else float("nan")
    )
