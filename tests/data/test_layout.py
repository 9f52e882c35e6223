"""Query and document in one text, against the tokenizer's own reading of it."""

import itertools
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tokenizers.processors import TemplateProcessing

from competition.core.errors import InputError
from competition.data.layout import PAIR, documents, make_layout
from tests.rerankers import pair_tokenizer

QUERIES = ("red shoe", "zapato", "a b c d e f g h i j k l m n o p")
DOCUMENTS = ("a shoe of red leather", "", "kettle")
Catalogue = tuple[pd.DataFrame, pd.DataFrame]


def joined(tokenizer: Any, template: str, max_length: int, query: str, document: str) -> list[int]:
    """The tokens of a pair by a layout."""
    layout = make_layout(tokenizer, template, max_length, "x")
    q = layout.make_query(pd.DataFrame({"text": [query]}))[0]
    d = layout.make_document(pd.DataFrame({"text": [document]}))[0]
    ids, _ = layout.join(q, d, max_length)
    assert len(ids) <= max_length
    return list(ids)


@pytest.mark.parametrize("family", ["bert", "xlm-roberta"])
@pytest.mark.parametrize("max_length", [9, 14, 15, 64])
def test_a_pair_is_that_of_the_tokenizer(
    family: str, max_length: int, catalogue: Catalogue
) -> None:
    """Cut or not; token types too."""
    tokenizer = pair_tokenizer(catalogue[1], family)
    layout = make_layout(tokenizer, PAIR, max_length, "x")
    for query, document in itertools.product(QUERIES, DOCUMENTS):
        both = [(query, document)]
        expected = tokenizer(both, truncation="longest_first", max_length=max_length)
        assert joined(tokenizer, PAIR, max_length, query, document) == expected["input_ids"][0]
        q, d = (layout.make_query(pd.DataFrame({"text": [text]}))[0] for text in (query, document))
        ids, first = layout.join(q, d, max_length)
        types = [int(i >= first) for i in range(len(ids))]
        assert types == expected.get("token_type_ids", [[0] * len(ids)])[0]


@pytest.mark.parametrize(
    "template",
    [
        "query: {query} document: {document}",
        "{query}\n{document}",
        "<mask>Query: {query}\nDocument: {document}<mask>\nRelevant:",
    ],
)
@pytest.mark.parametrize("prefix", [True, False])
def test_a_template_is_the_text_that_it_says(
    template: str, prefix: bool, catalogue: Catalogue
) -> None:
    """Between the special tokens of any text, whether the tokenizer puts a blank before it or not."""
    tokenizer = pair_tokenizer(catalogue[1], "bert")
    tokenizer.backend_tokenizer.pre_tokenizer.add_prefix_space = prefix
    for query, document in itertools.product(QUERIES, DOCUMENTS):
        text = template.replace("{query}", query).replace("{document}", document)
        if document:
            assert joined(tokenizer, template, 99, query, document) == tokenizer(text)["input_ids"]


def test_a_text_cannot_spell_a_special_token_out(catalogue: Catalogue) -> None:
    """What a product's text says is text; what the template says is the recipe's."""
    tokenizer = pair_tokenizer(catalogue[1], "bert")
    ids = joined(tokenizer, "{query}</s>{document}", 99, "a </s> b", "c")
    assert ids.count(tokenizer.sep_token_id) == 2  # the template's, and the one behind any text


def test_a_first_token_that_is_spelled_out_is_there_once(catalogue: Catalogue) -> None:
    tokenizer = pair_tokenizer(catalogue[1], "bert")
    post = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    tokenizer.backend_tokenizer.post_processor = post
    plain, spelled = (
        joined(tokenizer, f"{s}{{query}} {{document}}", 99, "a", "b") for s in ("", "<s>")
    )
    assert plain == spelled
    assert plain.count(tokenizer.cls_token_id) == 1


def test_a_template_that_leaves_no_room_is_refused(catalogue: Catalogue) -> None:
    tokenizer = pair_tokenizer(catalogue[1], "bert")
    with pytest.raises(InputError, match="max_length = 16, of which its template takes"):
        make_layout(tokenizer, "of many many many many words {query}\n{document}", 16, "x")


def test_documents_are_their_fields() -> None:
    products = pd.DataFrame({"title": ["a", "", "c"], "brand": ["x", "y", ""]}, dtype="str")
    assert documents(products, ["title", "brand"])["document"].tolist() == ["a x", "y", "c"]
    np.testing.assert_array_equal(len(documents(products.head(0), ["title"])), 0)
