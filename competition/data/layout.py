"""How a query and a document stand in one text: the tokenizer's own pair, or a template.

Rerankers score a pair as their tokenizer joins it, instruction-tuned decoders what a template makes
of it. Query, document and what stands around them are tokenised apart, each once; a blank before a
slot goes with the slot's text, since that is where tokenizers begin a word. So the tokens are those
of the whole text wherever the tokenizer cuts it at these places, too.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from competition.core.errors import InputError
from competition.data.ragged import Ragged
from competition.data.text import clean, clean_all
from competition.data.token_store import SequenceMaker
from competition.data.tokenizer import make_token_maker, tokenise

PAIR = "pair"  # the tokenizer's own way to join two texts
QUERY, DOCUMENT = "{query}", "{document}"  # the slots of a template

Ids = NDArray[np.int32]


@dataclass(frozen=True)
class Layout:
    """The tokens around a query and a document, which come in this order.

    Attributes:
        before: the query.
        between: query and document.
        behind: the document.
        first_text: how many tokens of `between` are of the first text, by token types; None where
            the tokenizer knows no types, so that all tokens are of the first text.
        make_query: tokenises queries.
        make_document: tokenises documents.
        is_plain: whether queries and documents have the tokens that they have by themselves, so
            that those which are stored can be read.
    """

    before: Ids
    between: Ids
    behind: Ids
    first_text: int | None
    make_query: SequenceMaker
    make_document: SequenceMaker
    is_plain: bool

    @property
    def special(self) -> int:
        """How many tokens are neither of the query nor of the document."""
        return len(self.before) + len(self.between) + len(self.behind)

    def join(self, query: Ids, document: Ids, max_length: int) -> tuple[Ids, int]:
        """Return the tokens of a pair, at most `max_length`, and how many of them are of the first text.

        The longer of query and document is cut first, then both alike: as tokenizers cut pairs
        (`longest_first`). What stands around them is never cut.
        """
        room = max_length - self.special
        if len(query) + len(document) > room:
            short = min(len(query), len(document), room // 2)
            if len(query) <= len(document):
                query, document = query[:short], document[: room - short]
            else:
                query, document = query[: room - short], document[:short]

        ids = np.concatenate([self.before, query, self.between, document, self.behind])
        if self.first_text is None:
            return ids, len(ids)
        return ids, len(self.before) + len(query) + self.first_text


def join_fields(fields: Iterable[str]) -> str:
    """Return the fields of a product that are not empty as one text, with blanks between."""
    return " ".join(filter(None, fields))


def documents(products: pd.DataFrame, fields: Sequence[str]) -> pd.DataFrame:
    """Return the text of each product as one column, see `join_fields`."""
    columns = [products[field].tolist() for field in fields]
    texts = [join_fields(texts) for texts in zip(*columns, strict=True)]
    return pd.DataFrame({"document": texts}, dtype="str")


def served_documents(products: pd.DataFrame, fields: Sequence[str]) -> list[str]:
    """Return the text of each product as a server is sent it, see `join_fields`; a missing field is empty."""
    columns = [products[field].fillna("") for field in fields]
    return [clean(join_fields(texts)) for texts in zip(*columns, strict=True)]


def make_layout(
    tokenizer: Any, template: str, max_length: int, recipe: str, served: bool = False
) -> Layout:
    """Return the layout of a template, or of PAIR.

    Args:
        tokenizer: of the encoder.
        template: a text with each slot once, the query's first; or PAIR.
        max_length: of a pair, in tokens.
        recipe: whose `max_length` that is, for messages.
        served: whether a server will put pairs together. A pair then gets BERT's special tokens
            where the tokenizer of an encoder adds none (models that were trained without them are
            read without them), and texts in a template are tokenised by themselves.

    Raises:
        InputError: the template takes all of `max_length`.
    """
    if template == PAIR:
        layout = _bert_pair(tokenizer) if served and lacks_template(tokenizer) else _pair(tokenizer)
    else:
        layout = _from_template(tokenizer, template)
        if served:
            make = make_token_maker(tokenizer)
            layout = replace(layout, make_query=make, make_document=make)
    if layout.special + 2 > max_length:
        raise InputError(
            f"The recipe {recipe!r} has max_length = {max_length}, of which its template takes {layout.special} "
            "tokens: raise max_length, or shorten the template."
        )
    return layout


def _pair(tokenizer: Any) -> Layout:
    """Return the tokenizer's own layout of a pair, read off from one."""
    make = make_token_maker(tokenizer)
    encoded = tokenizer("a", "a", return_special_tokens_mask=True)
    ids = np.array(encoded["input_ids"], np.int32)
    is_text = np.flatnonzero(~np.array(encoded["special_tokens_mask"], bool))
    text = len(tokenizer("a", add_special_tokens=False)["input_ids"])  # tokens of either

    first, second = is_text[0], is_text[-1] + 1 - text  # where the texts begin
    between = slice(int(first) + text, int(second))
    first_text = None
    if "token_type_ids" in encoded:
        types = np.array(encoded["token_type_ids"])
        first_text = int((types[between] == types[first]).sum())
    return Layout(
        before=ids[:first],
        between=ids[between],
        behind=ids[second + text :],
        first_text=first_text,
        make_query=make,
        make_document=make,
        is_plain=True,
    )


def _bert_pair(tokenizer: Any) -> Layout:
    """Return BERT's layout of a pair."""
    make = make_token_maker(tokenizer)
    first, separator = (
        np.array([i], np.int32) for i in (tokenizer.cls_token_id, tokenizer.sep_token_id)
    )
    has_types = "token_type_ids" in tokenizer.model_input_names
    first_text = len(separator) if has_types else None
    return Layout(first, separator, separator, first_text, make, make, is_plain=True)


def lacks_template(tokenizer: Any) -> bool:
    """Return whether a tokenizer of an encoder adds no special token to a pair; decoders need none."""
    has_tokens = tokenizer.cls_token_id is not None and tokenizer.sep_token_id is not None
    of_encoder = has_tokens and tokenizer.bos_token is None
    return of_encoder and not tokenizer.num_special_tokens_to_add(pair=True)


def _from_template(tokenizer: Any, template: str) -> Layout:
    """Return the layout of a template, between the special tokens that the tokenizer puts around any text."""
    head, rest = template.split(QUERY)
    middle, tail = rest.split(DOCUMENT)
    encoded = tokenizer("a", return_special_tokens_mask=True)
    is_special = np.array(encoded["special_tokens_mask"], bool)
    ids = np.array(encoded["input_ids"], np.int32)
    begin, end = ids[: int(is_special.argmin())], ids[len(ids) - int(is_special[::-1].argmin()) :]

    # A template may spell the first special token out.
    spelled = tokenizer.decode(begin) if len(begin) else ""
    begin = begin[:0] if spelled and head.startswith(spelled) else begin

    # A blank before a slot goes with the slot's text.
    before, between = head.rstrip(" "), middle.rstrip(" ")
    to_query, to_document = head[len(before) :], middle[len(between) :]
    first, second = _literal(tokenizer, "", before), _literal(tokenizer, "a", between)
    return Layout(
        before=np.concatenate([begin, first]),
        between=second,
        behind=np.concatenate([_literal(tokenizer, "a", tail), end]),
        first_text=None,
        make_query=partial(_slot, tokenizer, _anchor(tokenizer, before, first), to_query),
        make_document=partial(_slot, tokenizer, _anchor(tokenizer, between, second), to_document),
        is_plain=False,
    )


def _anchor(tokenizer: Any, text: str, ids: Ids) -> str:
    """Return what a slot's text is read behind: the last character before it, unless a special token ends there."""
    special = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    return "" if len(ids) and int(ids[-1]) in special else text[-1:]


def _literal(tokenizer: Any, anchor: str, text: str) -> Ids:
    """Return the tokens of a part of a template behind `anchor`, special tokens that it spells out among them."""
    if not text:
        return np.empty(0, np.int32)
    ids = tokenizer(anchor + text, add_special_tokens=False, split_special_tokens=False)
    before = tokenizer(anchor, add_special_tokens=False)["input_ids"] if anchor else []
    whole = np.array(ids["input_ids"], np.int32)
    if list(whole[: len(before)]) == before:
        return whole[len(before) :]
    alone = tokenizer(text, add_special_tokens=False, split_special_tokens=False)
    return np.array(alone["input_ids"], np.int32)


def _slot(tokenizer: Any, anchor: str, blank: str, rows: pd.DataFrame) -> Ragged:
    """Return the tokens of each text behind `anchor` and `blank`, without those of the anchor.

    Tokenizers that begin every text with a blank would put a second one before the text alone.
    """
    texts = [blank + text for text in clean_all(rows.iloc[:, 0])]
    if not anchor:
        return tokenise(tokenizer, texts)

    before = tokenise(tokenizer, [anchor])[0]
    behind = tokenise(tokenizer, [anchor + text for text in texts])
    n = len(before)
    # Where the anchor and the text share a token, the text is read alone.
    is_apart = [np.array_equal(behind[i][:n], before) for i in range(len(texts))]
    alone = tokenise(
        tokenizer, ["" if apart else text for apart, text in zip(is_apart, texts, strict=True)]
    )
    ids = [behind[i][n:] if apart else alone[i] for i, apart in enumerate(is_apart)]
    lengths = np.fromiter(map(len, ids), np.int64, len(ids))
    return Ragged(np.concatenate([np.empty(0, np.int32), *ids]), lengths)
