"""The server answers as the loaded folder does, and whatever is sent, the fault is never its own."""

import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from competition.config.encoder_recipe import EncoderRecipe
from competition.core.errors import InputError
from competition.core.workspace import Workspace
from competition.pipeline.exporting.sample import texts_of
from competition.pipeline.folder_scorer import FolderScorer
from competition.pipeline.serving.catalogue import Catalogue
from competition.pipeline.serving.limits import Limits, Meter
from competition.pipeline.steps import Pipeline
from tests.conftest import comp, refused
from tests.pipeline.serving.hostile import besiege

pytest.importorskip("fastapi", reason="the extra `serve` is not installed")
pytest.importorskip("httpx", reason="httpx is not installed")

from starlette.testclient import TestClient

from competition.pipeline.serving.server import Busy, Worker, make_app

Made = tuple[Workspace, Path]
LIMITS = Limits(documents=20, body=20_000, waiting=2, seconds=5)
DOCUMENTS = ["Garden hose, 10 m", "USB-C cable, 2 m Anker black", "Lamp", ""]


@pytest.fixture(scope="module")
def scorer(exported: Made) -> FolderScorer:
    """The exported folder."""
    return FolderScorer(exported[1])


@pytest.fixture(scope="module")
def client(scorer: FolderScorer) -> Iterator[TestClient]:
    """A client that sees status 500 as others do, and not the exception."""
    with TestClient(make_app(scorer, LIMITS), raise_server_exceptions=False) as client:
        yield client


def test_rerank_gives_the_scores_of_the_folder_to_the_last_bit(
    client: TestClient, scorer: FolderScorer
) -> None:
    scores = scorer.score("usb cable", DOCUMENTS)
    for route in ("/rerank", "/v1/rerank", "/v2/rerank"):
        answer = client.post(route, json={"query": "usb cable", "documents": DOCUMENTS}).json()
        results = answer["results"]
        assert {each["index"]: each["relevance_score"] for each in results} == dict(
            enumerate(scores.tolist())
        )
        assert [each["index"] for each in results] == sorted(range(4), key=lambda i: -scores[i])


def test_the_schemas_of_jina_and_cohere_are_read(client: TestClient, exported: Made) -> None:
    from transformers import AutoTokenizer

    request = {
        "model": "rerank-v3.5",
        "query": "usb cable",
        "documents": [{"text": DOCUMENTS[0]}, DOCUMENTS[1], {"text": "Lamp", "id": 7}],
        "top_n": 2,
        "return_documents": True,
        "max_tokens_per_doc": 4096,
    }
    answer = client.post("/rerank", json=request).json()
    assert answer["model"] == "served"
    assert len(answer["results"]) == 2
    pair = ("usb cable", DOCUMENTS[1])
    alone = client.post("/rerank", json={"query": pair[0], "documents": [pair[1]] * 3}).json()
    # What is equal is read once.
    read = len(AutoTokenizer.from_pretrained(exported[1])(*pair)["input_ids"])
    assert alone["usage"] == {"total_tokens": read, "prompt_tokens": read}
    assert answer["usage"]["total_tokens"] > read
    texts = [DOCUMENTS[0], DOCUMENTS[1], "Lamp"]
    for each in answer["results"]:
        assert each["document"] == {"text": texts[each["index"]]}


def test_products_are_scored_by_their_fields_and_classified(
    client: TestClient, scorer: FolderScorer
) -> None:
    products = [{"product_title": "USB-C cable", "product_brand": "Anker"}, "Garden hose"]
    answer = client.post("/score", json={"query": "usb cable", "products": products}).json()
    joined = scorer.score("usb cable", ["USB-C cable Anker", "Garden hose"])
    assert answer["scores"] == pytest.approx(joined.tolist(), abs=1e-6)
    for classes in answer["classes"]:
        assert sum(value for name, value in classes.items() if name.startswith("p_")) == (
            pytest.approx(1)
        )


@pytest.mark.parametrize(
    ("body", "status", "sentence"),
    [
        (b"", 422, "required"),
        (b"{", 422, "The body is not JSON, see character 1: Expecting property name"),
        (b"[" * 9_000, 400, "parsing the body"),
        (b'{"query": "x", "documents": []}', 422, "documents: List should have at least 1"),
        (b'{"query": "", "documents": ["x"]}', 422, "query: String should have at least 1"),
        (b'{"query": " ", "documents": ["x"]}', 400, "empty query"),
        (b'{"query": "\\ud800", "documents": ["x"]}', 422, "query: Input should be a valid string"),
        (b'{"query": "x", "documents": ["x"], "top_n": 0}', 422, "top_n: Input should be greater"),
        (json.dumps({"query": "x", "documents": ["x"] * 21}).encode(), 400, "at most 20 are taken"),
        (json.dumps({"query": "x", "documents": ["x" * 20_000]}).encode(), 413, "20,000 bytes"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(
    client: TestClient, body: bytes, status: int, sentence: str
) -> None:
    response = client.post("/rerank", content=body, headers={"content-type": "application/json"})
    assert (response.status_code, sentence in response.json()["detail"]) == (status, True)


def test_a_body_that_is_not_said_to_be_json_is_told_the_header(client: TestClient) -> None:
    # As curl sends it unless it is told otherwise.
    headers = {"content-type": "application/x-www-form-urlencoded"}
    response = client.post(
        "/rerank", content=b'{"query": "x", "documents": ["x"]}', headers=headers
    )
    assert response.status_code == 422
    assert "the header Content-Type: application/json" in response.json()["detail"]


def test_a_client_that_leaves_within_its_body_is_counted_and_no_fault(
    scorer: FolderScorer,
) -> None:
    app = make_app(scorer, LIMITS)
    sent = []
    messages = [{"type": "http.request", "body": b"{", "more_body": True}]

    async def receive() -> dict[str, object]:
        return messages.pop() if messages else {"type": "http.disconnect"}

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/rerank",
        "query_string": b"",
        "headers": [(b"content-type", b"application/json")],
    }
    asyncio.run(app(scope, receive, send))  # type: ignore[arg-type]
    assert sent[0]["status"] == 499
    with TestClient(app) as client:
        assert 'route="/rerank",status="499"} 1' in client.get("/metrics").text


def test_hostile_requests_are_never_a_fault_of_the_server(client: TestClient) -> None:
    counted, wrong = besiege(client, count=100)
    assert wrong == []
    assert counted.total() == 100
    assert counted[200] > 100 / 4  # which the model read
    assert counted[422] > 0


def test_rerank_gives_the_scores_that_comp_predict_writes_to_the_last_bit(
    client: TestClient, exported: Made, tmp_path: Path
) -> None:
    titles = [f"USB cable {i} of {'a' * (i % 7)} metres" for i in range(19)] + ["Lamp", "Lamp"]
    queries = ["usb cable", "red lamp", "usb"]
    rows = [(query, title) for title in titles for query in queries]  # a query's rows apart
    table = pd.DataFrame(rows, columns=["query", "product_title"])
    table.to_parquet(tmp_path / "rows.parquet")
    words = ("predict", tmp_path / "rows.parquet", "--from", exported[1])
    result = comp(*words, "--out", tmp_path / "scored.parquet")
    assert result.exit_code == 0, result.output
    scored = pd.read_parquet(tmp_path / "scored.parquet")

    for query in queries:
        written = scored.loc[scored["query"] == query, "score"].tolist()
        request = {"query": query, "documents": titles[:20]}
        results = client.post("/rerank", json=request).json()["results"]
        scores = {each["index"]: each["relevance_score"] for each in results}
        assert [scores[i] for i in range(20)] == written[:20]
        assert written[20] == written[19]  # the lamp that is there twice


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE"])
def test_other_methods_and_paths_are_refused(client: TestClient, method: str) -> None:
    assert client.request(method, "/rerank").status_code == 405
    assert client.request(method, "/..%2f..%2fetc/passwd").status_code == 404


def test_what_was_served_is_counted_under_few_names(scorer: FolderScorer) -> None:
    client = TestClient(make_app(scorer, LIMITS))
    assert client.get("/health").json() == {
        "status": "ok",
        "model": "served",
        "kind": "classes",
        "products": 0,
    }
    assert client.get("/search", params={"query": "x"}).status_code == 404  # no workspace is named
    client.post("/rerank", json={"query": "x", "documents": ["a", "b", "c"]})
    client.post("/rerank", content=b"x" * 30_000)
    for number in range(5):
        client.get(f"/nothing/{number}")

    lines = client.get("/metrics").text.splitlines()
    assert 'comp_requests_total{route="/rerank",status="200"} 1' in lines
    assert 'comp_requests_total{route="/rerank",status="413"} 1' in lines
    assert 'comp_requests_total{route="other",status="404"} 5' in lines
    assert "comp_documents_total 3" in lines


def test_requests_that_too_many_wait_before_are_sent_away() -> None:
    async def crowd() -> list[object]:
        begun, free = threading.Event(), threading.Event()
        meter = Meter()
        worker = Worker(Limits(waiting=2, seconds=60), meter)

        def work() -> bool:
            begun.set()
            return free.wait()

        first = asyncio.create_task(worker.run(1, work))
        await asyncio.to_thread(begun.wait)  # it has its turn
        waiting = [asyncio.create_task(worker.run(1, free.is_set)) for _ in range(2)]
        while meter.waiting < 2:
            await asyncio.sleep(0)
        with pytest.raises(Busy):
            await worker.run(1, free.is_set)
        free.set()
        return await asyncio.gather(first, *waiting)

    assert asyncio.run(crowd()) == [True] * 3


def test_products_of_a_workspace_are_found_as_the_texts_that_the_model_was_trained_on(
    scorer: FolderScorer, exported: Made
) -> None:
    catalogue = Catalogue.open(exported[0], scorer.card.fields)
    pipeline = Pipeline(exported[0])
    recipe = pipeline.recipes.member("served")
    assert isinstance(recipe, EncoderRecipe)
    examples = pipeline.tables.examples
    (_, text), *_ = texts_of(pipeline.tables, recipe, examples.head(1))

    client = TestClient(make_app(scorer, LIMITS, catalogue))
    assert client.get("/health").json()["products"] == len(catalogue)
    found = client.get("/search", params={"query": text[:200], "limit": 3}).json()["documents"]
    assert found[0] == text
    assert len(found) == 3
    for wrong in ({}, {"query": ""}, {"query": "x" * 2_001}, {"query": "x", "limit": 101}):
        assert client.get("/search", params=wrong).status_code == 422
    assert client.get("/search", params={"query": "qzxv"}).json() == {"documents": []}


def test_a_workspace_of_another_competition_is_refused(exported: Made) -> None:
    with pytest.raises(InputError, match="have no author, which the model reads"):
        Catalogue.open(exported[0], ("title", "author"))


def test_the_page_asks_the_route_and_fetches_nothing_else(client: TestClient) -> None:
    page = client.get("/").text
    assert 'fetch("/rerank"' in page
    assert "http://" not in page
    assert "https://" not in page
    assert "innerHTML" not in page  # what a product says is text


def test_an_address_that_cannot_be_had_is_refused(exported: Made) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        sentence = refused("serve", exported[1], "--port", port)
    assert f"Nothing can listen at 127.0.0.1:{port} (Address already in use)" in sentence
    assert "choose another --port or --host" in refused("serve", exported[1], "--host", "192.0.2.1")


def test_only_an_export_is_served(tmp_path: Path) -> None:
    assert "is not a folder that `comp export` wrote" in refused("serve", tmp_path)
    assert "is not a folder that `comp export` wrote" in refused("push", tmp_path, "a/b")
