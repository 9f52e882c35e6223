"""A pair is put together and cut as the tokenizer itself does it, which is what servers do."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers.processors import RobertaProcessing

from competition.core.errors import InputError
from competition.data import synthetic
from competition.data.pair_template import PairTemplate, longest_first
from competition.data.tokenizer import tokenise
from competition.models.encoder.encoder import load_tokenizer
from competition.pipeline.artifacts import MINI_FOLDER
from tests.zoo import make_tokenizer

MINI = load_tokenizer(MINI_FOLDER)
BARE = make_tokenizer(synthetic.make(60, noise=0.05, seed=7)[1])  # it adds no special token
ROBERTA = make_tokenizer(synthetic.make(60, noise=0.05, seed=7)[1])
ROBERTA.backend_tokenizer.post_processor = RobertaProcessing(("</s>", 2), ("<s>", 0))

WORDS = st.lists(
    st.sampled_from(["red", "shoe", "usb", "赤い", "café", "42", "[SEP]", "</s>", "<", "|"]),
    max_size=25,
)


@given(query=WORDS, document=WORDS, max_length=st.integers(8, 40), roberta=st.booleans())
def test_ids_and_types_are_those_of_the_tokenizer(
    query: list[str], document: list[str], max_length: int, roberta: bool
) -> None:
    tokenizer = ROBERTA if roberta else MINI
    texts = [" ".join(query), " ".join(document)]
    expected = tokenizer(
        [texts],
        truncation=True,
        max_length=max_length,
        split_special_tokens=True,
        return_token_type_ids=True,
    )
    own = tokenise(tokenizer, texts)
    ids, first_type = PairTemplate.of(tokenizer).join(own[0], own[1], max_length)
    assert ids.tolist() == expected["input_ids"][0]
    assert [int(i >= first_type) for i in range(len(ids))] == expected["token_type_ids"][0]


def test_what_stands_around_the_texts_is_read_off_the_tokenizer() -> None:
    assert PairTemplate.of(MINI) == PairTemplate((2,), (3,), (3,), typed=True)
    assert PairTemplate.of(ROBERTA) == PairTemplate((0,), (2, 2), (2,), typed=False)
    # Without a template it is [CLS] query [SEP] document [SEP].
    assert PairTemplate.of(BARE) == PairTemplate((0,), (2,), (2,), typed=True)


def test_a_tokenizer_that_turns_a_pair_around_is_refused() -> None:
    class Reversed:
        def __call__(self, query: str, document: str = "", **_: object) -> dict[str, list[int]]:
            words = [*document.split(), "|", *query.split()] if document else query.split()
            return {"input_ids": [len(word) for word in words]}

        def num_special_tokens_to_add(self, pair: bool) -> int:
            return 1

    with pytest.raises(InputError, match="does not put a query before a document"):
        PairTemplate.of(Reversed())


@pytest.mark.parametrize(
    ("query", "document", "room", "kept"),
    [
        (3, 5, 8, (3, 5)),
        (3, 9, 8, (3, 8 - 3)),
        (9, 3, 8, (8 - 3, 3)),
        (9, 9, 8, (8 // 2, 8 // 2)),
        (9, 9, 7, (7 // 2, 7 - 7 // 2)),
        (9, 0, 8, (8, 0)),
    ],
)
def test_the_longer_text_is_cut_first(
    query: int, document: int, room: int, kept: tuple[int, int]
) -> None:
    assert longest_first(query, document, room) == kept
