"""Translation: one answer per text, whatever it is batched with."""

import shutil
from collections.abc import Iterable
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

from competition.core.console import Progress
from competition.core.errors import CompError
from competition.data.augment import texts_to_translate
from competition.models.encoder import translation
from competition.models.encoder.translation import Translator, group_by_length
from tests.esci import CONTEST


@pytest.fixture(scope="module")
def texts(catalogue: tuple[pd.DataFrame, pd.DataFrame]) -> list[str]:
    """Spanish queries and titles, and one that is longer than the model reads."""
    actual = texts_to_translate(*catalogue, CONTEST)
    return [*actual, " ".join(actual)]


def translated(translator: Translator, texts: Iterable[str]) -> list[dict[str, str]]:
    """The portions of a translation, with all of its work done."""
    listed = list(texts)
    work = Progress("texts", len(listed), None)
    portions = list(translator.translate(listed, work))
    assert work.done == len(listed)
    return portions


def test_every_text_gets_one_translation_whatever_it_is_batched_with(
    marian: Path, texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    translator = Translator(str(marian))
    (together,) = translated(translator, texts)
    assert sorted(together) == sorted(texts)
    assert len(set(together.values())) > len(texts) / 2  # texts are told apart
    for text in [*texts[::7], texts[-1]]:
        assert translated(translator, [text]) == [{text: together[text]}]
    assert translated(translator, reversed(texts)) == [together]
    monkeypatch.setattr(translation, "TOKEN_BUDGET", 40)
    torch.manual_seed(5)
    assert translated(Translator(str(marian)), texts) == [together]


def test_special_tokens_are_no_part_of_a_translation(marian: Path, texts: list[str]) -> None:
    for answer in translated(Translator(str(marian)), texts)[0].values():
        assert answer
        assert not any(word in answer for word in ("<pad>", "</s>"))


def test_portions_hold_every_text_once(
    marian: Path, texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    translator = Translator(str(marian))
    (whole,) = translated(translator, texts)
    monkeypatch.setattr(translation, "TOKEN_BUDGET", 100)
    monkeypatch.setattr(translation, "SAVE_EVERY", 10)
    portions = translated(translator, texts)
    assert len(portions) > 2
    assert sum(map(len, portions)) == len(texts)
    assert all(len(portion) >= 10 for portion in portions[:-1])
    assert {text: answer for portion in portions for text, answer in portion.items()} == whole


@pytest.mark.parametrize("budget", [1, 30, 100, 10_000])
def test_groups_are_of_similar_length_and_within_the_budget(
    budget: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(translation, "TOKEN_BUDGET", budget)
    lengths = [3, 9, 1, 9, 4, 50, 2, 3, 7]
    groups = group_by_length(lengths)
    order = [i for group in groups for i in group]
    assert sorted(order) == list(range(9))
    assert order == [
        5,
        1,
        3,
        8,
        4,
        0,
        7,
        6,
        2,
    ]
    for group in groups:
        assert len(group) * max(lengths[i] for i in group) <= budget or len(group) == 1
    # A group ends only where the next text would not fit: at 30 tokens, 2 * 50, 4 * 9 and 5 * 4 +
    # ... are too many.
    assert groups == {
        1: [[i] for i in order],
        30: [[5], [1, 3, 8], [4, 0, 7, 6, 2]],
        100: [[5, 1], [3, 8, 4, 0, 7, 6, 2]],
        10_000: [order],
    }[budget]  # fmt: skip
    assert group_by_length([]) == []


@pytest.mark.parametrize("lost", ["everything", "vocab.json", "source.spm", "model.safetensors"])
def test_a_model_that_is_not_there_is_answered_with_what_to_download(
    lost: str, marian: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "es-en"
    if lost != "everything":
        folder.mkdir()
        for file in marian.iterdir():
            if file.name != lost:
                (folder / file.name).write_bytes(file.read_bytes())
    sentence = complaint(folder)
    for words in (
        str(folder),
        "download its files",
        "vocab.json",
        "Helsinki-NLP/opus-mt-es-en",
        "`translate_with`",
    ):
        assert words in sentence


def test_a_model_whose_weights_are_not_all_there_is_refused(marian: Path, tmp_path: Path) -> None:
    """It would start from random ones in their place."""
    folder = Path(shutil.copytree(marian, tmp_path / "es-en"))
    weights = load_file(folder / "model.safetensors")
    lost = next(name for name in sorted(weights) if "fc1.weight" in name)
    del weights[lost]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    assert "fc1.weight" in complaint(folder)


def complaint(folder: Path) -> str:
    """What is said of a model that cannot be loaded: one sentence."""
    with pytest.raises(CompError) as caught:
        Translator(str(folder))
    assert caught.value.exit_code == 1
    assert "\n" not in str(caught.value)
    return str(caught.value)
