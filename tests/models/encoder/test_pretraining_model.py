"""The heads of pre-training, by hand."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from competition.data.catalogue import IGNORED
from competition.data.vocabulary import MISSING, RARE, Vocabulary
from competition.models.encoder.encoder import load_encoder
from competition.models.encoder.pretraining_model import (
    MaskedWordHead,
    NameHead,
    PretrainingModel,
    TaskBatch,
    contrastive_logits,
    encode,
    mean_pooled,
    vocabulary_sizes,
)

EVERY = ("mlm", "query", "attributes", "contrastive")
NAMES = {"brand": 5, "color": 3}


def model_of(
    tiny: Path, tasks: tuple[str, ...] = EVERY, names: dict[str, int] | None = None
) -> PretrainingModel:
    """A model in float64 without dropout; biases are random, so that one that is left out is noticed."""
    torch.manual_seed(3)
    model = (
        PretrainingModel(load_encoder(tiny), tasks, NAMES if names is None else names)
        .double()
        .eval()
    )
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def batch_of(lengths: list[int], **targets: list) -> TaskBatch:
    """Texts of tokens 5, 6, 7 …, the second half of each of the other type, padded with 0."""
    tokens = max(lengths)
    place = torch.arange(tokens).expand(len(lengths), -1)
    mask = (place < torch.tensor(lengths)[:, None]).long()
    ids = (place + 5 + torch.arange(len(lengths))[:, None]) * mask
    types = ((place >= tokens // 2) * mask).long()
    return TaskBatch(
        ids, mask, types, {name: torch.tensor(values) for name, values in targets.items()}
    )


def moved(model: torch.nn.Module) -> set[str]:
    """The parameters that a gradient reaches."""
    return {
        name for name, p in model.named_parameters() if p.grad is not None and bool(p.grad.any())
    }


# --- texts ---


def test_padding_is_not_read_and_types_are(tiny: Path) -> None:
    model, batch = model_of(tiny), batch_of([4, 7])
    hidden = encode(model.encoder, batch)
    alone = encode(model.encoder, batch_of([4]))
    assert hidden.shape == (2, 7, 128)
    of_four = TaskBatch(*(part[:1, :4] for part in batch[:3]), {})
    torch.testing.assert_close(hidden[:1, :4], encode(model.encoder, of_four))
    assert not torch.allclose(
        hidden[:1, :4], alone
    )  # there, two of the four tokens are of the second type


def test_encoders_without_types_never_see_them() -> None:
    class Plain(torch.nn.Module):
        config = type("Config", (), {"model_type": "plain", "type_vocab_size": 1})

        def forward(self, input_ids: Tensor, attention_mask: Tensor) -> object:
            return type(
                "Output",
                (),
                {"last_hidden_state": input_ids[:, :, None] * attention_mask[:, :, None]},
            )

    assert encode(Plain(), batch_of([2]))[0].flatten().tolist() == [5, 6]


def test_a_text_is_the_mean_of_its_tokens_and_has_length_1() -> None:
    hidden = torch.tensor(
        [[[2.0, 4.0], [4.0, 4.0], [100.0, -7.0]], [[0.0, -2.0], [0.0, 0.0], [0.0, 0.5]]]
    )
    mask = torch.tensor([[1, 1, 0], [1, 1, 1]])
    # (2 + 4) / 2 = 3 and (4 + 4) / 2 = 4, which is 5 long; (0 - 2 + 0 + 0.5) / 3 points down
    torch.testing.assert_close(
        mean_pooled(hidden, mask), torch.tensor([[3 / 5, 4 / 5], [0.0, -1.0]])
    )
    drawn = torch.randn(4, 6, 8, generator=torch.Generator().manual_seed(0), dtype=torch.bfloat16)
    pooled = mean_pooled(drawn, torch.ones(4, 6))
    assert pooled.dtype == torch.float32  # cosines over 0.03 need more than bf16
    torch.testing.assert_close(pooled.norm(dim=1), torch.ones(4))


def test_contrastive_logits_of_three_texts_and_a_queue_of_two() -> None:
    first = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
    second = torch.tensor([[0.8, 0.6], [0.0, -1.0], [1.0, 0.0]])
    keys = torch.tensor([[-1.0, 0.0], [0.6, -0.8]])
    cosines = [
        [0.8, 0.0, 1.0, -1.0, 0.6],
        [0.6, -1.0, 0.0, 0.0, -0.8],
        [0.6 * 0.8 + 0.8 * 0.6, -0.8, 0.6, -0.6, 0.6 * 0.6 - 0.8 * 0.8],
    ]
    actual = contrastive_logits(first, second, keys, temperature=0.5)
    torch.testing.assert_close(actual, torch.tensor(cosines) / 0.5)
    torch.testing.assert_close(
        contrastive_logits(first, second, keys[:0], 0.1), torch.tensor(cosines)[:, :3] / 0.1
    )


# --- words ---


def test_the_word_head_is_that_of_the_formula_and_looks_at_masked_tokens_alone(tiny: Path) -> None:
    model = model_of(tiny)
    target = [
        [IGNORED, 9, IGNORED, 11, IGNORED],
        [IGNORED, IGNORED, 30, IGNORED, IGNORED],
        [IGNORED] * 5,
    ]
    batch = batch_of([4, 5, 3], token=target)
    seen: list[Tensor] = []
    model.words.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    actual = model("mlm", batch)["token"]
    hidden = encode(model.encoder, batch)
    assert len(seen) == 1
    assert torch.equal(seen[0], torch.stack([hidden[0, 1], hidden[0, 3], hidden[1, 2]]))
    # The same for every token, spelled out: dense, GELU, LayerNorm, dot product with the word
    # embeddings, bias.
    dense, _, norm = model.words.transform
    x = hidden @ dense.weight.T + dense.bias
    x = x * (1 + torch.erf(x / 2**0.5)) / 2
    x = (x - x.mean(-1, keepdim=True)) / (x.var(-1, correction=0, keepdim=True) + norm.eps).sqrt()
    x = x * norm.weight + norm.bias
    logits = x @ model.encoder.get_input_embeddings().weight.T + model.words.bias  # (3, 5, V)
    of_each = (
        torch.logsumexp(logits, -1)
        - logits.gather(-1, torch.tensor(target).clamp_min(0)[..., None])[..., 0]
    )
    expected = torch.stack([of_each[0, 1], of_each[0, 3], of_each[1, 2]])
    torch.testing.assert_close(actual.double(), expected, rtol=1e-6, atol=1e-6)


def test_words_are_learned_by_the_encoder_s_own_table(tiny: Path) -> None:
    model = model_of(tiny)
    model("mlm", batch_of([3], token=[[IGNORED, 9, IGNORED]]))["token"].sum().backward()
    table = model.encoder.get_input_embeddings().weight
    assert table.grad is not None
    assert bool(table.grad[9].any())
    assert bool(table.grad[1000].any())
    assert {name for name in moved(model) if not name.startswith(("encoder", "words"))} == set()
    assert sum(
        p.numel() for p in MaskedWordHead(128, *table.shape).parameters()
    ) == 128 * 128 + 3 * 128 + len(table)


def test_a_batch_without_a_masked_token_has_no_loss(tiny: Path) -> None:
    assert model_of(tiny)("mlm", batch_of([3], token=[[IGNORED] * 3]))["token"].shape == (0,)


# --- match ---


def test_match_is_poly1_of_the_first_token(tiny: Path) -> None:
    model, batch = model_of(tiny), batch_of([4, 6, 6], match=[1, 0, 1])
    assert model.match is not None
    p = torch.softmax(
        model.match(encode(model.encoder, batch)[:, 0]), 1
    )  # another's query, a real one
    truth = torch.stack([p[0, 1], p[1, 0], p[2, 1]])
    expected = -truth.log() + (1 - truth)
    torch.testing.assert_close(
        model("query", batch)["match"].double(), expected, rtol=1e-6, atol=1e-6
    )
    model("query", batch)["match"].sum().backward()
    assert {name.split(".")[0] for name in moved(model)} == {"encoder", "match"}


# --- names ---


def test_missing_and_rare_names_are_never_offered() -> None:
    head = NameHead(8, 3).double()
    with torch.no_grad():
        head.bias.copy_(torch.tensor([0.1, 0.2, 0.3]))
    first = torch.randn(2, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    logits = head(first)
    dense, _, norm = head.transform
    x = functional.layer_norm(functional.gelu(dense(first)), (128,), norm.weight, norm.bias)
    assert len(head.table.weight) == RARE + 1 + 3
    assert logits.shape == (2, 3)
    for name in range(3):  # the vocabulary's first name has the row behind RARE
        torch.testing.assert_close(
            logits[:, name], x @ head.table.weight[RARE + 1 + name] + 0.1 * (name + 1)
        )
    functional.cross_entropy(logits, torch.tensor([0, 2])).backward()
    assert head.table.weight.grad is not None
    assert not head.table.weight.grad[[MISSING, RARE]].any()
    assert head.table.weight.grad[RARE + 1 :].any(1).all()
    with torch.no_grad():
        head.table.weight[[MISSING, RARE]] = 50.0
    assert torch.equal(head(first), logits)


def test_an_ignored_brand_has_no_loss_and_no_gradient(tiny: Path) -> None:
    model = model_of(tiny)
    batch = batch_of([4, 6, 6], brand=[2, IGNORED, 4], color=[IGNORED] * 3)
    losses = model("attributes", batch)
    assert losses["brand"][1] == 0
    assert not losses["color"].any()
    logits = model.names["brand"](encode(model.encoder, batch)[:, 0])
    for row, name in ((0, 2), (2, 4)):
        expected = torch.logsumexp(logits[row], 0) - logits[row, name]
        torch.testing.assert_close(losses["brand"][row].double(), expected, rtol=1e-6, atol=1e-6)
    (losses["color"].sum() + losses["brand"][1]).backward()
    assert moved(model) == set()


# --- which heads there are ---


@pytest.mark.parametrize(
    ("tasks", "names", "heads"),
    [
        (("mlm",), {}, set()),
        (("mlm", "contrastive"), {}, set()),
        (("mlm", "query"), {}, {"match"}),
        (("mlm", "attributes"), {"color": 3}, {"names.color"}),
        (EVERY, NAMES, {"match", "names.brand", "names.color"}),
    ],
)
def test_only_tasks_that_are_on_have_a_head(
    tasks: tuple[str, ...], names: dict[str, int], heads: set[str], tiny: Path
) -> None:
    model = model_of(tiny, tasks, names)
    own = {
        name for name, _ in model.named_parameters() if not name.startswith(("encoder.", "words."))
    }
    assert {".".join(name.split(".")[: 1 + name.startswith("names")]) for name in own} == heads
    assert set(model("attributes", batch_of([4], **{name: [0] for name in names}))) == set(names)
    tables = model.name_tables()
    assert {name: len(table) for name, table in tables.items()} == {
        name: RARE + 1 + n for name, n in names.items()
    }
    assert all(table is model.names[name].table.weight for name, table in tables.items())


def test_the_contrastive_task_gives_the_pooled_texts(tiny: Path) -> None:
    model, batch = model_of(tiny), batch_of([4, 6])
    (name, texts), = model("contrastive", batch).items()  # fmt: skip
    assert name == "text"
    assert torch.equal(texts, mean_pooled(encode(model.encoder, batch), batch.mask))


def test_names_of_which_the_vocabulary_has_none_are_not_learned() -> None:
    vocabulary = Vocabulary({"brand": ("acme", "zeta"), "color": ("red",)}, np.empty(0, np.int64))
    assert vocabulary_sizes(("brand", "color"), vocabulary) == {"brand": 2, "color": 1}
    assert vocabulary_sizes(("color",), vocabulary) == {"color": 1}
    assert vocabulary_sizes(
        ("brand", "color"), Vocabulary({"brand": ("acme", "zeta"), "color": ()}, vocabulary.grams)
    ) == {"brand": 2}
    assert vocabulary_sizes((), vocabulary) == vocabulary_sizes(("brand",), None) == {}
