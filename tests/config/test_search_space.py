"""Search spaces: files that say which values a key may take."""

from pathlib import Path

import pytest

from competition.config.search_space import SPACES, Choice, Range, load_space, nest
from competition.core.errors import InputError

KEYS = ("epochs", "ema", "learning_rate", "lora", "num_leaves", "warmup")


def space(folder: Path, text: str) -> Path:
    path = folder / "mine.toml"
    path.write_text(f"[keys]\n{text}\n", encoding="utf-8")
    return path


def test_lists_ranges_and_keys_of_tables(tmp_path: Path) -> None:
    text = """
        num_leaves = [7, 15]
        learning_rate = { low = 0.01, high = 0.2, log = true }
        warmup = { low = 0, high = 0.2, step = 0.05 }
        lora.rank = [8, 16]
        lora.alpha = { low = 8, high = 32, step = 8 }
    """
    found = load_space("lexical", KEYS, space(tmp_path, text))
    assert found.keys["num_leaves"] == Choice((7, 15))
    assert found.keys["lora.rank"] == Choice((8, 16))
    rate, warmup, alpha = (found.keys[k] for k in ("learning_rate", "warmup", "lora.alpha"))
    assert isinstance(rate, Range)
    assert isinstance(warmup, Range)
    assert isinstance(alpha, Range)
    assert [each.integers for each in (rate, warmup, alpha)] == [False, False, True]
    assert rate.value(0.0123456) == 0.0123
    assert warmup.value(0.05 * 3) == 0.15
    assert repr(alpha.value(16.0)) == "16"
    assert {"lora.rank": 16} in found.corners
    assert nest({"epochs": 2, "lora.rank": 8, "lora.alpha": 16}) == {
        "epochs": 2,
        "lora": {"rank": 8, "alpha": 16},
    }


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("epochs = 3", "epochs = 3 is not a choice: write two values or more in brackets"),
        ("epochs = [3]", "epochs = [3] is not a choice"),
        ("epochs = { low = 3 }", "mine.toml, epochs: the key 'high' is missing."),
        ("epochs = { low = 3, high = 3 }", "low must be below high"),
        ("ema = { low = 0.0, high = 0.9, log = true }", "log goes with a low above 0"),
        ("epochs = { low = 1, high = 4, step = 2 }", "there must be whole steps"),
        ("epochs = { low = 1, high = 4, steps = 1 }", "unknown key 'steps'"),
        (
            "epochs = { low = 'a', high = 3 }",
            "low = 'a' does not fit: it must be a number of at most 1e+15",
        ),
        ("ema = { low = 0.0, high = nan }", "high = nan does not fit: it must be a number"),
        (f"epochs = {{ low = 1, high = {10**400} }}", "does not fit: it must be a number"),
        (
            "learning_rate = { lo = 0.1, hi = 0.2 }",
            "unknown key 'lo' (did you mean 'log' or 'low'?).",
        ),
        ("lora = { rank = 8 }", "lora.rank = 8 is not a choice"),
        ("lerning_rate = [0.1]", "no key 'lerning_rate' (did you mean 'learning_rate'?)."),
        ("", "keys = {} does not fit: it must not be empty."),
    ],
)
def test_what_is_no_space_is_refused(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(InputError) as error:
        load_space("lexical", KEYS, space(tmp_path, text))
    assert sentence in str(error.value)


def test_a_space_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"There is no file .*none.toml: name a search space"):
        load_space("lexical", KEYS, tmp_path / "none.toml")


def test_what_is_drawn_at_an_end_of_many_digits_stays_within() -> None:
    for values in (Range(low=1 / 3, high=2 / 3), Range(low=1 / 3, high=2 / 3, step=1 / 3)):
        assert (values.value(1 / 3), values.value(2 / 3)) == (1 / 3, 2 / 3)  # 0.333 is outside


@pytest.mark.parametrize("model", ["encoder", "lexical"])
def test_the_spaces_of_the_package(model: str) -> None:
    assert load_space(model, KEYS, None).source == SPACES / f"{model}.toml"
