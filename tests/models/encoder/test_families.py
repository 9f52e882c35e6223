"""What is particular to one family of encoders: limits, attention, padding, where an attack is added."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoConfig, AutoModel

from competition.core.errors import InputError
from competition.models.encoder.encoder import check_length
from competition.models.encoder.families import (
    adjust_config,
    check_recipe,
    hidden_states,
    position_limit,
    token_table,
)
from tests.models.encoder.conftest import recipe
from tests.zoo import FAMILIES, TOKENS, configuration


def encoder(family: str, **keys: Any) -> Any:
    """One of random weights, in float64 so that rounding hides nothing."""
    config = configuration(family, **keys)
    config.architectures = []
    adjust_config(config)
    torch.manual_seed(0)
    model = AutoModel.from_config(config).double().eval()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim > 1:
                weight.mul_(5)
    return model


def texts(*lengths: int) -> tuple[Tensor, Tensor, Tensor]:
    """Ids, mask and types of random texts, padded to the longest."""
    width = max(lengths)
    mask = (torch.arange(width) < torch.tensor(lengths)[:, None]).long()
    ids = torch.randint(5, TOKENS, mask.shape, generator=torch.Generator().manual_seed(1))
    return torch.where(mask.bool(), ids, 1), mask, mask * (torch.arange(width) >= 4)


@pytest.mark.parametrize(
    ("family", "keys", "limit"),
    [
        ("bert", {"max_position_embeddings": 512}, 512),
        ("xlm-roberta", {"max_position_embeddings": 514, "pad_token_id": 1}, 514 - (1 + 1)),
        ("ibert", {"max_position_embeddings": 514, "pad_token_id": 1}, 514 - (1 + 1)),
        ("longformer", {"max_position_embeddings": 4098, "pad_token_id": 1}, 4098 - (1 + 1)),
        (
            "mpnet",
            {"max_position_embeddings": 514, "pad_token_id": 0},
            514 - (1 + 1),
        ),  # counts from 1 in any case
        ("deberta-v2", {"max_position_embeddings": 512, "position_biased_input": True}, 512),
        ("deberta-v2", {"max_position_embeddings": 512, "position_biased_input": False}, None),
        ("modernbert", {"max_position_embeddings": 8192}, 8192),
        ("xlnet", {}, None),
        ("funnel", {}, None),
    ],
)
def test_how_far_a_family_reads(family: str, keys: dict[str, Any], limit: int | None) -> None:
    assert position_limit(AutoConfig.for_model(family, **keys)) == limit


def test_a_text_that_is_too_long_is_refused_by_the_recipes_key(tmp_path: Path) -> None:
    AutoConfig.for_model("roberta", max_position_embeddings=66, pad_token_id=1).save_pretrained(
        tmp_path
    )
    check_length(tmp_path, 64, "c1")
    with pytest.raises(
        InputError, match=r"'c1' has max_length = 65, .* reads at most 64 tokens: lower max_length"
    ):
        check_length(tmp_path, 65, "c1")


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_a_text_at_the_limit_is_read_alone_as_in_company(family: str) -> None:
    model = encoder(family)
    limit = position_limit(model.config) or 96
    ids, mask, types = texts(9, limit, 9, 4)
    with torch.no_grad():
        whole = hidden_states(model, ids, mask, types)
        for row, length in enumerate(mask.sum(1).tolist()):
            one = slice(row, row + 1)
            alone = hidden_states(model, ids[one, :length], mask[one, :length], types[one, :length])
            torch.testing.assert_close(
                whole[one, :length], alone, rtol=0, atol=1e-6 * float(alone.abs().max())
            )
        ids[1, limit - 1] = 7  # however far the last token stands
        assert not torch.equal(hidden_states(model, ids, mask, types)[1, 0], whole[1, 0])


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_an_attack_is_added_to_the_embedded_tokens(family: str) -> None:
    """Moving the embeddings of a token in the table does the same as moving it wherever it stands."""
    model = encoder(family)
    ids, mask, types = texts(6, 11)
    ids[0, 2] = ids[1, 7] = 9
    table = token_table(model)
    move = torch.randn(
        table.shape[1], dtype=table.dtype, generator=torch.Generator().manual_seed(2)
    )
    delta = (ids == 9)[:, :, None] * move
    with torch.no_grad():
        clean = hidden_states(model, ids, mask, types)
        attacked = hidden_states(model, ids, mask, types, delta)
        table[9] += move
        torch.testing.assert_close(
            attacked, hidden_states(model, ids, mask, types), rtol=1e-6, atol=1e-6
        )
        table[9] -= move
        assert not torch.allclose(attacked[:, 0], clean[:, 0])
        # Nothing of the attack stays.
        torch.testing.assert_close(
            hidden_states(model, ids, mask, types), clean, rtol=1e-9, atol=1e-9
        )


def test_what_a_family_cannot_do_is_refused_by_key() -> None:
    with pytest.raises(
        InputError, match="checkpointing = true, which encoders of the family 'albert' cannot"
    ):
        check_recipe(encoder("albert"), recipe(checkpointing=True))
    with pytest.raises(
        InputError, match="precision = \"bf16\", in which encoders of the family 'deberta' cannot"
    ):
        check_recipe(encoder("deberta"), recipe(precision="bf16"))
    check_recipe(encoder("bert"), recipe(checkpointing=True, adversary="fgm-row", precision="bf16"))


def test_deberta_computes_in_fp32_where_others_compute_in_bf16() -> None:
    for family, expected in (("deberta", torch.float32), ("bert", torch.bfloat16)):
        model = encoder(family).float()
        seen = []
        layer = model.encoder.layer[0].attention.output.dense
        layer.register_forward_hook(
            lambda module, arguments, found, seen=seen: seen.append(found.dtype)
        )
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            hidden_states(model, *texts(6, 11))
        assert seen == [expected]


@pytest.mark.parametrize(
    "keys",
    [
        {"is_decoder": True},
        {"is_decoder": True, "add_cross_attention": True},
        {"position_embedding_type": "relative_key"},
    ],
)
def test_a_variation_of_bert_does_not_take_the_lean_way(keys: dict[str, Any]) -> None:
    from competition.models.encoder.unpadded import runs_unpadded

    model = encoder("bert")
    assert runs_unpadded(model)
    for name, value in keys.items():
        setattr(model.config, name, value)
    assert not runs_unpadded(model)
