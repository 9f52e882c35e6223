"""How long each form of an export takes for a query, beside sentence-transformers in the same process."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from competition.models.exported.folder import ONNX
from competition.pipeline.exporting.sample import Pair

CANDIDATES = (1, 10, 40)
ROUNDS = 15  # of which the median counts
LogitsOf = Callable[[Sequence[Pair]], Any]


def measure_latency(folder: Path, pairs: Sequence[Pair]) -> list[dict[str, Any]]:
    """Return a row per form with the milliseconds for each number of candidates.

    The forms take turns in every round, so that what else the machine does falls on all of them.
    Each round takes the next pairs, the same for all forms.

    Args:
        folder: with the forms.
        pairs: real ones.
    """
    forms = _forms(folder)
    rows: list[dict[str, Any]] = [{"form": name} for name in forms]
    for candidates in CANDIDATES:
        times: dict[str, list[float]] = {name: [] for name in forms}
        for number in range(-1, ROUNDS):
            first = number * candidates
            batch = [pairs[(first + i) % len(pairs)] for i in range(candidates)]
            for name, logits in forms.items():
                begin = time.perf_counter()
                logits(batch)
                if number >= 0:  # the round before warms up
                    times[name].append(1e3 * (time.perf_counter() - begin))
        for row in rows:
            row[f"{candidates} candidates"] = median(times[row["form"]])
    return rows


def _forms(folder: Path) -> dict[str, LogitsOf]:
    """Return what gives logits, by the name of the form; first sentence-transformers where it is installed."""
    import torch

    from competition.models.exported.runner import TorchRunner

    forms: dict[str, LogitsOf] = {}
    try:
        from sentence_transformers import CrossEncoder

        other = CrossEncoder(str(folder), device="cpu", local_files_only=True)
        forms["sentence-transformers fp32"] = lambda pairs: other.predict(
            [list(pair) for pair in pairs], show_progress_bar=False
        )
    except ImportError:
        pass

    plain = TorchRunner(folder)
    forms["fp32"] = plain.logits
    forms["bf16"] = TorchRunner(folder, torch.bfloat16).logits
    for path in sorted((folder / ONNX).glob("*.onnx")):
        from competition.models.exported.graphs import GraphRunner

        runner = GraphRunner(path, plain.reader.tokenizer)
        forms[f"ONNX {path.stem.removeprefix('model').strip('_').replace('_', ' ') or 'fp32'}"] = (
            runner.logits
        )
    return forms
