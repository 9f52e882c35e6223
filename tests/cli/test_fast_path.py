"""What is done for speed changes no file: out-of-fold files with and without it, and against the library alone."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModel, AutoTokenizer

from competition.core.workspace import Workspace
from competition.data.text import clean
from competition.models.encoder.encoder import make_tiny
from tests.conftest import comp, make_workspace
from tests.esci import FIELD_ORDERS, LABELS

pytestmark = pytest.mark.slow

LONGEST = 40  # tokens, less than most pairs here have
SETTINGS = f"""
recipes = ["plain"]
ensembles = []
noise_run = ""
[submission]
[overrides]
max_length = {LONGEST}
epochs = 1
"""
# Every method whose gradient could tell the ways apart; mixup, whose partners are those of the same
# piece, is left out.
RECIPE = """
kind = "classes"
dropout = 0.0
learning_rate = 1e-3
ema = 0.9
adversary = "fgm-table"
r_drop = 0.5
"""
PADDED = "lean = false\n"
WAYS = {
    "plain": PADDED,
    "lean": "",
    "pieces": PADDED + "token_budget = 200",
    "both": "token_budget = 200",
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace in which a fold was trained in each way, without dropout, of which each draws its own."""
    folder = tmp_path_factory.mktemp("fast")
    encoder = folder / "encoder"
    space = make_workspace(
        folder / "w", queries=25, settings=f'{SETTINGS}encoder = "{encoder.as_posix()}"\n'
    )
    make_tiny(encoder, pd.read_parquet(space.products), 1, "test")
    config = json.loads((encoder / "config.json").read_text(encoding="utf-8"))
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (encoder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (space.root / "recipes").mkdir()
    for name, keys in WAYS.items():
        (space.root / "recipes" / f"{name}.toml").write_text(RECIPE + keys, encoding="utf-8")
        result = comp("train", "--fold", "0", "--recipe", name, "-w", space.root)
        assert result.exit_code == 0, result.output
    return space


def files(space: Workspace, run: str) -> list[Path]:
    """What training leaves: the held-out rows' file and the test rows'."""
    return [space.oof_fold(run, 0), space.test_fold(run, 0)]


@pytest.mark.parametrize("run", [name for name in WAYS if name != "plain"])
def test_files_are_the_same_without_the_fast_path(run: str, trained: Workspace) -> None:
    for one, other in zip(files(trained, "plain"), files(trained, run), strict=True):
        expected = pd.read_parquet(one)
        assert len(expected) > 20
        pd.testing.assert_frame_equal(pd.read_parquet(other), expected, rtol=0, atol=1e-5)


class Alone:
    """A saved model read by transformers: one pair at a time as one text, without padding and nothing of ours."""

    def __init__(self, folder: Path) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.encoder = AutoModel.from_pretrained(folder, add_pooling_layer=False).eval()
        self.head = load_file(folder / "relevance.safetensors")

    def linear(self, name: str, x: torch.Tensor) -> torch.Tensor:
        return x @ self.head[f"{name}.weight"].T + self.head[f"{name}.bias"]

    @torch.no_grad()
    def probabilities(self, row: dict[str, Any]) -> list[float]:
        fields = [clean(row[name] or "") for name in FIELD_ORDERS["ptbcbd"]]
        query, product = (
            f"{text}[SEP]" for text in (f"[CLS]{clean(row['query'])}", "[SEP]".join(fields))
        )
        ids, first = (
            self.tokenizer(text, add_special_tokens=False)["input_ids"]
            for text in (query + product, query)
        )
        if len(ids) > LONGEST:
            ids = [*ids[: LONGEST - 1], self.tokenizer.sep_token_id]
        types = [int(i >= len(first)) for i in range(len(ids))]
        state = self.encoder(
            torch.tensor([ids]), token_type_ids=torch.tensor([types])
        ).last_hidden_state[:, 0]
        logits = self.linear("output.output", torch.tanh(self.linear("head.dense", state)))
        return logits.softmax(1)[0].tolist()


@pytest.mark.parametrize("run", ["plain", "lean"])
def test_files_are_what_the_library_makes_of_the_saved_model_and_the_texts(
    run: str, trained: Workspace
) -> None:
    alone = Alone(trained.model(run, "0") / "seed-2022")
    products = pd.read_parquet(trained.products).astype(object)
    rows = (
        pd.read_parquet(trained.examples)
        .astype(object)
        .merge(products, how="left")
        .set_index("example_id")
    )
    rows = rows.where(rows.notna(), None)
    for file in files(trained, run):
        outputs = pd.read_parquet(file).set_index("example_id")
        texts = rows.loc[outputs.index].to_dict("records")
        expected = pd.DataFrame(
            map(alone.probabilities, texts), outputs.index, [f"p_{label}" for label in LABELS]
        )
        pd.testing.assert_frame_equal(outputs, expected, rtol=0, atol=1e-5)
        assert expected["p_exact"].std() > 1e-3  # rows differ by more than that
