"""The encoder that comes with the package: what makes it, on few rows with a teacher of random weights."""

from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from benchmarks import mini
from competition.data import esci
from competition.files.atomic import atomic_file
from competition.model.encoder import load_encoder, load_tokenizer
from competition.model.pooling import encoder_pooling

# Of the teacher: whole words that the catalogue has, words in upper case, a script that is not kept.
PIECES = [*"abcdefghijklmnopqrstuvwxyz0123456789▁水筒ケ々", "▁for", "▁black", "▁NASA", "▁правда", "й"]
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
    examples = pd.read_parquet(esci.SAMPLE / esci.A_EXAMPLES)
    depth = examples.groupby("query_id")["example_id"].transform("size")
    deep = examples[depth >= 40].drop_duplicates("query_id").groupby("split").head(2)
    shallow = examples[depth < 10].drop_duplicates("query_id").groupby(["split", "product_locale"]).head(5)
    examples = examples[examples["query_id"].isin([*deep["query_id"], *shallow["query_id"]])]
    products = pd.read_parquet(esci.SAMPLE / esci.A_PRODUCTS)
    for name, frame in ((esci.A_EXAMPLES, examples), (esci.A_PRODUCTS, products)):
        with atomic_file(folder / name) as path:
            frame.to_parquet(path)
    return folder


@pytest.mark.parametrize("construction", mini.CONSTRUCTIONS)
def test_each_construction_is_an_encoder_folder(
    construction: str, teacher: Path, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mini.main([str(teacher), str(source), str(tmp_path / "out"), *SMALL, "--construction", construction])
    encoder, tokenizer = load_encoder(tmp_path / "out"), load_tokenizer(tmp_path / "out")
    width = 64 if construction == "taken" else 32
    assert (encoder.config.hidden_size, encoder.config.num_hidden_layers) == (width, 1)
    assert len(tokenizer) == encoder.config.vocab_size <= 48 and encoder_pooling(encoder.config) == "mean"
    weights = load_file(tmp_path / "out" / "model.safetensors")
    assert {weight.dtype for weight in weights.values()} == {torch.float16}
    assert all(weight.isfinite().all() for weight in weights.values())
    row = capsys.readouterr().out.splitlines()[-1].split(" | ")
    assert row[0] == f"| {construction}" and row[1] == f"{width} x 1"
    assert all(0.5 < float(cell.split()[0]) < 1 for cell in row[4:6])
