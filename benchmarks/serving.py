"""`/rerank` of an exported folder: each form of ours, and sentence-transformers behind the same server.

    python -m benchmarks.serving [rounds]

The model is of MiniLM's size (6 layers of 384, random weights), a request 40 candidates of 102
tokens. From 1, 8 and 32 clients at once, each form answers 32 requests a round; the forms take turns,
in one process. The table shows milliseconds from a request to its answer (median and 99th
percentile) and requests per second. A round takes some six minutes on two idle cores. Needs the
extras `serve`, `export` and `bench`.
"""

import asyncio
import sys
import time
from collections import defaultdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import numpy as np
from sentence_transformers import CrossEncoder
from transformers import AutoTokenizer

from benchmarks.export import CANDIDATES, VOCABULARY, WORDS, write_classifier
from competition.models.exported import graphs
from competition.models.exported.folder import (
    GRAPHS,
    ONNX,
    TORCH,
    FolderCard,
    write_certificate,
)
from competition.pipeline.folder_scorer import FolderScorer
from competition.pipeline.serving.limits import Limits
from competition.pipeline.serving.server import make_app
from competition.scoring.definition import ESCI, load_definition

CLIENTS = (1, 8, 32)
REQUESTS = 32  # of a form in a round, by all clients together


class Peer:
    """A plain CrossEncoder, as the server calls what it serves."""

    def __init__(self, folder: Path, ours: FolderScorer) -> None:
        self.card, self.kind, self.columns = ours.card, ours.kind, ours.columns
        self.tokens = 0  # which it does not count
        self._model = CrossEncoder(str(folder), device="cpu")

    def score(self, query: str, documents: list[str]) -> np.ndarray:
        """Return the score of each document."""
        pairs = [[query, document] for document in documents]
        scores: np.ndarray = self._model.predict(pairs, show_progress_bar=False)
        return scores


def write_folder(folder: Path, rng: np.random.Generator) -> None:
    """Write a classifier of MiniLM's size with its graphs, as an export is laid out."""
    write_classifier(folder)
    (folder / ONNX).mkdir()
    whole, dynamic, static = (folder / ONNX / file for file in GRAPHS.values())
    tokenizer = AutoTokenizer.from_pretrained(folder)
    graphs.write_graph(folder, whole)
    graphs.write_dynamic_int8(whole, dynamic)
    pairs = [("1 2", text) for text in documents(rng)]
    graphs.write_static_int8(whole, static, tokenizer, pairs)

    definition = load_definition(ESCI, folder).model_dump(mode="json", exclude_unset=True)
    card = FolderCard(
        run="minilm",
        model="random weights",
        kind="gain",
        fields=("title",),
        max_length=512,
        contest=ESCI,
        definition=definition,
        found={},
        basis="held-out",
        label_paths=(),
    )
    card.write(folder)
    write_certificate(folder, {})


def documents(rng: np.random.Generator) -> list[str]:
    """Return the candidates of a request: random words, each a token."""
    words = rng.integers(0, VOCABULARY, (CANDIDATES, WORDS)).astype(str)
    return [" ".join(row) for row in words]


async def ask(app: Any, clients: int, requests: list[dict[str, Any]]) -> tuple[list[float], float]:
    """Let clients share some requests; return the seconds of each answer and of all."""
    times: list[float] = []

    async def client(http: httpx.AsyncClient, own: list[dict[str, Any]]) -> None:
        for request in own:
            begin = time.perf_counter()
            response = await http.post("/rerank", json=request)
            assert response.status_code == 200, response.text
            times.append(time.perf_counter() - begin)

    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://x", timeout=None) as http:
        begin = time.perf_counter()
        await asyncio.gather(*(client(http, requests[i::clients]) for i in range(clients)))
        return times, time.perf_counter() - begin


async def compare(apps: dict[str, Any], rounds: int, rng: np.random.Generator) -> None:
    """Print a row per form, all in one event loop, which servers are bound to."""
    times: dict[tuple[str, int], list[float]] = defaultdict(list)
    whole: dict[tuple[str, int], float] = defaultdict(float)
    requests = [{"query": "1 2", "documents": documents(rng)} for _ in range(REQUESTS)]
    for app in apps.values():
        await ask(app, 1, requests[:1])  # warms up
    for _ in range(rounds):
        for clients in CLIENTS:
            for form, app in apps.items():
                answered, seconds = await ask(app, clients, requests)
                times[form, clients] += answered
                whole[form, clients] += seconds

    heads = [f"{clients} clients: p50 | p99 | per second" for clients in CLIENTS]
    print(f"| form | {' | '.join(heads)} |\n|---|{'---|' * 3 * len(CLIENTS)}")
    for form in apps:
        cells = []
        for clients in CLIENTS:
            answered = times[form, clients]
            middle, high = 1e3 * np.percentile(answered, [50, 99])
            rate = len(answered) / whole[form, clients]
            cells.append(f"{middle:,.0f} | {high:,.0f} | {rate:.2f}")
        print(f"| {form} | {' | '.join(cells)} |")


def main(rounds: int) -> None:
    """Measure and print a table."""
    rng = np.random.default_rng(0)
    with TemporaryDirectory() as name:
        folder = Path(name)
        write_folder(folder, rng)
        scorers: dict[str, Any] = {
            f"ours, {form}": FolderScorer(folder, form) for form in (TORCH, *GRAPHS)
        }
        ours = scorers[f"ours, {TORCH}"]
        scorers = {"sentence-transformers": Peer(folder, ours)} | scorers
        limits = Limits(waiting=64, seconds=3_600)
        apps = {form: make_app(scorer, limits) for form, scorer in scorers.items()}
        asyncio.run(compare(apps, rounds, rng))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1)
