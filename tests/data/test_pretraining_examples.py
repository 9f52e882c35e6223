"""Mini-batches of pre-training: what is hidden, whose query is shown, whose turn it is."""

from collections import Counter
from itertools import chain, pairwise
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest, chisquare, ttest_ind

from competition.config.keys import Spans
from competition.config.recipe import PretrainingRecipe
from competition.data.catalogue import IGNORED, Catalogue
from competition.data.grams import gram_codes
from competition.data.pretraining_examples import Masking, PretrainingExamples, TaskTexts, one_sided
from competition.data.vocabulary import Vocabulary
from competition.models.encoder.encoder import train_tokenizer
from tests.esci import CONTEST, FIELDS, LOCALES

Tables = tuple[pd.DataFrame, pd.DataFrame]
PRODUCTS = 36
LETTERS = 3  # of each product, so that every piece of a text says whose it is
LONG = 512  # tokens, more than any text here has
TASKS = ("mlm", "query", "attributes", "contrastive")
ORDERED = TASKS[1:]  # with an order of products of their own
LIKELY = 0.001  # a fair sampler falls below once in a thousand seeds


@pytest.fixture(scope="module")
def tokenizer(catalogue: Tables) -> Any:
    """A small tokenizer of the built-in catalogue; byte-level, so that any text can be read back from its tokens."""
    return train_tokenizer(catalogue[1], vocabulary=1_000)


def owner(text: str) -> int:
    """The product that a piece of text is of, whatever the limit has left of its last letter."""
    (actual,) = {(ord(letter) - 0x5000) // LETTERS for letter in text if letter not in " \ufffd"}
    return actual


def name(product: int) -> str:
    """The brand of a product."""
    return "".join(chr(0x5000 + LETTERS * product + i) for i in range(LETTERS))


def listed(*rows: dict) -> pd.DataFrame:
    """A catalogue of us products with these fields and all others empty."""
    blank = {"locale": "us", **dict.fromkeys(FIELDS, ""), "copies": 1}
    return pd.DataFrame([blank | {"product_id": f"B{i}"} | row for i, row in enumerate(rows)])


def shelf() -> pd.DataFrame:
    """Products of every locale in turn, each written in letters of its own: twelve words and the brand."""
    rng = np.random.default_rng(1)
    rows = []
    for product in range(PRODUCTS):
        words = ["".join(rng.choice(list(name(product)), 3)) for _ in range(12)]
        fields = {"title": " ".join(words), "brand": name(product), "bullets": " ".join(words[:5])}
        rows.append(fields | {"locale": LOCALES[product % 3]})
    return listed(*rows)


def make(
    tokenizer: Any, products: pd.DataFrame | None = None, colors: str = "", **keys: Any
) -> PretrainingExamples:
    """Of the shelf, or of `products`; every brand of the shelf is known, and `colors`."""
    names = tuple(name(product) for product in range(PRODUCTS))
    known = Vocabulary({"brand": names, "color": tuple(colors.split())}, gram_codes([])[0])
    recipe = PretrainingRecipe(**({"name": "x", "max_length": LONG, "batch_size": 6} | keys))
    rows = shelf() if products is None else products
    return PretrainingExamples(
        Catalogue.make(tokenizer, rows, CONTEST, known, recipe.seed), tokenizer, recipe
    )


def batch(examples: PretrainingExamples, task: str, step: int, size: int = 6) -> TaskTexts:
    return examples.make(task, np.arange(size) % max(1, examples.blocks), step)


def sides(tokenizer: Any, texts: TaskTexts) -> list[tuple[str, ...]]:
    """The texts between the special tokens, in words."""
    parts = []
    for ids in texts.ids:
        ends = np.flatnonzero(ids == tokenizer.sep_token_id)
        assert ids[0] == tokenizer.cls_token_id
        assert ends[-1] == len(ids) - 1
        cuts = pairwise([0, *ends])
        parts.append(
            tuple(
                tokenizer.decode(ids[a + 1 : b], clean_up_tokenization_spaces=False).strip()
                for a, b in cuts
            )
        )
    return parts


def same(one: TaskTexts, other: TaskTexts) -> bool:
    """Whether two mini-batches are equal, token by token and target by target."""
    ids = [text.tolist() for text in one.ids] == [text.tolist() for text in other.ids]
    targets = {
        key: np.concatenate(values, None).tolist() for key, values in one.targets.items()
    } == {key: np.concatenate(values, None).tolist() for key, values in other.targets.items()}
    return ids and targets and one.first_text == other.first_text


# --- masking ---


@pytest.fixture(scope="module")
def masked(tokenizer: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Many tokens, a tenth of them special ones of every kind; what is seen of them; the targets."""
    rng = np.random.default_rng(1)
    ids = rng.integers(5, 1_000, 400_000).astype(np.int32)
    special = rng.random(len(ids)) < 0.1
    ids[special] = rng.choice(tokenizer.all_special_ids, special.sum())
    assert len(tokenizer) == 1_000
    assert sorted(tokenizer.all_special_ids) == [0, 1, 2, 3, 4]
    masking = Masking(tokenizer, 0.15)
    parts = [masking.apply(part, rng) for part in np.split(ids, 400)]
    return ids, *(np.concatenate(side) for side in zip(*parts, strict=True))


def test_so_many_tokens_are_to_be_predicted(masked: tuple, tokenizer: Any) -> None:
    ids, _, targets = masked
    ordinary = ids >= 5
    assert (targets[ordinary] != IGNORED).mean() == pytest.approx(0.15, abs=0.005)
    assert (targets[~ordinary] == IGNORED).all()
    rare = Masking(tokenizer, 0.4).apply(ids, np.random.default_rng(2))[1]
    assert (rare[ordinary] != IGNORED).mean() == pytest.approx(0.4, abs=0.005)


def test_eight_tenths_are_hidden_one_is_exchanged_one_stays(masked: tuple, tokenizer: Any) -> None:
    ids, seen, targets = masked
    selected = targets != IGNORED
    hidden, stays = seen == tokenizer.mask_token_id, seen == ids
    # 54,000 targets: three standard deviations of a share of .1 are 3 * sqrt(.1 * .9 / 54,000) <
    # .004
    assert hidden[selected].mean() == pytest.approx(0.8, abs=0.006)
    # Any of 995 tokens, the token itself among them.
    assert (~hidden & ~stays)[selected].mean() == pytest.approx(0.1 * 994 / 995, abs=0.004)
    assert stays[selected].mean() == pytest.approx(0.1 + 0.1 / 995, abs=0.004)


def test_all_others_are_seen_as_they_are_and_targets_are_the_tokens(masked: tuple) -> None:
    ids, seen, targets = masked
    selected = targets != IGNORED
    assert (seen[~selected] == ids[~selected]).all()
    assert (targets[selected] == ids[selected]).all()
    assert (seen.dtype, targets.dtype) == (np.int32, np.int64)


def test_an_exchanged_token_is_any_ordinary_one(masked: tuple, tokenizer: Any) -> None:
    ids, seen, targets = masked
    exchanged = seen[(targets != IGNORED) & (seen != tokenizer.mask_token_id) & (seen != ids)]
    times = np.bincount(exchanged, minlength=1_000)
    assert times[:5].sum() == 0
    assert len(times) == 1_000
    assert chisquare(times[5:]).pvalue > LIKELY


def test_special_tokens_are_seen_as_they_are(masked: tuple) -> None:
    ids, seen, _ = masked
    assert (seen[ids < 5] == ids[ids < 5]).all()
    assert (ids < 5).sum() > 30_000


# --- blocks ---


def test_mlm_reads_the_blocks_that_were_chosen(tokenizer: Any) -> None:
    examples = make(tokenizer, max_length=32)
    catalogue = Catalogue.make(tokenizer, shelf(), CONTEST, None, seed=2022)
    assert examples.blocks == catalogue.blocks(30) > 20
    selected = np.array([7, 0, examples.blocks - 1, 7])
    made = examples.make("mlm", selected, step=3)
    assert list(made.targets) == ["token"]
    assert made.first_text == [len(ids) for ids in made.ids]
    for number, seen, target in zip(selected, made.ids, made.targets["token"], strict=True):
        text = np.where(target == IGNORED, seen, target).tolist()
        assert text == [
            tokenizer.cls_token_id,
            *catalogue.block(int(number), 30),
            tokenizer.sep_token_id,
        ]
    assert made.ids[0].tolist() != made.ids[3].tolist()  # the same block, hidden otherwise


def test_the_share_of_tokens_is_the_recipe_s(tokenizer: Any) -> None:
    made = make(tokenizer, max_length=32, masked=0.6)
    targets = np.concatenate(made.make("mlm", np.arange(made.blocks), 0).targets["token"])
    # Of 32 tokens of a text, two are special.
    assert (targets != IGNORED).mean() == pytest.approx(0.6 * 30 / 32, abs=0.03)


# --- whose turn it is ---


def flat(lists: list[list[int]]) -> list[int]:
    """Return the items of all lists, in order."""
    return list(chain.from_iterable(lists))


def turns(
    examples: PretrainingExamples, tokenizer: Any, task: str, sizes: list[int]
) -> list[list[int]]:
    """The products of the mini-batches at step 0, 1, …."""
    return [
        [owner(side[-1] or side[0]) for side in sides(tokenizer, batch(examples, task, step, size))]
        for step, size in enumerate(sizes)
    ]


@pytest.fixture
def in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """A product's text is shown uncut, and an epoch has 12 blocks, which are two mini-batches of 6."""
    monkeypatch.setattr(
        "competition.data.fake_queries.FakeQuery.remove_from", lambda self, text: text
    )
    monkeypatch.setattr(PretrainingExamples, "blocks", 12)


@pytest.mark.usefixtures("in_turn")
@pytest.mark.parametrize("task", ORDERED)
class TestTurns:
    @pytest.mark.parametrize(
        ("size", "blocks"),
        [(6, 12), (5, 10), (6, 14)],
        ids=["whole mini-batches", "36 products are 7 * 5 + 1", "14 blocks are 2 * 6 + 2"],
    )
    def test_each_product_comes_once_before_any_comes_again(
        self, size: int, blocks: int, task: str, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(PretrainingExamples, "blocks", blocks)
        epoch = [size] * (blocks // size) + [blocks % size] * bool(blocks % size)
        order = flat(turns(make(tokenizer, batch_size=size), tokenizer, task, epoch * 10))
        cycles = [order[start : start + PRODUCTS] for start in range(0, len(order), PRODUCTS)]
        assert len(cycles) >= 3
        assert all(len(set(cycle)) == len(cycle) for cycle in cycles)
        assert all(sorted(cycle) == list(range(PRODUCTS)) for cycle in cycles[:-1])

    def test_the_order_is_another_one_each_time(self, task: str, tokenizer: Any) -> None:
        order = flat(turns(make(tokenizer), tokenizer, task, [6] * 18))
        assert len({tuple(order[start : start + PRODUCTS]) for start in (0, 36, 72)}) == 3
        assert sorted(order[:PRODUCTS]) != order[:PRODUCTS]

    def test_a_mini_batch_larger_than_the_catalogue_has_each_product_once(
        self, task: str, tokenizer: Any
    ) -> None:
        order = turns(make(tokenizer, batch_size=50), tokenizer, task, [50] * 3)
        assert [sorted(mini_batch) for mini_batch in order] == [list(range(PRODUCTS))] * 3
        assert order[0] != order[1] != order[2] != order[0]

    def test_a_smaller_mini_batch_has_as_many_products(self, task: str, tokenizer: Any) -> None:
        order = turns(make(tokenizer), tokenizer, task, [6, 4, 1])
        assert [len(mini_batch) for mini_batch in order] == [6, 4, 1]
        assert len(set(flat(order))) == 6 + 4 + 1
        assert len(batch(make(tokenizer, batch_size=50), task, 0, 7)) == 7


@pytest.mark.usefixtures("in_turn")
@pytest.mark.parametrize("task", ["query", "attributes"])
def test_products_that_have_nothing_to_say_never_come(task: str, tokenizer: Any) -> None:
    rows = shelf()
    rows.loc[rows.index % 2 == 0, ["title", "brand"]] = ""  # which leaves their bullets
    order = flat(turns(make(tokenizer, rows), tokenizer, task, [6] * 6))
    odd = list(range(1, PRODUCTS, 2))
    assert sorted(order[:18]) == sorted(order[18:]) == odd


@pytest.mark.usefixtures("in_turn")
def test_each_task_has_an_order_of_its_own(tokenizer: Any) -> None:
    examples = make(tokenizer)
    orders = [flat(turns(examples, tokenizer, task, [6] * 6)) for task in ORDERED]
    assert len({tuple(order) for order in orders}) == 3


# --- a function of recipe and step ---


@pytest.mark.parametrize("task", TASKS)
def test_a_mini_batch_is_a_function_of_recipe_and_step(task: str, tokenizer: Any) -> None:
    examples, fresh, other = make(tokenizer), make(tokenizer), make(tokenizer, seed=1)
    made = [batch(examples, task, step) for step in range(8)]
    # Asked for anew, in another order, of another object.
    assert all(same(batch(fresh, task, step), made[step]) for step in (7, 0, 3, 3))
    assert not any(same(one, two) for i, one in enumerate(made) for two in made[:i])
    assert not same(batch(other, task, 0), made[0])


@pytest.mark.parametrize("task", ["mlm", "query"])
def test_what_is_drawn_differs_each_time_the_same_texts_come(task: str, tokenizer: Any) -> None:
    examples = make(tokenizer, batch_size=PRODUCTS)  # every product at every step
    assert not same(batch(examples, task, 0, PRODUCTS), batch(examples, task, 1, PRODUCTS))


def test_the_seed_decides_what_is_hidden(tokenizer: Any) -> None:
    catalogue = Catalogue.make(tokenizer, shelf(), CONTEST, None, seed=1)  # the same blocks
    made = [
        PretrainingExamples(
            catalogue, tokenizer, PretrainingRecipe(name="x", max_length=64, seed=seed)
        )
        for seed in (1, 2)
    ]
    assert same(batch(made[0], "mlm", 0), batch(made[0], "mlm", 0))
    assert not same(batch(made[0], "mlm", 0), batch(made[1], "mlm", 0))


def test_tasks_that_are_switched_off_or_have_nothing_to_learn_from_are_left_out(
    tokenizer: Any,
) -> None:
    assert make(tokenizer).tasks == TASKS
    assert make(tokenizer, query=0.0).tasks == ("mlm", "attributes", "contrastive")
    assert make(tokenizer, brand=0.0, color=0.0).tasks == ("mlm", "query", "contrastive")
    assert make(tokenizer, color=0.0).tasks == TASKS
    assert make(tokenizer, contrastive=0.0).tasks == ("mlm", "query", "attributes")
    nameless = listed({"title": "cup"}, {"title": "mug", "brand": "seldom"})
    assert make(tokenizer, nameless).tasks == ("mlm", "query", "contrastive")
    assert make(tokenizer, listed({"bullets": "big"})).tasks == ("mlm", "contrastive")


def test_a_task_whose_only_name_is_never_known_is_left_out(tokenizer: Any) -> None:
    """Colors are known and brands are not: with color = 0 there is nothing to learn from."""
    red = listed(*[{"title": "cup", "color": "red"}] * 4)
    assert "attributes" in make(tokenizer, red, colors="red").tasks
    assert "attributes" in make(tokenizer, red, colors="red", brand=0.0).tasks
    assert "attributes" not in make(tokenizer, red, colors="red", color=0.0).tasks


# --- Product2Query ---


def queries(
    examples: PretrainingExamples, tokenizer: Any, count: int
) -> list[tuple[str, str, bool]]:
    """Query, text and whether the query is the text's own, of some `count` texts."""
    actual, step = [], 0
    while len(actual) < count:
        made = batch(examples, "query", step, 50)
        assert list(made.targets) == ["match"]
        actual += [
            (*pair, own)
            for pair, own in zip(sides(tokenizer, made), made.targets["match"], strict=True)
        ]
        step += 1
    return actual


@pytest.fixture(scope="module")
def shown(tokenizer: Any) -> list[tuple[str, str, bool]]:
    """Queries of the shelf."""
    return queries(make(tokenizer, batch_size=50), tokenizer, 4_000)


@pytest.fixture(scope="module")
def full(tokenizer: Any) -> dict[int, str]:
    """The uncut text of each product of the shelf."""
    return {
        owner(text): text for text in Catalogue.make(tokenizer, shelf(), CONTEST, None, seed=1).text
    }


def halves(query: str) -> list[tuple[str, str]]:
    """All ways in which a query may be two pieces, or one and nothing."""
    blanks = [i for i, letter in enumerate(query) if letter == " "]
    return [(query, ""), *((query[:i], query[i + 1 :]) for i in blanks)]


def test_a_query_is_its_own_product_s_or_that_of_another_one_of_the_locale(shown: list) -> None:
    for query, text, own in shown:
        assert (owner(query) == owner(text)) == own
        assert owner(query) % 3 == owner(text) % 3
    others = {(owner(text), owner(query)) for query, text, own in shown if not own}
    assert len(others) > 0.95 * PRODUCTS * (PRODUCTS // 3 - 1)  # pairs of products of a locale


def test_half_the_queries_are_their_own_product_s(shown: list) -> None:
    assert binomtest(sum(own for *_, own in shown), len(shown)).pvalue > LIKELY


def test_half_the_texts_are_cut_for_both_labels_alike(shown: list, full: dict[int, str]) -> None:
    lost: dict[bool, list[int]] = {True: [], False: []}
    for _, text, own in shown:
        lost[own].append(len(full[owner(text)]) - len(text))
    for letters in lost.values():
        assert binomtest(sum(n > 0 for n in letters), len(letters)).pvalue > LIKELY
    assert ttest_ind(*([n for n in letters if n] for letters in lost.values())).pvalue > LIKELY


def test_an_own_query_is_in_the_text_or_cut_out_of_it(shown: list, full: dict[int, str]) -> None:
    for query, text, own in shown:
        is_piece = [all(piece in text for piece in pieces) for pieces in halves(query)]
        if own and text == full[owner(text)]:
            assert any(is_piece)
        elif own:
            assert query not in text
            # Some way to read the query as pieces of the full text leaves the text without any of
            # them.
            whole_text = full[owner(text)]
            ways = [[p for p in pieces if p] for pieces in halves(query)]
            assert any(all(p in whole_text and p not in text for p in way) for way in ways)


def test_lengths_of_queries_are_those_of_the_locale(shown: list) -> None:
    """In us and es: 8 to 20 letters, or two of at most 12 and the blank between them; jp: from 4."""
    for locale, shortest in (("us", 8), ("es", 8), ("jp", 4)):
        lengths = [len(query) for query, *_ in shown if LOCALES[owner(query) % 3] == locale]
        # A blank at either end of a piece is cut off.
        assert shortest - 2 <= min(lengths) <= shortest
        assert max(lengths) <= 25


def test_a_recipe_may_change_the_lengths_of_one_locale(tokenizer: Any) -> None:
    three = Spans(mean=3.0, shortest=3, longest=3, longest_of_two=3)
    changed = queries(make(tokenizer, batch_size=50, spans={"es": three}), tokenizer, 300)
    lengths = {
        locale: [len(q) for q, *_ in changed if LOCALES[owner(q) % 3] == locale]
        for locale in LOCALES
    }
    assert max(lengths["es"]) <= 7
    assert min(lengths["us"]) >= 6
    assert max(lengths["jp"]) > 7


@pytest.mark.parametrize(
    "rows",
    [
        [{"title": "red cup of steel"}],
        [{"title": "red cup of steel"}] * 3,
        [{"title": "red cup of steel"}, {"title": "blue mug of glass", "locale": "es"}],
        [{"title": "red cup of steel"}, {"bullets": "big", "description": "new"}],
    ],
    ids=["one product", "the same three times", "another locale's", "one without a text"],
)
def test_without_another_query_the_row_is_its_own(rows: list[dict], tokenizer: Any) -> None:
    actual = queries(make(tokenizer, listed(*rows)), tokenizer, 60)
    assert all(own for *_, own in actual)
    assert rows[0]["title"] in {text for _, text, _ in actual}


@pytest.mark.usefixtures("in_turn")
def test_another_query_never_fits_the_text(tokenizer: Any) -> None:
    """The others' texts are in the first one anyway, and it is in none of theirs."""
    rows = [{"title": "red cup of steel"}, {"title": "red"}, {"title": "steel"}, {"title": "p"}]
    actual = queries(make(tokenizer, listed(*rows)), tokenizer, 400)
    assert all(own or text != rows[0]["title"] for _, text, own in actual)
    assert {text for _, text, own in actual if not own} == {"red", "steel", "p"}


def test_another_query_never_fits_the_uncut_text(tokenizer: Any) -> None:
    """Two products are the same, the third is not: only between those is there another query."""
    twin, third = {"title": "abab abab abab abab"}, {"title": "xyxy xyxy xyxy xyxy"}
    actual = queries(make(tokenizer, listed(twin, twin, third)), tokenizer, 600)
    assert all(
        own == ((query[0] in "ab" and text[0] in "ab") or (query[0] in "xy" and text[0] in "xy"))
        for query, text, own in actual
        if text
    )
    assert 0.4 < np.mean([own for *_, own in actual]) < 0.6


def test_products_without_title_brand_and_color_have_no_query(tokenizer: Any) -> None:
    rows = [
        {"bullets": "big"},
        {"title": "red cup of steel"},
        {"description": "new"},
        {"brand": "some longer brand"},
    ]
    actual = queries(make(tokenizer, listed(*rows)), tokenizer, 60)
    assert all(query for query, *_ in actual)
    assert {q[:1] for q, *_ in actual} <= set("red cup of steel some longer brand")
    assert len(batch(make(tokenizer, listed(*rows)), "query", 0)) == 2
    assert len(batch(make(tokenizer, listed(*rows)), "contrastive", 0)) == 4


@pytest.mark.parametrize("max_length", [16, 24, LONG])
def test_the_first_side_is_the_query_s(max_length: int, tokenizer: Any) -> None:
    made = batch(make(tokenizer, max_length=max_length, batch_size=50), "query", 0, 50)
    for ids, first in zip(made.ids, made.first_text, strict=True):
        assert len(ids) <= max_length
        assert ids[-1] == tokenizer.sep_token_id
        assert first == ids.tolist().index(tokenizer.sep_token_id) + 1
    assert Counter(map(len, made.ids)).most_common(1)[0][0] == max_length or max_length == LONG


# --- the other tasks ---


def test_names_are_predicted_from_title_and_bullets(tokenizer: Any) -> None:
    rows = shelf()
    examples = make(tokenizer, rows, colors="red", batch_size=50)
    made = batch(examples, "attributes", 0, 50)
    assert set(made.targets) == {"brand", "color"}
    assert made.first_text == [len(ids) for ids in made.ids]
    for (title, bullets), brand, color in zip(
        sides(tokenizer, made), *made.targets.values(), strict=True
    ):
        assert (title, bullets) == tuple(rows.loc[brand, ["title", "bullets"]])
        assert color == IGNORED
    assert sorted(made.targets["brand"]) == list(range(PRODUCTS))


def test_names_are_predicted_where_one_is_known(tokenizer: Any) -> None:
    rows = listed(
        {"title": "a", "brand": name(3)},
        {"title": "b", "color": "red"},
        {"title": "c", "brand": "seldom"},
        {"title": "d", "brand": name(5), "color": "red"},
        {"title": "e"},
    )
    made = batch(make(tokenizer, rows, colors="blue red"), "attributes", 0)
    actual = zip(sides(tokenizer, made), made.targets["brand"], made.targets["color"], strict=True)
    assert {(title, brand, color) for (title, _), brand, color in actual} == {
        ("a", 3, IGNORED),
        ("b", IGNORED, 1),
        ("d", 5, 1),
    }


def test_the_whole_text_is_contrasted(tokenizer: Any) -> None:
    rows = listed(
        {"title": "cup", "brand": "acme", "color": "red", "bullets": "big", "description": "new"},
        {"title": "mug"},
        {"title": "<b>mug</b>"},
    )
    made = batch(make(tokenizer, rows), "contrastive", 0)
    actual = dict(zip(sides(tokenizer, made), made.targets["same"], strict=True))
    assert list(made.targets) == ["same"]
    assert made.first_text == [len(ids) for ids in made.ids]
    assert set(actual) == {("cup", "acme", "red", "big", "new"), ("mug", "", "", "", "")}
    same_text = sorted(Counter(made.targets["same"]).values())
    assert same_text == [1, 2]
    assert len(set(actual.values())) == 2


def test_texts_that_differ_behind_the_limit_read_alike(tokenizer: Any) -> None:
    long = "cup " * 40
    rows = listed(
        *(
            {"title": title, "description": description}
            for title, description in ((long, "a"), (long, "b"), ("mug", "a"))
        )
    )
    made = batch(make(tokenizer, rows, max_length=16), "contrastive", 0)
    assert sorted(Counter(made.targets["same"]).values()) == [1, 2]


@pytest.mark.parametrize("task", TASKS)
def test_texts_end_with_a_separator_at_the_limit(task: str, tokenizer: Any) -> None:
    made = batch(make(tokenizer, max_length=16), task, 0)
    assert len(made) == 6
    assert all(len(ids) == 16 and ids[-1] == tokenizer.sep_token_id for ids in made.ids)


def test_texts_of_one_side() -> None:
    ids = [np.array([2, 7, 3], np.int32), np.array([2, 3], np.int32)]
    made = one_sided(ids, {"brand": np.array([4, 5])})
    assert (len(made), made.first_text, made.targets) == (2, [3, 2], {"brand": [4, 5]})
