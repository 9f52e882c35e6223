"""The encoder that comes with the package: what makes it, on few rows with a teacher of random weights."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from benchmarks import mini
from benchmarks.mini_texts import made_up_query, prune, words_of
from benchmarks.mini_training import (
    CONSTRUCTIONS,
    Lists,
    Student,
    Teacher,
    construct,
    distil,
    embed_all,
    unit,
)
from competition.analysis.doctor import _check_encoders
from competition.config.encoder_recipe import EncoderRecipe
from competition.core.atomic import atomic_file
from competition.core.errors import InputError
from competition.data import esci
from competition.data.esci_released import A_EXAMPLES, A_PRODUCTS
from competition.data.pairs import SpecialTokens
from competition.data.tokenizer import tokenise
from competition.models.encoder.encoder import SPECIAL_TOKENS, load_encoder, load_tokenizer
from competition.models.encoder.pooling import encoder_pooling
from competition.pipeline.artifacts import MINI_FOLDER
from competition.pipeline.steps import Pipeline
from tests.conftest import QUICK, make_workspace

pytestmark = pytest.mark.slow

# Of the teacher: whole words that the catalogue has, words in upper case, a script that is not
# kept.
PIECES = [
    *"abcdefghijklmnopqrstuvwxyz0123456789▁水筒ケ々",
    "▁for",
    "▁black",
    "▁NASA",
    "▁правда",
    "й",
]
SMALL = ("--width", "32", "--layers", "1", "--pieces", "48", "--queries", "150", "--epochs", "1")


def save_teacher(folder: Path, tokenizer: Tokenizer) -> Path:
    """Write an encoder of two layers with random weights."""
    special = {"cls_token": "<s>", "pad_token": "<pad>", "sep_token": "</s>", "unk_token": "<unk>"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder)
    torch.manual_seed(3)
    config = BertConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        initializer_range=0.1,
        pad_token_id=1,
    )
    BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    return folder


def unigram() -> Tokenizer:
    """A tokenizer like E5's: later pieces are less probable."""
    special = [(token, 0.0) for token in ("<s>", "<pad>", "</s>", "<unk>")]
    pieces = [(piece, -3.0 - 0.1 * place) for place, piece in enumerate(PIECES)]
    tokenizer = Tokenizer(models.Unigram([*special, *pieces, ("<mask>", 0.0)], unk_id=3))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.add_special_tokens([token for token, _ in special])
    return tokenizer


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a teacher."""
    return save_teacher(tmp_path_factory.mktemp("teacher"), unigram())


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few of the real queries that come with the package, in layout A: full-depth lists of both splits among them."""
    folder = tmp_path_factory.mktemp("source")
    examples = pd.read_parquet(esci.SAMPLE / A_EXAMPLES)
    depth = examples.groupby("query_id")["example_id"].transform("size")
    deep = examples[depth >= 40].drop_duplicates("query_id").groupby("split").head(2)
    shallow = (
        examples[depth < 10]
        .drop_duplicates("query_id")
        .groupby(["split", "product_locale"])
        .head(5)
    )
    examples = examples[examples["query_id"].isin([*deep["query_id"], *shallow["query_id"]])]
    products = pd.read_parquet(esci.SAMPLE / A_PRODUCTS)
    for name, frame in ((A_EXAMPLES, examples), (A_PRODUCTS, products)):
        with atomic_file(folder / name) as path:
            frame.to_parquet(path)
    return folder


@pytest.mark.parametrize("construction", CONSTRUCTIONS)
def test_each_construction_is_an_encoder_folder(
    construction: str,
    teacher: Path,
    source: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    mini.main(
        [str(teacher), str(source), str(tmp_path / "out"), *SMALL, "--construction", construction]
    )
    encoder, tokenizer = load_encoder(tmp_path / "out"), load_tokenizer(tmp_path / "out")
    width = 64 if construction == "taken" else 32
    assert (encoder.config.hidden_size, encoder.config.num_hidden_layers) == (width, 1)
    assert len(tokenizer) == encoder.config.vocab_size <= 48
    assert encoder_pooling(encoder.config) == "mean"
    weights = load_file(tmp_path / "out" / "model.safetensors")
    assert {weight.dtype for weight in weights.values()} == {torch.float16}
    assert all(weight.isfinite().all() for weight in weights.values())
    row = capsys.readouterr().out.splitlines()[-1].split(" | ")
    assert row[0] == f"| {construction}"
    assert row[1] == f"{width} x 1"
    assert all(0.5 < float(cell.split()[0]) < 1 for cell in row[4:6])


def test_the_same_input_gives_the_same_bytes(teacher: Path, source: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        mini.main([str(teacher), str(source), str(tmp_path / name), *SMALL[:-1], "0.4"])
    files = {path.name: path.read_bytes() for path in (tmp_path / "one").iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json"} < files.keys()
    assert files == {path.name: path.read_bytes() for path in (tmp_path / "two").iterdir()}
    assert not any(str(teacher).encode() in content for content in files.values())


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            ("--width", "65"),
            "The teacher has 2 layers of width 64: lower --layers 1 or --width 65.",
        ),
        (
            ("--layers", "3"),
            "The teacher has 2 layers of width 64: lower --layers 3 or --width 32.",
        ),
    ],
)
def test_a_teacher_that_is_too_small_is_refused(
    options: tuple[str, str],
    sentence: str,
    teacher: Path,
    source: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit, match="2"):
        mini.main([str(teacher), str(source), str(tmp_path / "out"), *SMALL, *options])
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


# --- the tokenizer
# -----------------------------------------------------------------------------------------------

SINGLE = 26 + 10 + 1 + 4  # letters, digits, the blank and Japanese characters of PIECES


@pytest.mark.parametrize(("text", "kept"), [("Black, BLACK 水筒", "▁black"), ("", "▁for")])
def test_pieces_that_the_catalogue_uses_stay(text: str, kept: str, teacher: Path) -> None:
    large = load_tokenizer(teacher)
    tokenizer, ids = prune(large, [text], len(SPECIAL_TOKENS) + SINGLE + 1)
    pieces = tokenizer.convert_ids_to_tokens(range(len(SPECIAL_TOKENS), len(tokenizer)))
    assert set(pieces) == {
        *"abcdefghijklmnopqrstuvwxyz0123456789▁水筒ケ々",
        kept,
    }  # no capitals, no Cyrillic, no <mask>
    assert large.convert_ids_to_tokens(ids.tolist()) == pieces


def test_the_tokenizer_reads_pairs_in_lower_case(teacher: Path) -> None:
    tokenizer, _ = prune(load_tokenizer(teacher), ["black"], 60)
    assert tokenizer.tokenize("BLACK  for\u3000ケ") == ["▁black", "▁for", "▁", "ケ"]
    pair = tokenizer("a", "b", return_token_type_ids=True)
    assert tokenizer.convert_ids_to_tokens(pair["input_ids"]) == [
        "[CLS]",
        "▁",
        "a",
        "[SEP]",
        "▁",
        "b",
        "[SEP]",
    ]
    assert pair["token_type_ids"] == [0, 0, 0, 0, 1, 1, 1]


def test_a_teacher_of_another_tokenizer_is_refused(tmp_path: Path) -> None:
    tokenizer = Tokenizer(models.BPE({"<unk>": 0, "a": 1}, [], unk_token="<unk>"))
    with pytest.raises(InputError, match="not a fast unigram one"):
        prune(PreTrainedTokenizerFast(tokenizer_object=tokenizer), ["a"], 10)


# --- made-up queries
# ---------------------------------------------------------------------------------------------


def test_made_up_queries_are_pieces_of_their_product(source: Path) -> None:
    _, products = mini.read(source)
    rng = np.random.default_rng(1)
    lower = 0
    for product in products.itertuples():
        text = " ".join((product.title, product.bullets, product.brand, product.color)).lower()
        if words_of(product.title, product.locale):
            query = made_up_query(product, rng)
            assert 0 < len(query) <= 60
            assert all(piece in text for piece in query.lower().split())
            lower += query == query.lower()
    assert set(products["locale"]) == {"us", "es", "jp"}
    assert lower > 0.7 * len(products)


def test_a_query_neither_begins_nor_ends_with_a_stop_word() -> None:
    product = SimpleNamespace(
        locale="us", title="The Case of a Phone with Stand", bullets="", brand="", color=""
    )
    queries = {made_up_query(product, np.random.default_rng(seed)) for seed in range(200)}
    ends = {query.lower().split()[place] for query in queries for place in (0, -1)}
    assert ends == {"case", "phone", "stand"}
    assert any(" of a " in query.lower() for query in queries)
    product.title = "for the"
    assert made_up_query(product, np.random.default_rng(0)).lower() == "for the"


# --- training
# ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lists(teacher: Path, source: Path) -> tuple[Teacher, Lists]:
    """A teacher, and what it makes of some products and 150 queries."""
    _, products = mini.read(source)
    known = Teacher(str(teacher))
    return known, Lists.make(
        known, products.iloc[:: len(products) // 60].reset_index(drop=True), 150
    )


def test_no_product_is_its_own_neighbour(lists: tuple[Teacher, Lists]) -> None:
    made = lists[1]
    similar = made.product_vectors @ made.product_vectors.T
    np.fill_diagonal(similar, -np.inf)
    assert (made.neighbours[:, 0] == similar.argmax(1)).all()
    assert (made.neighbours != np.arange(len(made.products))[:, None]).all()


def test_distillation_brings_the_student_nearer_to_its_teacher(
    lists: tuple[Teacher, Lists],
) -> None:
    known, made = lists
    tokenizer, kept = prune(known.tokenizer, made.products["title"].tolist(), 60)
    student = Student(construct("random", known, kept, 32, 1), tokenizer, made)

    def loss() -> float:
        with torch.no_grad():
            return student.loss(np.arange(64), np.random.default_rng(0)).item()

    before = loss()
    distil(student, 10)
    assert loss() < 0.9 * before


def test_token_vectors_are_half_whitened_components(lists: tuple[Teacher, Lists]) -> None:
    known, _ = lists
    _, kept = prune(known.tokenizer, ["black"], 60)
    start = (
        construct("static", known, kept, 16, 1)
        .embeddings.word_embeddings.weight[len(SPECIAL_TOKENS) :]
        .detach()
    )
    pieces = [np.array([0, piece, 2], np.int32) for piece in kept]
    alone = embed_all(known.encoder, known.special, pieces, "pieces")
    spread = np.linalg.svd(alone - alone.mean(0), compute_uv=False)[:16]
    # A component of deviation s has the deviation s / sqrt(s), and all together the mean square
    # 1/4.
    expected = np.sqrt(spread) * 0.5 / np.sqrt(np.mean(spread))
    assert start.pow(2).mean(0).sqrt().numpy() == pytest.approx(expected, rel=1e-2)


# --- the folder that comes with the package
# ----------------------------------------------------------------------

ROOT = Path(__file__).parents[1]


def test_the_shipped_folder_is_small_and_its_origin_is_named() -> None:
    weights = MINI_FOLDER / "model.safetensors"
    assert weights.stat().st_size <= 10_000_000
    assert {weight.dtype for weight in load_file(weights).values()} == {torch.float16}
    notice = (ROOT / "NOTICE").read_text(encoding="utf-8")
    assert str(MINI_FOLDER.relative_to(ROOT)) in notice
    assert "multilingual-e5-small" in notice
    assert "MIT" in notice


def test_the_shipped_encoder_knows_what_belongs_together() -> None:
    encoder, tokenizer = load_encoder(MINI_FOLDER).eval(), load_tokenizer(MINI_FOLDER)
    assert encoder_pooling(encoder.config) == "mean"
    assert encoder.dtype == torch.float32
    # No pair shares a word; two of three are in different languages.
    pairs = [
        ("comida para perros", "dog food"),
        ("zapatillas de correr", "running shoes"),
        ("水筒", "water bottle"),
    ]
    special, texts = (
        SpecialTokens.of(tokenizer),
        tokenise(tokenizer, [text for pair in pairs for text in pair]),
    )
    assert not (texts.values == tokenizer.unk_token_id).any()
    vectors = embed_all(
        encoder, special, [special.join([texts[i]], 64) for i in range(len(texts))], "texts"
    )
    cosines = unit(vectors[::2]) @ unit(vectors[1::2]).T  # (queries, products)
    assert (cosines.argmax(1) == np.arange(len(pairs))).all()


def test_its_name_means_the_shipped_folder_whatever_a_workspace_has(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path / "w", settings=QUICK.replace('"tiny"', '"mini"'))
    (workspace.root / "mini").mkdir()
    pipeline = Pipeline(workspace)
    assert pipeline.artifacts.encoder_source("mini") == str(MINI_FOLDER)
    assert pipeline.artifacts.encoder_source("./mini") == str(workspace.root / "mini")
    assert pipeline.artifacts.encoder_folder("mini") != pipeline.artifacts.encoder_folder("./mini")
    assert pipeline.artifacts.encoder_fingerprint("mini") != pipeline.artifacts.encoder_fingerprint(
        "./mini"
    )
    assert not list(_check_encoders(pipeline))  # nothing would be downloaded
    recipe = pipeline.recipes.member("c1")
    assert isinstance(recipe, EncoderRecipe)
    assert recipe.encoder == "mini"

    (step,) = pipeline.inputs.encoder("mini")
    step.build()
    made, shipped = (
        load_file(folder / "model.safetensors")
        for folder in (pipeline.artifacts.encoder_folder("mini"), MINI_FOLDER)
    )
    assert {weight.dtype for weight in made.values()} == {torch.float32}
    assert all(weight.float().equal(made[name]) for name, weight in shipped.items())


def test_a_recipe_that_pre_trains_cannot_have_its_name(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path / "w")
    (workspace.root / "recipes").mkdir(exist_ok=True)
    (workspace.root / "recipes" / "mini.toml").write_text('model = "pretraining"\n')
    pipeline = Pipeline(workspace)
    assert pipeline.recipes.pretrained("mini") is None
    with pytest.raises(InputError, match="'mini' is an offline encoder's name"):
        pipeline.recipes.pretraining("mini")
