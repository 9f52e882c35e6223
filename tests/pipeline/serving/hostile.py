"""Requests that no client means well with, for the suite and in thousands for the soak."""

import json
import math
from collections import Counter
from typing import Any

from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

_ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["\x00", "\u202e", "[SEP]", "<b>", "'; --", "\u200b", "\ufdfa" * 9]),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4)
    ),
    max_leaves=8,
)
_KEYS = st.sampled_from(
    ["query", "documents", "products", "top_n", "return_documents", "locale", "model", "text"]
)
_MALFORMED = st.dictionaries(_KEYS, _ANYTHING, max_size=6).flatmap(
    lambda request: st.sampled_from(
        [
            request,
            {"query": "usb", "documents": ["a", "b"], **request},
            {"query": "usb", "products": ["a", {"product_title": "b"}], **request},
        ]
    )
)
# Of the right shape, so that the model reads what they hold.
_TEXT = st.text(max_size=60) | st.sampled_from(
    ["\x00" * 50, "\u202eabc", "[SEP][CLS][PAD]", "<b>&lt;", "\u200b", "\ufdfa" * 99, "e\u0301" * 40, "1" * 3000]
)  # fmt: skip
_QUERY = _TEXT.map(lambda text: f"{text} usb")
_DOCUMENTS = st.lists(_TEXT | st.builds(lambda text: {"text": text}, _TEXT), min_size=1, max_size=6)
_PRODUCTS = st.lists(
    _TEXT
    | st.fixed_dictionaries(
        {"product_title": _TEXT}, optional={"product_brand": st.none() | _TEXT, "x": _TEXT}
    ),
    min_size=1,
    max_size=6,
)
_READ = st.fixed_dictionaries(
    {"query": _QUERY, "documents": _DOCUMENTS, "products": _PRODUCTS},
    optional={
        "top_n": st.none() | st.integers(1, 2**70),
        "return_documents": st.booleans(),
        "model": st.none() | _TEXT,
        "max_tokens_per_doc": _ANYTHING,
    },
)
_JUNK = st.just(b"") | st.binary(max_size=3)


def besiege(client: Any, count: int, draw: int = 2022) -> tuple[Counter[int], list[str]]:
    """Send hostile requests; return how often each status came back, and what was a fault of the server.

    Args:
        client: that gives status 500 as others see it.
        count: of requests.
        draw: the seed of what they hold.
    """
    statuses: Counter[int] = Counter()
    wrong: list[str] = []

    @seed(draw)
    @settings(
        max_examples=count, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(
        request=_MALFORMED | _READ,
        route=st.sampled_from(["/rerank", "/v2/rerank", "/score"]),
        junk=_JUNK,
    )
    def send(request: dict[str, Any], route: str, junk: bytes) -> None:
        if statuses.total() >= count:
            return
        body = json.dumps(request).encode("utf-8", "surrogatepass") + junk
        response = client.post(route, content=body, headers={"content-type": "application/json"})
        statuses[response.status_code] += 1
        finite = True
        if response.status_code == 200:
            answer = response.json()
            scores = answer.get("scores") or [one["relevance_score"] for one in answer["results"]]
            finite = all(math.isfinite(score) for score in scores)
        if response.status_code >= 500 or not finite:
            wrong.append(f"{route} {body!r}: {response.status_code} {response.text[:200]}")

    send()
    return statuses, wrong
