"""README.md of an exported folder: what it tells users to run must run, whatever the texts and labels are."""

import ast
import re
from pathlib import Path

import pytest

from competition.config.encoder_recipe import EncoderRecipe
from competition.pipeline.exporting.card_facts import CardFacts
from competition.pipeline.exporting.certificate import Form
from competition.pipeline.exporting.export import Exported
from competition.pipeline.exporting.model_card import model_card
from tests.esci import CONTEST, KINDS

ONE_LABEL = Form("one label", "one-label", 2, 1, 0.1, 0, 1, None, {})


def make_card(
    kind: str, labels: tuple[str, ...], *forms: Form, document: str = "Cable", query: str = "usb"
) -> str:
    """Return the card of a model whose example is a query and a document."""
    facts = CardFacts(
        recipe=EncoderRecipe(name="x", kind=kind, servable=True),
        kind=KINDS[kind],
        labels=labels,
        contest=CONTEST,
        fields=("title",),
        base="tiny",
        licence="mit",
        rows={"us": 2},
        queries=1,
        scores=(),
        label_paths=(),
        example=(query, document),
        read=f"{query} {document}",
        weights=1,
    )
    return model_card(facts, Exported(Path("model"), "the model of fold 0", list(forms)))


def python_of(card: str) -> str:
    """Return the code that a card tells users to run."""
    (block,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    return str(block)


@pytest.mark.parametrize("text", ['19" rack', "C:\\new\\", '\\"', "it's", "赤い靴 😀", "a `b` c"])
def test_texts_are_the_same_in_the_code_of_a_card(text: str) -> None:
    card = make_card("gain", ("gain",), document=text, query=text)
    strings = [
        node.value
        for node in ast.walk(ast.parse(python_of(card)))
        if isinstance(node, ast.Constant)
    ]
    assert strings.count(text) == 6  # a query and a document for each of three programs


def test_a_text_with_backquotes_is_shown_as_it_is() -> None:
    card = make_card("gain", ("gain",), query="``a` b")
    assert "- query: ``` ``a` b ```" in card


def test_servers_of_rerankers_are_named_only_where_there_is_one_logit() -> None:
    servers = ("text-embeddings-router", "vllm serve")
    labels = tuple(KINDS["classes"].labels.names)
    for card, path in (
        (make_card("gain", ("gain",)), "FOLDER"),
        (make_card("classes", labels, ONE_LABEL), "FOLDER/one-label"),
    ):
        assert f"text-embeddings-router --model-id {path}\nvllm serve {path}\n" in card
    without = make_card("classes", labels)
    assert not any(server in without for server in servers)
    assert "there is no form with one here" in without
    assert "comp serve FOLDER" in without


def test_a_model_that_ranks_nothing_is_not_told_to() -> None:
    card = make_card("substitute", ("no_substitute", "substitute"))
    assert "model.classify(" in python_of(card)
    assert "model.score(" not in card
    assert "comp serve" not in card
