"""Decoders: read by their last token, whatever the padding and the batch; with adapters as PEFT has them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from peft import PeftModel
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)

from competition.config.encoder_recipe import EncoderRecipe
from competition.config.recipe import PretrainingRecipe
from competition.core.errors import InputError
from competition.models.encoder.adapters import save_adapters
from competition.models.encoder.encoder import DECODER_TEMPLATE, fetch, load_encoder, text_template
from competition.models.encoder.families import check_pretraining, hidden_states
from competition.models.encoder.heads import pool
from competition.models.encoder.model import RelevanceModel
from competition.models.encoder.paths import Sources
from competition.models.encoder.pooling import stated_pooling
from tests.esci import KINDS
from tests.models.encoder.test_adapters import lora_recipe, randomise
from tests.models.encoder.test_trained_heads import inputs_of
from tests.rerankers import DECODERS, make_decoder

Catalogue = tuple[pd.DataFrame, pd.DataFrame]
ROWS = list(range(12))
# What sentence-transformers renders of a pair: the template that decoders have here.
CHAT = (
    "{%- for m in messages %}{% if m['role'] == 'query' %}Query: {{ m['content'] }}\n"
    "{% else %}Document: {{ m['content'] }}\nRelevant:{% endif %}{% endfor %}"
)


@pytest.fixture(scope="module", params=DECODERS)
def decoder(
    request: pytest.FixtureRequest, catalogue: Catalogue, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A decoder's folder with the copies of a workspace: alone, and with its words."""
    folder = tmp_path_factory.mktemp(request.param)
    make_decoder(AutoModelForCausalLM, request.param, folder / "source", catalogue[1])
    for head in ("new", "yes-no"):
        fetch(folder / head, str(folder / "source"), "test", head)
    return folder


def decoder_model(folder: Path, seed: int = 0, **keys: Any) -> tuple[RelevanceModel, EncoderRecipe]:
    """A model of a recipe whose head is new unless `keys` say."""
    recipe = EncoderRecipe(**({"name": "x", "kind": "gain", "max_length": 256} | keys))
    sources = Sources(folder / recipe.head)
    return RelevanceModel.make(recipe, KINDS[recipe.kind], sources, seed).eval(), recipe


def test_a_text_is_its_last_token(decoder: Path, catalogue: Catalogue) -> None:
    """Whatever stands beside it in a batch, and on whichever side its padding is."""
    model, recipe = decoder_model(decoder)
    inputs, pairs = inputs_of(recipe, decoder / "new", catalogue, ROWS)
    alone = AutoModel.from_pretrained(decoder / "source").eval()
    tokenizer = AutoTokenizer.from_pretrained(decoder / "source")
    with torch.no_grad():
        read = model._read(inputs, None)  # (12, H)
        for row, (query, document) in zip(read, pairs, strict=True):
            text = DECODER_TEMPLATE.replace("{query}", query).replace("{document}", document)
            ids = tokenizer(text, return_tensors="pt")["input_ids"]
            state = alone(input_ids=ids).last_hidden_state[0, -1]
            torch.testing.assert_close(row, state, rtol=0, atol=1e-5)

        # The same texts with their padding on the left, and more of it.
        width = inputs.ids.shape[1] + 5
        ids, mask = (torch.zeros(12, width, dtype=torch.long) for _ in range(2))
        for i, length in enumerate(inputs.mask.sum(1).tolist()):
            ids[i, width - length :] = inputs.ids[i, :length]
            mask[i, width - length :] = 1
        left = hidden_states(model.encoder, ids, mask, torch.zeros_like(ids))
    torch.testing.assert_close(pool(left, mask, "last"), read, rtol=0, atol=1e-5)


def test_states_are_those_of_peft(decoder: Path, catalogue: Catalogue, tmp_path: Path) -> None:
    recipe = lora_recipe(kind="gain", max_length=48)
    model = RelevanceModel.make(recipe, KINDS["gain"], Sources(decoder / "new"), seed=0).eval()
    randomise(model)
    save_adapters(tmp_path, model.encoder, "base")
    base = AutoModel.from_pretrained(decoder / "source")
    reference = PeftModel.from_pretrained(base, tmp_path).eval()
    inputs, _ = inputs_of(recipe, decoder / "new", catalogue, ROWS)
    with torch.no_grad():
        states = reference(input_ids=inputs.ids, attention_mask=inputs.mask).last_hidden_state
        found = model._read(inputs, None)
        expected = pool(states, inputs.mask, "last")
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
        logits = model(inputs)
        model.merge()
        torch.testing.assert_close(model(inputs), logits, rtol=0, atol=1e-5)


def test_yes_minus_no_is_that_of_sentence_transformers(decoder: Path, catalogue: Catalogue) -> None:
    """Which renders a pair by a chat template, pads on the left and reads the last place."""
    library = pytest.importorskip("sentence_transformers", reason="the reference is not installed")
    model, recipe = decoder_model(decoder, head="yes-no", epochs=0)
    inputs, pairs = inputs_of(recipe, decoder / "yes-no", catalogue, ROWS)
    with torch.no_grad():
        scores = model(inputs)[:, 0].numpy()

    tokenizer = AutoTokenizer.from_pretrained(decoder / "source")
    tokenizer.chat_template = CHAT
    tokenizer.save_pretrained(decoder / "source")
    reference = library.CrossEncoder(str(decoder / "source"), device="cpu")
    expected = reference.predict(pairs, activation_fn=torch.nn.Identity())
    np.testing.assert_allclose(scores, expected, atol=1e-5)
    assert expected.std() > 1e-3


def test_a_decoder_with_a_trained_head_scores_as_sentence_transformers_does(
    catalogue: Catalogue, tmp_path: Path
) -> None:
    library = pytest.importorskip("sentence_transformers", reason="the reference is not installed")
    auto = AutoModelForSequenceClassification
    make_decoder(auto, "qwen3", tmp_path / "source", catalogue[1], num_labels=1)
    fetch(tmp_path / "pretrained", str(tmp_path / "source"), "test", "pretrained")
    model, recipe = decoder_model(tmp_path, head="pretrained", epochs=0, max_length=64)
    inputs, pairs = inputs_of(recipe, tmp_path / "pretrained", catalogue, ROWS)
    with torch.no_grad():
        scores = model.outputs(model(inputs))[:, 0].numpy()
    reference = library.CrossEncoder(str(tmp_path / "source"), max_length=64, device="cpu")
    np.testing.assert_allclose(scores, reference.predict(pairs), atol=1e-5)


def test_answers_are_tokens(decoder: Path) -> None:
    with pytest.raises(InputError, match="'perhaps' is not a token"):
        decoder_model(decoder, head="yes-no", answers=("yes", "perhaps"))


def test_answers_differ() -> None:
    with pytest.raises(ValueError, match="the two answers must be different words"):
        EncoderRecipe(name="x", kind="gain", head="yes-no", answers=("yes", "yes"))


@pytest.mark.parametrize(("key", "value"), [("architecture", "bi-encoder"), ("pooling", "first")])
def test_a_decoder_is_read_by_its_last_tokens(key: str, value: str, decoder: Path) -> None:
    with pytest.raises(InputError, match=f"has {key} = '{value}', which decoders"):
        decoder_model(decoder, **{key: value})
    # Found out before texts are put together.
    recipe = EncoderRecipe(name="d", kind="gain", **{key: value})
    with pytest.raises(InputError, match=f"has {key} = '{value}', which decoders"):
        text_template(recipe, decoder / "new")


def test_a_decoder_cannot_be_pre_trained(decoder: Path) -> None:
    with pytest.raises(InputError, match="pre-trains by masked words, which decoders such as"):
        check_pretraining(load_encoder(decoder / "new"), PretrainingRecipe(name="p"))


@pytest.mark.parametrize("card", [{"pooling_mode": "lasttoken"}, {"pooling_mode_lasttoken": True}])
def test_a_card_may_ask_for_the_last_token(card: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(card), encoding="utf-8")
    assert stated_pooling(tmp_path / "config.json") == "last"


def test_an_encoder_has_no_words(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match='head = "yes-no"'):
        fetch(tmp_path / "copy", str(tiny), "test", "yes-no")
