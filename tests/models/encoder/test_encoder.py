"""The folder of the encoder: the same bytes each time, an ordinary Hugging Face folder, safetensors only."""

import json
import os
import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModel, AutoTokenizer, BertConfig, BertModel

from competition.config.encoder_recipe import EncoderRecipe
from competition.core.errors import CompError, InputError
from competition.models.encoder.encoder import fetch, load_encoder, load_tokenizer, make_tiny
from competition.models.encoder.inputs import Inputs
from competition.models.encoder.model import RelevanceModel
from competition.models.encoder.paths import Sources
from competition.models.encoder.pooling import encoder_pooling
from tests.esci import KINDS
from tests.models.encoder.conftest import recipe

Catalogue = tuple[pd.DataFrame, pd.DataFrame]


def plain(kind: str) -> EncoderRecipe:
    """A recipe without features."""
    return recipe(kind=kind, features=())


def test_made_twice_has_the_same_bytes(tiny: Path, tmp_path: Path, catalogue: Catalogue) -> None:
    make_tiny(tmp_path / "again", catalogue[1], seed=1, inputs="test")
    names = sorted(path.name for path in tiny.iterdir())
    assert "model.safetensors" in names
    assert "tokenizer.json" in names
    assert not [name for name in names if name.endswith((".bin", ".pt", ".pkl"))]
    for name in names:
        assert (tmp_path / "again" / name).read_bytes() == (tiny / name).read_bytes(), name


def test_it_is_an_ordinary_folder(tiny: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny, local_files_only=True)
    model = AutoModel.from_pretrained(tiny, local_files_only=True)
    hidden = model(**tokenizer("red shoes", return_tensors="pt")).last_hidden_state
    assert hidden.shape[0] == 1
    assert hidden.shape[2] == 128
    assert model.config.num_hidden_layers == 2


def test_no_character_is_unknown(tiny: Path) -> None:
    tokenizer = load_tokenizer(tiny)
    for text in ("水筒 ﾎﾞﾄﾙ", "niño №5", "👟", "\u202eabc"):
        assert tokenizer.unk_token_id not in tokenizer(text)["input_ids"]


def test_a_local_bert_folder_is_copied_without_its_pooler(tmp_path: Path, tiny: Path) -> None:
    source = tmp_path / "bert"
    load_tokenizer(tiny).save_pretrained(source)
    config = BertConfig(
        vocab_size=9000,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
    )
    BertModel(config).save_pretrained(source)
    fetch(tmp_path / "copy", str(source), "test")
    encoder = load_encoder(tmp_path / "copy")
    assert not [name for name in encoder.state_dict() if "pooler" in name]
    assert (tmp_path / "copy" / "model.safetensors").is_file()


@pytest.mark.parametrize(
    ("card", "expected"),
    [
        ({"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}, "mean"),
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True}, "first+mean"),
        ({"pooling_mode": "cls"}, "first"),
        ({"pooling_mode_max_tokens": True}, "first"),
        (None, "first"),
    ],
    ids=str,
)
def test_a_copy_says_what_pooling_its_source_was_made_with(
    card: dict[str, bool] | None,
    expected: str,
    tmp_path: Path,
    tiny: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    source = tmp_path / "source"
    shutil.copytree(tiny, source)
    if card is not None:
        (source / "1_Pooling").mkdir()
        (source / "1_Pooling" / "config.json").write_text(json.dumps(card))
    fetch(tmp_path / "copy", str(source), "test")
    fetch(tmp_path / "again", str(tmp_path / "copy"), "test")
    for folder in (tmp_path / "copy", tmp_path / "again"):
        assert encoder_pooling(load_encoder(folder).config) == expected
    told = " ".join(capsys.readouterr().err.split())
    assert ("asks for a pooling that is not offered" in told) == ("max_tokens" in str(card))


def test_what_cannot_be_loaded_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(CompError, match=r"cannot be loaded .* put the path of its folder into"):
        fetch(tmp_path / "copy", str(tmp_path / "nothing-here"), "test")
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize(
    ("kind", "logits", "outputs"), [("classes", 4, 4), ("gain", 1, 1), ("substitute", 2, 1)]
)
def test_outputs_of_each_kind(tiny: Path, kind: str, logits: int, outputs: int) -> None:
    model = RelevanceModel.make(plain(kind), KINDS[kind], Sources(tiny), seed=3).eval()
    ids = torch.tensor([[2, 7, 3, 9, 3]])
    present = torch.ones(1, 1, dtype=torch.bool)
    raw = model(
        Inputs(
            ids,
            torch.ones_like(ids),
            torch.tensor([[0, 0, 0, 1, 1]]),
            present,
            torch.arange(5),
            None,
        )
    )
    values = model.outputs(raw)
    assert raw.shape == (1, logits)
    assert values.shape == (1, outputs)
    assert values.dtype == torch.float64
    assert bool(((values >= 0) & (values <= 1)).all())
    if kind == "classes":
        assert values.sum().item() == pytest.approx(1, abs=1e-12)
    if kind == "substitute":
        assert values[0, 0].item() == pytest.approx(
            torch.sigmoid(raw[0, 1] - raw[0, 0]).item(), abs=1e-6
        )


@pytest.mark.parametrize(
    "method", [plain("gain"), recipe(architecture="two-tower")], ids=["plain", "two-tower"]
)
def test_the_head_and_the_features_are_a_function_of_the_seed(
    method: EncoderRecipe, sources: Sources
) -> None:
    one, same, other = (
        RelevanceModel.make(method, KINDS[method.kind], sources, seed).state_dict()
        for seed in (3, 3, 4)
    )
    assert one.keys() == same.keys()
    assert all(torch.equal(one[name], same[name]) for name in one)
    differ = {name for name in one if not torch.equal(one[name], other[name])}
    assert {"head.dense.weight", "output.output.weight"} <= differ
    assert ("features.tables.brand.weight" in differ) == ("features.tables.brand.weight" in one)
    loaded = load_encoder(sources.encoder).state_dict()
    assert all(torch.equal(one[f"encoder.{name}"], weight) for name, weight in loaded.items())


def test_making_a_model_leaves_the_random_numbers_alone(tiny: Path) -> None:
    before = torch.random.get_rng_state()
    RelevanceModel.make(plain("gain"), KINDS["gain"], Sources(tiny), seed=3)
    assert torch.equal(torch.random.get_rng_state(), before)


# --- weights from strangers ---


class Evil:
    """An object that runs a command when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.mark}",)


def pickled_encoder(folder: Path, tiny: Path) -> dict[str, torch.Tensor]:
    """An encoder's folder as they used to be, with `pytorch_model.bin`; returns its weights."""
    load_tokenizer(tiny).save_pretrained(folder)
    config = BertConfig(
        vocab_size=9000,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
    )
    config.save_pretrained(folder)
    weights = BertModel(config).state_dict()
    torch.save(weights, folder / "pytorch_model.bin")
    return weights


def test_weights_in_an_ordinary_pickle_are_read_and_kept_as_safetensors(
    tmp_path: Path, tiny: Path
) -> None:
    weights = pickled_encoder(tmp_path / "bert", tiny)
    fetch(tmp_path / "copy", str(tmp_path / "bert"), "test")
    assert not list((tmp_path / "copy").glob("*.bin"))
    kept = load_file(tmp_path / "copy" / "model.safetensors")
    assert torch.equal(
        kept["embeddings.word_embeddings.weight"], weights["embeddings.word_embeddings.weight"]
    )


@pytest.mark.parametrize("beside", [True, False], ids=["beside good weights", "alone"])
def test_a_pickle_that_would_run_something_runs_nothing(
    beside: bool, tmp_path: Path, tiny: Path
) -> None:
    weights = pickled_encoder(tmp_path / "bert", tiny)
    mark = tmp_path / "it-ran"
    torch.save(
        {**(weights if beside else {}), "evil": Evil(mark)}, tmp_path / "bert" / "pytorch_model.bin"
    )
    with pytest.raises(
        InputError,
        match="are a pickle that is damaged or holds more than tensors; nothing in it was run",
    ):
        fetch(tmp_path / "copy", str(tmp_path / "bert"), "test")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bert"]


def test_code_that_a_folder_brings_is_not_run(tmp_path: Path, tiny: Path) -> None:
    pickled_encoder(tmp_path / "bert", tiny)
    mark = tmp_path / "it-ran"
    (tmp_path / "bert" / "evil.py").write_text(f"open({str(mark)!r}, 'w')")
    config = json.loads((tmp_path / "bert" / "config.json").read_text())
    config |= {
        "model_type": "evil",
        "auto_map": {"AutoConfig": "evil.Config", "AutoModel": "evil.Model"},
    }
    (tmp_path / "bert" / "config.json").write_text(json.dumps(config))
    with pytest.raises(CompError, match="cannot be loaded"):
        fetch(tmp_path / "copy", str(tmp_path / "bert"), "test")
    assert not mark.exists()
    assert not (tmp_path / "copy").exists()
