"""`/rerank` of an exported folder: ours in fp32 and int8, and sentence-transformers behind the same server.

    python -m benchmarks.serving FOLDER [requests per client]

FOLDER is what `comp export RUN FOLDER --onnx` wrote. Each form gets the same requests, 40 candidates
of about 100 tokens, from 1, 8 and 32 clients at once; the forms take turns, in one process. The
table shows milliseconds (median and 99th percentile) and requests per second. Needs the extras
`serve`, `export` and `bench`.
"""

import asyncio
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from sentence_transformers import CrossEncoder

from competition.models.exported.folder import GRAPHS, ONNX
from competition.pipeline.folder_scorer import FolderScorer
from competition.pipeline.serving.limits import Limits
from competition.pipeline.serving.server import make_app

CLIENTS = (1, 8, 32)
CANDIDATES = 40
VOCABULARY = [
    "usb",
    "cable",
    "red",
    "shoe",
    "lamp",
    "steel",
    "cotton",
    "fast",
    "phone",
    "oak",
    "2m",
]
WORDS = 70  # of a candidate, about a hundred tokens


class Peer:
    """A plain CrossEncoder, as the server calls what it serves."""

    def __init__(self, folder: Path, ours: FolderScorer) -> None:
        self.card, self.kind, self.columns = ours.card, ours.kind, ours.columns
        self.tokens = 0  # which it does not count
        self._model = CrossEncoder(str(folder), device="cpu")
        self._gains = np.array(ours.contest.labels.gains["paper"]) if ours.kind.is_classes else None

    def score(self, query: str, documents: list[str]) -> np.ndarray:
        """Return the expected gain, or the one score, of each document."""
        pairs = [[query, document] for document in documents]
        softmax = self._gains is not None
        outputs = self._model.predict(pairs, apply_softmax=softmax, show_progress_bar=False)
        return outputs @ self._gains if self._gains is not None else outputs


def requests(count: int) -> list[dict[str, Any]]:
    """Return requests of random words, the same for every form."""
    rng = np.random.default_rng(0)
    words = np.array(VOCABULARY)
    texts = [" ".join(rng.choice(words, WORDS)) for _ in range(count * CANDIDATES)]
    return [
        {"query": "usb cable", "documents": texts[i * CANDIDATES : (i + 1) * CANDIDATES]}
        for i in range(count)
    ]


async def ask(app: Any, clients: int, each: list[dict[str, Any]]) -> tuple[list[float], float]:
    """Let clients send the same requests at once; return the seconds of each answer and of all."""
    times: list[float] = []

    async def client(http: httpx.AsyncClient) -> None:
        for request in each:
            begin = time.perf_counter()
            response = await http.post("/rerank", json=request)
            assert response.status_code == 200, response.text
            times.append(time.perf_counter() - begin)

    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://x", timeout=None) as http:
        begin = time.perf_counter()
        await asyncio.gather(*(client(http) for _ in range(clients)))
        return times, time.perf_counter() - begin


def main(folder: Path, count: int) -> None:
    """Measure and print a table."""
    limits = Limits(waiting=64, seconds=3_600)
    ours = FolderScorer(folder)
    scorers: dict[str, Any] = {"sentence-transformers": Peer(folder, ours), "ours, fp32": ours}
    for form, file in GRAPHS.items():
        if (folder / ONNX / file).is_file():
            scorers[f"ours, {form}"] = FolderScorer(folder, form)
    apps = {name: make_app(scorer, limits) for name, scorer in scorers.items()}

    print("| form | clients | p50 ms | p99 ms | requests per second |\n|---|---|---|---|---|")
    for clients in CLIENTS:
        for name, app in apps.items():
            asyncio.run(ask(app, 1, requests(1)))  # warms up
            times, whole = asyncio.run(ask(app, clients, requests(count)))
            low, high = 1e3 * np.percentile(times, [50, 99])
            rate = len(times) / whole
            print(f"| {name} | {clients} | {low:.0f} | {high:.0f} | {rate:.2f} |", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 2)
