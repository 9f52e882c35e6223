"""The pooling that an encoder was made with. No heavy import here: planning reads it, too."""

from pathlib import Path
from typing import Any

from competition.core.errors import InputError
from competition.core.json_files import read_json

FIRST, MEAN, LAST, BOTH = "first", "mean", "last", "first+mean"
POOLINGS = (FIRST, MEAN, LAST, BOTH)
POOLING_CARD = "1_Pooling/config.json"  # where sentence-transformers keeps it, beside an encoder
POOLING_KEY = "comp_pooling"  # of an encoder's config.json, where our own folders keep it


def stated_pooling(card: Path) -> str | None:
    """Return the pooling that a sentence-transformers card asks for.

    None stands for one that is not offered here.
    """
    content = read_json(card)
    # A name since version 5.2, before that a switch for each.
    mode = content.get("pooling_mode")
    first = mode == "cls" or bool(content.get("pooling_mode_cls_token"))
    mean = mode == "mean" or bool(content.get("pooling_mode_mean_tokens"))
    if first and mean:
        return BOTH
    if first:
        return FIRST
    if mode == "lasttoken" or content.get("pooling_mode_lasttoken"):
        return LAST
    return MEAN if mean else None


def folder_pooling(folder: Path) -> str | None:
    """Return the pooling of the sentence-transformers card in an encoder's folder.

    It is None without a card.
    """
    return stated_pooling(folder / POOLING_CARD)


def encoder_pooling(config: Any, default: str = FIRST) -> str:
    """Return the pooling that an encoder was made with, by its config; `default` where it does not say.

    Raises:
        InputError: the config names one that is unknown.
    """
    pooling = getattr(config, POOLING_KEY, default)
    if pooling not in POOLINGS:
        raise InputError(
            f"The encoder's config.json has {POOLING_KEY} = {pooling!r}: it must be one of {', '.join(POOLINGS)}."
        )
    return str(pooling)
