"""Hostile requests to a server that listens: no fault of its own, and no byte more from thousand to thousand.

At least a quarter of them are of a form that the model reads.
"""

import gc
from pathlib import Path

import httpx
import psutil

from competition.pipeline.folder_scorer import FolderScorer
from tests.pipeline.exported import make_exported
from tests.pipeline.serving.hostile import besiege
from tests.pipeline.serving.listening import listening

GROWTH = 16  # MiB that as many requests again may add: an allocator gives nothing back at once


def hostile_requests(folder: Path, count: int, seed: int) -> int:
    """Send `count` requests twice, the second time others; return how many things went wrong."""
    _, exported = make_exported(folder)
    process = psutil.Process()
    sizes = []
    wrong: list[str] = []
    statuses: dict[int, int] = {}
    with (
        listening(FolderScorer(exported)) as address,
        httpx.Client(base_url=address, timeout=60) as client,
    ):
        for again in (0, 1):
            counted, faults = besiege(client, count, seed + again)
            wrong += faults
            for status, number in counted.items():
                statuses[status] = statuses.get(status, 0) + number
            gc.collect()
            sizes.append(process.memory_info().rss / 2**20)

    for sentence in wrong:
        print(f"wrong: request {sentence}", flush=True)
    said = ", ".join(f"{number:,} of {status}" for status, number in sorted(statuses.items()))
    grown = sizes[1] - sizes[0]
    print(f"requests: {said}; {sizes[0]:,.0f} MiB, then {grown:+.1f} MiB", flush=True)
    if grown > GROWTH:
        print(f"wrong: the process grew by {grown:.1f} MiB", flush=True)
    if statuses.get(200, 0) < count / 2:  # a quarter of both times
        print("wrong: too few requests reached the model", flush=True)
        return len(wrong) + 1
    return len(wrong) + (grown > GROWTH)
