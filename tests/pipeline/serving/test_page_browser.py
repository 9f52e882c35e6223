"""The page of the server in headless Chromium: what is typed is ranked, and text stays text."""

from pathlib import Path

import pytest

from competition.core.workspace import Workspace
from competition.pipeline.folder_scorer import FolderScorer
from competition.pipeline.serving.catalogue import Catalogue
from tests.browser import browser, needs_browser
from tests.pipeline.serving.listening import listening

pytest.importorskip("fastapi", reason="the extra `serve` is not installed")
pytest.importorskip("uvicorn", reason="the extra `serve` is not installed")

pytestmark = [needs_browser, pytest.mark.slow]


def test_products_are_ranked_and_a_refusal_is_shown(
    exported: tuple[Workspace, Path], tmp_path: Path
) -> None:
    scorer = FolderScorer(exported[1])
    products = ["Garden hose", "<img src=x onerror=alert(1)>", "USB-C cable"]
    scores = scorer.score("usb cable", products)
    found = ["Red lamp", "Lamp of oak"]
    catalogue = Catalogue(["Shoe", *found, ""])
    with listening(scorer, catalogue) as address, browser(tmp_path) as window:
        window.visit(address)
        fill = "document.getElementById(arguments[0]).value = arguments[1]"
        window.run(fill, "query", "usb cable")
        window.run(fill, "products", "\n".join(products))
        window.click("#rank")
        window.wait_for("#results li")
        shown = window.texts("#results li")
        expected = [products[i] for i in scores.argsort(kind="stable")[::-1]]
        assert [text.rsplit(" ", 1)[0] for text in shown] == expected
        assert window.texts("#results img") == []

        # What is found is ranked.
        window.run(fill, "query", "red lamp")
        window.click("#search:not([hidden])")
        window.wait_for("#results li:nth-child(2)")
        order = scorer.score("red lamp", found).argsort(kind="stable")[::-1]
        shown = window.texts("#results li")
        assert [text.rsplit(" ", 1)[0] for text in shown] == [found[i] for i in order]
        assert window.run("return document.getElementById('products').value.split('\\n')") == found
        window.run(fill, "query", "umbrella")
        window.click("#search")
        window.wait_for("#message:not(:empty)")
        assert window.texts("#message") == ["No product has a word of the query."]

        window.run(fill, "query", " ")
        window.click("#rank")
        window.wait_for("#message:not(:empty)")
        assert "empty query" in window.texts("#message")[0]
