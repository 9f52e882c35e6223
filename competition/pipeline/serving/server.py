"""The routes of a server: `/rerank`, `/score`, `/health`, `/metrics`, and a page to try it at `/`.

With the products of a workspace there is `/search`, too, from which the page takes what it ranks.

One request is computed at a time, its candidates in batches of similar length. Requests are not
merged into one batch, since a sum of floating-point numbers depends on the shape of its matrices:
a score would depend on who else asks, and not be what `competition.load` says of the same texts.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from competition import __version__
from competition.core.errors import InputError, escape_controls
from competition.pipeline.folder_scorer import FolderScorer
from competition.pipeline.scorer import SCORE
from competition.pipeline.serving.catalogue import Catalogue
from competition.pipeline.serving.limits import BodyLimit, Limits, Meter
from competition.pipeline.serving.schema import (
    LONGEST_QUERY,
    RerankRequest,
    ScoreRequest,
    describe,
)

if TYPE_CHECKING:
    from fastapi import FastAPI, Request
    from fastapi.responses import Response

PAGE = Path(__file__).with_name("page.html")
RERANK = ("/rerank", "/v1/rerank", "/v2/rerank")
ROUTES = (*RERANK, "/score", "/search", "/health", "/metrics", "/")


class Busy(Exception):
    """More requests wait than are allowed, or one has waited too long."""


class Worker:
    """Lets requests take turns at the model."""

    def __init__(self, limits: Limits, meter: Meter) -> None:
        self._limits = limits
        self._meter = meter
        self._turn = asyncio.Semaphore(1)

    async def run(self, documents: int, work: Callable[[], Any]) -> Any:
        """Do some work in a thread when it is its turn.

        Raises:
            Busy: too many wait, or the turn did not come.
        """
        if self._meter.waiting >= self._limits.waiting:
            raise Busy
        self._meter.waiting += 1
        try:
            await asyncio.wait_for(self._turn.acquire(), self._limits.seconds)
        except TimeoutError:
            raise Busy from None
        finally:
            self._meter.waiting -= 1

        begin = time.perf_counter()
        try:
            return await asyncio.to_thread(work)
        finally:
            self._turn.release()
            self._meter.seconds += time.perf_counter() - begin
            self._meter.batches += 1
            self._meter.documents += documents


def make_app(
    scorer: FolderScorer, limits: Limits | None = None, catalogue: Catalogue | None = None
) -> "FastAPI":
    """Return the server of a folder, which searches the products of `catalogue` if there is one.

    Raises:
        InputError: the folder ranks nothing, or the extra `serve` is not installed.
    """
    try:
        from fastapi import FastAPI
    except ImportError:
        raise InputError(
            "Serving needs fastapi, which is not installed: `pip install comp-relevance[serve]`."
        ) from None
    if SCORE not in scorer.columns:
        raise InputError(
            f"{scorer.card.run!r} predicts {scorer.kind.name}, which ranks nothing: serve another run."
        )

    limits = limits or Limits()
    meter = Meter()
    app = FastAPI(title=f"comp serve {scorer.card.run}", version=__version__)
    _add_scoring(app, scorer, limits, meter)
    _add_status(app, scorer, meter, catalogue)
    if catalogue is not None:
        _add_search(app, catalogue)
    _add_errors(app)
    # What is added last is outermost: requests whose body is refused are counted, too.
    app.add_middleware(BodyLimit, limits=limits)
    app.middleware("http")(_counting(meter))
    return app


def _add_scoring(app: "FastAPI", scorer: FolderScorer, limits: Limits, meter: Meter) -> None:
    worker = Worker(limits, meter)

    def check_count(count: int) -> None:
        if count > limits.documents:
            raise InputError(
                f"There are {count:,} documents, at most {limits.documents:,} are taken."
            )

    async def rerank(request: RerankRequest) -> dict[str, Any]:
        """Order documents by how well they answer a query."""
        texts = request.texts
        check_count(len(texts))
        scores, tokens = await worker.run(
            len(texts), lambda: score_texts(scorer, request.query, texts)
        )

        # Equal scores stay in the order of the request.
        order = np.argsort(-scores, kind="stable")[: request.top_n]
        results: list[dict[str, Any]] = [
            {"index": int(i), "relevance_score": float(scores[i])} for i in order
        ]
        if request.return_documents:
            for result in results:
                result["document"] = {"text": texts[result["index"]]}
        usage = {"total_tokens": tokens, "prompt_tokens": tokens}
        return {"model": scorer.card.run, "usage": usage, "results": results}

    async def score(request: ScoreRequest) -> dict[str, Any]:
        """Score products, in the order of the request, with the class of each where there are any."""
        count = len(request.products)
        check_count(count)
        answer: dict[str, Any] = await worker.run(count, lambda: score_products(scorer, request))
        return answer

    for route in RERANK:
        app.post(route, include_in_schema=route == RERANK[0])(rerank)
    app.post("/score")(score)


def _add_search(app: "FastAPI", catalogue: Catalogue) -> None:
    from fastapi import Query

    @app.get("/search")
    async def search(
        query: Annotated[str, Query(min_length=1, max_length=LONGEST_QUERY)],
        limit: Annotated[int, Query(ge=1, le=100)] = 20,
    ) -> dict[str, list[str]]:
        """Find products of the workspace by BM25, as texts to be ranked."""
        return {"documents": await asyncio.to_thread(catalogue.search, query, limit)}


def _add_status(
    app: "FastAPI", scorer: FolderScorer, meter: Meter, catalogue: Catalogue | None
) -> None:
    from fastapi.responses import HTMLResponse, PlainTextResponse

    @app.get("/health")
    async def health() -> dict[str, str | int]:
        """Say that the model is loaded, which it is, and how many products can be searched."""
        products = 0 if catalogue is None else len(catalogue)
        about: dict[str, str | int] = {"model": scorer.card.run, "kind": scorer.kind.name}
        return {"status": "ok", **about, "products": products}

    @app.get("/metrics")
    async def metrics() -> PlainTextResponse:
        """Return what was counted, as Prometheus reads it."""
        return PlainTextResponse(meter.text())

    @app.get("/", include_in_schema=False)
    async def page() -> HTMLResponse:
        """Return the page to try the model."""
        return HTMLResponse(PAGE.read_text(encoding="utf-8"))


def score_texts(
    scorer: FolderScorer, query: str, texts: list[str]
) -> tuple[NDArray[np.float64], int]:
    """Return the scores of texts, and how many tokens the model read for them; one call at a time."""
    before = scorer.tokens
    scores = scorer.score(query, texts)
    return scores, scorer.tokens - before


def score_products(scorer: FolderScorer, request: ScoreRequest) -> dict[str, Any]:
    """Return the scores of products, and their classes where the run predicts any."""
    products: Any = request.products
    if any(isinstance(product, dict) for product in products):
        title = scorer.contest.source.names(scorer.contest.fields[0])[0]
        rows = [each if isinstance(each, dict) else {title: each} for each in products]
        products = pd.DataFrame(rows, dtype=object)

    answer: dict[str, Any] = {
        "model": scorer.card.run,
        "scores": scorer.score(request.query, products, request.locale).tolist(),
    }
    if not scorer.kind.is_number:
        classes = scorer.classify(request.query, products, request.locale)
        answer["classes"] = classes.to_dict("records")
    return answer


def _add_errors(app: "FastAPI") -> None:
    """Answer what is wrong with a request in a sentence: it is the client's, hence 4xx."""
    from fastapi.exceptions import RequestValidationError
    from fastapi.responses import JSONResponse

    @app.exception_handler(RequestValidationError)
    async def malformed(request: "Request", error: RequestValidationError) -> JSONResponse:
        is_json = request.method != "POST" or "json" in request.headers.get("content-type", "")
        return JSONResponse({"detail": describe(list(error.errors()), is_json)}, 422)

    @app.exception_handler(InputError)
    async def refused(_: "Request", error: InputError) -> JSONResponse:
        sentence = escape_controls(str(error))
        return JSONResponse({"detail": sentence}, 400)

    @app.exception_handler(Busy)
    async def busy(_: "Request", error: Busy) -> JSONResponse:
        sentence = "Other requests are waiting for the model: send this one again later."
        return JSONResponse({"detail": sentence}, 429, headers={"Retry-After": "1"})


def _counting(
    meter: Meter,
) -> Callable[["Request", Callable[["Request"], Awaitable["Response"]]], Awaitable["Response"]]:
    """Return a middleware that counts requests by route and status."""

    async def count(
        request: "Request", call_next: Callable[["Request"], Awaitable["Response"]]
    ) -> "Response":
        response = await call_next(request)
        # Paths are a client's: those that are no route are one.
        route = request.url.path if request.url.path in ROUTES else "other"
        meter.requests[route, response.status_code] += 1
        return response

    return count
