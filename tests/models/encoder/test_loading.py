"""What is read of an encoder from outside: all of its weights and words, or a sentence about what is wrong."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import sentencepiece
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoTokenizer

from competition.core.errors import CompError, InputError
from competition.data.pairs import SpecialTokens
from competition.data.tokenizer import tokenise
from competition.models.encoder.encoder import fetch, load_encoder, load_tokenizer
from tests.zoo import LIMIT, SPECIAL, TOKENS, make, make_tokenizer

WEIGHTS = "model.safetensors"
CUT = "encoder.layer.1.output.dense.weight"
Weights = dict[str, Tensor]
Edit = Callable[[Weights], Weights]


@pytest.fixture(scope="module")
def good(
    tmp_path_factory: pytest.TempPathFactory, catalogue: tuple[pd.DataFrame, pd.DataFrame]
) -> Path:
    """The folder of a BERT of random weights, with its pooler."""
    folder = tmp_path_factory.mktemp("good") / "bert"
    make(folder, "bert", make_tokenizer(catalogue[1]))
    return folder


@pytest.fixture
def source(good: Path, tmp_path: Path) -> Path:
    """A copy of it to spoil."""
    shutil.copytree(good, tmp_path / "source")
    return tmp_path / "source"


def taken(source: Path) -> Path:
    """The workspace's copy of a folder."""
    copy = source.with_name("copy")
    fetch(copy, str(source), "test")
    return copy


def refused(source: Path) -> str:
    """The one sentence in which a folder is refused; no copy of it is left."""
    with pytest.raises(InputError) as caught:
        taken(source)
    sentence = str(caught.value)
    assert str(source) in sentence
    assert sentence.endswith(".")
    assert "\n" not in sentence
    assert not source.with_name("copy").exists()
    return sentence


def reweigh(source: Path, edit: Edit) -> None:
    """Change the weights of a folder."""
    weights = {name: tensor.clone() for name, tensor in edit(load_file(source / WEIGHTS)).items()}
    save_file(weights, source / WEIGHTS, metadata={"format": "pt"})


def configure(source: Path, **keys: Any) -> None:
    """Change keys of a folder's config.json."""
    path = source / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | keys))


def prefixed(prefix: str) -> Edit:
    return lambda weights: {prefix + name: tensor for name, tensor in weights.items()}


# --- weights ---


def test_every_weight_but_the_poolers_is_that_of_the_source(source: Path) -> None:
    made, read = load_file(source / WEIGHTS), load_encoder(taken(source)).state_dict()
    assert set(made) - set(read) == {"pooler.dense.weight", "pooler.dense.bias"}
    assert set(read) < set(made)
    assert all(torch.equal(tensor, made[name]) for name, tensor in read.items())


@pytest.mark.parametrize(
    "edit",
    [
        prefixed("bert."),  # saved with a head
        lambda weights: {"cls.predictions.bias": torch.zeros(TOKENS)} | prefixed("bert.")(weights),
        lambda weights: {name: tensor for name, tensor in weights.items() if "pooler" not in name},
        lambda weights: {"embeddings.position_ids": torch.arange(LIMIT)[None]} | weights,
        lambda weights: {name: tensor.half() for name, tensor in weights.items()},
    ],
    ids=[
        "of a model with a head",
        "of a language model",
        "no pooler",
        "positions",
        "half as precise",
    ],
)
def test_what_nobody_reads_may_be_missing_or_left_over(
    edit: Edit, source: Path, capsys: Any
) -> None:
    reweigh(source, edit)
    assert load_encoder(taken(source)) is not None
    assert "warning" not in capsys.readouterr().err


def test_the_head_of_a_reranker_is_left_out_with_a_warning(source: Path, capsys: Any) -> None:
    reweigh(
        source,
        lambda weights: {"classifier.weight": torch.zeros(1, 32)} | prefixed("bert.")(weights),
    )
    taken(source)
    assert (
        "the trained head of a task (classifier.weight), which is left out"
        in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("prefix", "why"),
    [
        ("_orig_mod.", " (a compiled model was saved)"),
        ("module.", " (a model that was wrapped for several GPUs was saved)"),
        ("base_model.model.", " (a model that was wrapped for adapters was saved)"),
        ("module.bert.", " (a model that was wrapped for several GPUs was saved)"),
        ("model.", ""),
        ("0.auto_model.", ""),
    ],
)
def test_weights_under_another_models_names_are_refused(
    prefix: str, why: str, source: Path
) -> None:
    reweigh(source, prefixed(prefix))
    assert (
        f"named as those of a part of another model, '{prefix}' before each name{why}: "
        in refused(source)
    )


@pytest.mark.parametrize(
    ("edit", "keys", "sentence"),
    [
        (
            lambda weights: {n: t for n, t in weights.items() if n != CUT},
            {},
            f"(BertModel); missing: {CUT}: ",
        ),
        (
            lambda weights: weights,
            {"num_hidden_layers": 3},
            "missing: encoder.layer.2.attention.output.LayerNorm.bias",
        ),
        (
            lambda weights: weights,
            {"num_hidden_layers": 1},
            "no place for them: encoder.layer.1.attention.output.",
        ),
        (
            lambda weights: weights | {"lora_A.weight": torch.ones(2)},
            {},
            "no place for them: lora_A.weight: ",
        ),
        (
            lambda weights: (
                weights
                | {"encoder.layer.0.attention.self.distance_embedding.weight": torch.ones(127, 16)}
            ),
            {"position_embedding_type": "relative_key"},
            "no place for them: encoder.layer.0.attention.self.distance_embedding.weight",
        ),
        (
            lambda weights: weights,
            {"intermediate_size": 48},
            "encoder.layer.0.intermediate.dense.bias is [64] instead of [48]",
        ),
        (
            lambda weights: weights | {CUT: weights[CUT] * torch.nan},
            {},
            f"not finite: {CUT}: take another copy",
        ),
    ],
    ids=[
        "one missing",
        "fewer layers",
        "more layers",
        "adapter beside",
        "relative",
        "shape",
        "not a number",
    ],
)
def test_weights_that_do_not_go_with_the_configuration_are_named(
    edit: Edit, keys: dict[str, Any], sentence: str, source: Path
) -> None:
    reweigh(source, edit)
    configure(source, **keys)
    assert sentence in refused(source)


def test_a_copy_whose_weights_have_gone_is_no_random_start(source: Path) -> None:
    copy = taken(source)
    reweigh(copy, lambda weights: {name: tensor for name, tensor in weights.items() if name != CUT})
    with pytest.raises(InputError, match=f"missing: {CUT}"):
        load_encoder(copy)
    (copy / WEIGHTS).write_bytes(b"")
    with pytest.raises(CompError, match=r"cannot be loaded .* remove the folder"):
        load_encoder(copy)


def split(source: Path) -> None:
    """Weights in two files, as large models have them."""
    weights, parts = (
        load_file(source / WEIGHTS),
        ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"),
    )
    places = {name: parts[number % 2] for number, name in enumerate(sorted(weights))}
    for part in parts:
        save_file(
            {n: t for n, t in weights.items() if places[n] == part},
            source / part,
            metadata={"format": "pt"},
        )
    (source / f"{WEIGHTS}.index.json").write_text(
        json.dumps({"metadata": {}, "weight_map": places})
    )
    (source / WEIGHTS).unlink()


def test_weights_in_several_files_are_read_if_all_are_there(source: Path) -> None:
    made = load_file(source / WEIGHTS)
    split(source)
    read = load_encoder(taken(source)).state_dict()
    assert all(torch.equal(tensor, made[name]) for name, tensor in read.items())
    shutil.rmtree(source.with_name("copy"))
    (source / "model-00002-of-00002.safetensors").unlink()
    assert "lists, model-00002-of-00002.safetensors" in refused(source)


# --- files ---

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda s: (s / WEIGHTS).write_bytes(POINTER), "model.safetensors is a Git LFS pointer"),
        (
            lambda s: (s / "tokenizer.json").write_bytes(POINTER),
            "tokenizer.json is a Git LFS pointer",
        ),
        (lambda s: (s / WEIGHTS).write_bytes(b"<!doctype html>"), r"cannot be loaded \("),
        (
            lambda s: (s / WEIGHTS).write_bytes((s / WEIGHTS).read_bytes()[:-9]),
            r"cannot be loaded \(",
        ),
        (
            lambda s: (s / WEIGHTS).rename(s / "tf_model.h5"),
            "holds no weights, .*; tf_model.h5 cannot be read",
        ),
        (lambda s: (s / "config.json").unlink(), "has no config.json: put it beside the weights"),
        (lambda s: (s / "config.json").write_text("{"), "is not JSON"),
        (lambda s: (s / "config.json").write_text("{}"), "needs a `model_type`"),
        (lambda s: (s / "tokenizer.json").unlink(), "has no tokenizer"),
        (
            lambda s: (s / "tokenizer.json").rename(s / "vocab.json"),
            r"cannot be loaded \(its tokenizer",
        ),
        (lambda s: (s / "tokenizer.json").write_text("{}"), r"cannot be loaded \(its tokenizer"),
        (lambda s: configure(s, model_type="gpt7"), "does not recognize this architecture"),
        (
            lambda s: configure(s, quantization_config={"quant_method": "gptq", "bits": 4}),
            "are quantised",
        ),
        (lambda s: configure(s, is_decoder=True), "is a decoder"),
        (
            lambda s: (s / "adapter_config.json").write_text(
                '{"base_model_name_or_path": "some/bert"}'
            ),
            "holds an adapter .* into the model 'some/bert'",
        ),
    ],
)
def test_a_file_that_is_missing_or_something_else_is_named(
    spoil: Callable[[Path], object], sentence: str, source: Path
) -> None:
    spoil(source)
    assert re.search(sentence, refused(source))


def test_an_adapter_alone_is_told_from_an_encoder(tmp_path: Path) -> None:
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text("{}")
    assert "holds an adapter (adapter_config.json)" in refused(tmp_path / "adapter")


def test_a_folder_around_the_encoder_names_the_one_inside(source: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    source.rename(tmp_path / "outside" / "0_Transformer")
    assert f"name {tmp_path / 'outside' / '0_Transformer'}." in refused(tmp_path / "outside")


# --- what is no encoder ---


@pytest.mark.parametrize(
    ("family", "keys", "sentence"),
    [
        ("gpt2", {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 64}, "(gpt2) is causal"),
        ("gpt_neox", {}, "(gpt_neox) is causal"),
        ("clip_text_model", {}, "(clip_text_model) is causal"),
        ("bart", {"d_model": 32, "encoder_layers": 1, "decoder_layers": 1}, "is an encoder-decoder (bart)"),
        ("t5", {"d_model": 32, "num_layers": 1, "d_ff": 32}, "is an encoder-decoder (t5)"),
        ("reformer", {"axial_pos_shape": (8, 8), "axial_pos_embds_dim": (16, 16)}, "(reformer) makes"),
        ("canine", {}, "(canine) has no table of word embeddings"),
    ],
)  # fmt: skip
def test_what_does_not_read_in_both_directions_is_refused(
    family: str,
    keys: dict[str, Any],
    sentence: str,
    tmp_path: Path,
    catalogue: tuple[pd.DataFrame, pd.DataFrame],
) -> None:
    make(tmp_path / family, family, make_tokenizer(catalogue[1]), **keys)
    assert sentence in refused(tmp_path / family)


# --- tokenizers ---

TEXT = "A red Shoe, 42 café"


def test_the_copys_tokenizer_does_what_its_file_says(good: Path, source: Path) -> None:
    """Without the name of its class, the library takes BERT's, which lower-cases and looks for other pieces."""
    (source / "tokenizer_config.json").unlink()
    assert type(AutoTokenizer.from_pretrained(source)).__name__ == "BertTokenizer"
    actual, expected = load_tokenizer(taken(source)), AutoTokenizer.from_pretrained(good)
    assert tokenise(actual, [TEXT])[0].tolist() == tokenise(expected, [TEXT])[0].tolist()
    assert SpecialTokens.of(actual) == SpecialTokens(first=0, separator=2, padding=1)
    assert actual.mask_token_id == 4


def name_tokens(source: Path, **names: str) -> None:
    content = {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "<unk>"} | names
    (source / "tokenizer_config.json").write_text(json.dumps(content))


def test_first_and_separator_may_be_named_as_begin_and_end(source: Path) -> None:
    name_tokens(source, bos_token="<mask>", eos_token="<unk>", pad_token="<pad>")
    assert SpecialTokens.of(load_tokenizer(taken(source))) == SpecialTokens(
        first=4, separator=3, padding=1
    )


def test_a_token_without_an_embedding_is_refused(source: Path) -> None:
    name_tokens(source, cls_token="<cls>", sep_token="</s>", pad_token="<pad>")
    assert (
        f"up to number {TOKENS}, its encoder embeds {TOKENS}, the last of which is {TOKENS - 1}"
        in refused(source)
    )


def test_a_special_token_that_nothing_names_is_asked_for(source: Path) -> None:
    content = (source / "tokenizer.json").read_text().replace('"<pad>"', '"<nothing>"')
    (source / "tokenizer.json").write_text(content)
    name_tokens(source, cls_token="<s>", sep_token="</s>")
    assert "has no pad_token, which each text needs: name it in tokenizer_config.json" in refused(
        source
    )


def test_padding_that_only_the_tokenizer_names_counts_positions(
    tmp_path: Path, catalogue: tuple[pd.DataFrame, pd.DataFrame]
) -> None:
    make(tmp_path / "source", "roberta", make_tokenizer(catalogue[1]))
    configure(tmp_path / "source", pad_token_id=None)
    assert load_encoder(taken(tmp_path / "source")).config.pad_token_id == SPECIAL.index("<pad>")
    shutil.rmtree(tmp_path / "copy")
    configure(tmp_path / "source", pad_token_id=0)
    assert "counts positions where a token is not number 0" in refused(tmp_path / "source")


def train_pieces(folder: Path, name: str, texts: list[str]) -> sentencepiece.SentencePieceProcessor:
    """Write a sentencepiece model of TOKENS / 2 pieces, in the order in which DeBERTa has its special ones."""
    special = {"pad_id": 0, "bos_id": 1, "eos_id": 2, "unk_id": 3}
    pieces = {
        "pad_piece": "[PAD]",
        "bos_piece": "[CLS]",
        "eos_piece": "[SEP]",
        "unk_piece": "[UNK]",
    }
    with (folder / name).open("wb") as file:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(texts), model_writer=file, vocab_size=TOKENS // 2, hard_vocab_limit=False,
            minloglevel=2, **special, **pieces,
        )  # fmt: skip
    return sentencepiece.SentencePieceProcessor(model_file=str(folder / name))


def test_a_sentencepiece_model_is_enough(
    tmp_path: Path, catalogue: tuple[pd.DataFrame, pd.DataFrame]
) -> None:
    source, texts = tmp_path / "source", catalogue[1]["title"].tolist()
    make(source, "deberta-v2", make_tokenizer(catalogue[1]))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (source / name).unlink()
    pieces = train_pieces(source, "spm.model", texts)
    actual = load_tokenizer(taken(source))
    assert tokenise(actual, ["a red shoe"])[0].tolist() == pieces.encode("a red shoe")
    assert SpecialTokens.of(actual) == SpecialTokens(first=1, separator=2, padding=0)


def test_a_sentencepiece_model_that_the_family_reads_otherwise_is_refused(
    tmp_path: Path, catalogue: tuple[pd.DataFrame, pd.DataFrame]
) -> None:
    source = tmp_path / "source"
    make(source, "roberta", make_tokenizer(catalogue[1]))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (source / name).unlink()
    train_pieces(source, "tokenizer.model", catalogue[1]["title"].tolist())
    assert "cuts 'a red shoe' into" in refused(source)
