"""`comp ablate` through the command: its table against plain arithmetic on the files that it leaves."""

import itertools
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from competition.config.ablation_tables import TABLES, AblationTable, load_table, table_names
from competition.config.encoder_recipe import EncoderRecipe
from competition.core.parquet import read_fingerprint, write_table
from competition.core.workspace import Workspace
from competition.data import store, synthetic
from competition.models.encoder.ranking_losses import RANKING_LOSSES
from competition.scoring.intervals import MIN_QUERIES
from tests.conftest import comp, lines_of, make_workspace, refused
from tests.esci import CONTEST, LABELS

pytestmark = pytest.mark.slow

SETTINGS = """
preset = "tiny"
recipes = ["lexical"]
noise_run = ""
[submission]
task2 = "lexical"
[overrides]
scheme = "five"
max_length = 16
epochs = 1
"""
# For tables whose rows are of other keys.
PLAIN = 'adversary = "none"\nr_drop = 0.0\n'
CLASSES = [f"p_{label}" for label in LABELS]
ABLATION_TABLES: dict[str, AblationTable] = {name: load_table(name).table for name in table_names()}
LOSSES = ("ce", "focal", "ghm", "poly1")


def ablate(workspace: Workspace, *arguments: str) -> str:
    """What `comp ablate` prints."""
    result = comp("ablate", *arguments, "-w", workspace.root)
    assert result.exit_code == 0, result.output
    return result.output


def table(workspace: Workspace, name: str, fold: int | None = 0) -> pd.DataFrame:
    """The table that `comp ablate` wrote."""
    return pd.read_csv(workspace.ablation(name, fold)).set_index("row")


def right(workspace: Workspace, run: str, folds: tuple[int, ...] = (0,)) -> pd.DataFrame:
    """Of each held-out row of a run, its query and whether the most probable class (task 2) is its label."""
    outputs = pd.concat(
        [pd.read_parquet(workspace.oof_fold(run, fold)) for fold in folds]
    ).set_index("example_id")
    examples = pd.read_parquet(workspace.examples).set_index("example_id").loc[outputs.index]
    if "p_substitute" in outputs and "p_exact" not in outputs:
        hit = (outputs["p_substitute"] > 0.5) == examples["substitute"].astype(bool)
    else:
        hit = outputs[CLASSES].idxmax(axis=1).str.removeprefix("p_") == examples["label"]
    return pd.DataFrame({"query_id": examples["query_id"], "hit": hit})


def scatter(workspace: Workspace, run: str, seed: int) -> None:
    """Put random class probabilities in the place of a run's held-out ones: a model of one epoch always says exact."""
    path = workspace.oof_fold(run, 0)
    inputs, outputs = read_fingerprint(path), pd.read_parquet(path)
    assert inputs is not None
    outputs[CLASSES] = np.random.default_rng(seed).dirichlet(np.ones(4), len(outputs))
    write_table(path, outputs, inputs)


@pytest.fixture(scope="module")
def ablated(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A small workspace in which `comp ablate losses --fold 0` has been done once. Tests leave it as it is."""
    workspace = make_workspace(
        tmp_path_factory.mktemp("ablated") / "w", queries=30, settings=SETTINGS
    )
    ablate(workspace, "losses", "--fold", "0")
    return workspace


@pytest.fixture
def own(ablated: Workspace, tmp_path: Path) -> Workspace:
    """A copy of it that a test may change."""
    shutil.copytree(ablated.root, tmp_path / "w")
    return Workspace.open(tmp_path / "w")


# --- the published tables
# ----------------------------------------------------------------------------------------


def test_the_papers_figures() -> None:
    published = sorted(
        (found.number, name) for name, found in ABLATION_TABLES.items() if found.number is not None
    )
    told = {
        name: [(row.name, row.paper) for row in ABLATION_TABLES[name].rows] for _, name in published
    }
    assert told == {
        "pretraining": [
            ("none", None),
            ("mlm", 0.7497),
            ("product2query", 0.7505),
            ("product2brand", 0.7508),
            ("contrastive", 0.7508),
        ],
        "losses": [("ce", 0.7508), ("focal", 0.7473), ("ghm", 0.7485), ("poly1", 0.7521)],
        "methods": [
            ("poly1", 0.7521),
            ("ema", 0.7519),
            ("fgm", 0.7530),
            ("r-drop", 0.7543),
            ("mixup", 0.7543),
        ],
        "noise": [
            ("keep", None),
            ("drop", None),
            ("weight", None),
            ("relabel", None),
            ("distil", None),
        ],
        "char3": [("none", None), ("random", None), ("word2vec", 0.8533), ("frozen", 0.8529)],
    }
    assert ABLATION_TABLES["noise"].rows[1].paper_minus == {
        "rank": 0.005,
        "classify": -0.003,
        "positive": -0.002,
    }
    numbers = [(3, ("classify", "rank")), (4, ("classify",)), (5, ("classify",))]
    numbers += [(6, ("classify", "rank", "positive")), (7, ("positive",))]
    assert [(number, ABLATION_TABLES[name].tasks) for number, name in published] == numbers
    assert [row.paper_mlm for row in ABLATION_TABLES["pretraining"].rows] == [
        None,
        1.966,
        1.969,
        1.978,
        2.047,
    ]


def test_each_row_of_tuning_has_one_more_key() -> None:
    first, *rows = ABLATION_TABLES["tuning"].rows
    plain = EncoderRecipe(
        name="x", adversary="none", r_drop=0.0, mixup=0.0, ema=0.0, pooling="first"
    )
    made = [EncoderRecipe(**plain.model_dump() | row.set) for row in (first, *rows)]
    assert made[0] == plain
    changed = [
        {key for key, value in after.model_dump().items() if value != getattr(before, key)}
        for before, after in itertools.pairwise(made)
    ]
    assert changed == [
        {"pooling"}, {"head_learning_rate"}, {"prior_bias"}, {"warmup_steps"}, {"layer_decay"}, {"max_length"},
        {"schedule"}, {"freeze_embeddings"}, {"freeze_layers"},
    ]  # fmt: skip


def test_each_row_of_ranking_is_a_loss_of_whole_lists() -> None:
    first, *rows = ABLATION_TABLES["ranking"].rows
    plain = EncoderRecipe(name="x", kind="gain")
    assert EncoderRecipe(**plain.model_dump() | first.set) == plain
    made = [EncoderRecipe(**plain.model_dump() | row.set) for row in rows]
    *alone, beside = made
    assert [recipe.ranking_loss for recipe in alone] == list(RANKING_LOSSES)
    assert {recipe.ranking_weight for recipe in alone} == {1.0}
    assert (beside.ranking_loss, beside.ranking_weight) == ("ranknet", 0.5)


def test_each_row_of_pre_training_has_one_more_task() -> None:
    rows = ABLATION_TABLES["pretraining"].rows
    assert {str(row.set) for row in rows} == {str(rows[0].set)}  # the same fine-tuning
    off = {"query": 0.0, "brand": 0.0, "color": 0.0, "contrastive": 0.0}
    on = [{}, {"query": 2.0}, {"brand": 0.5, "color": 0.5}, {"contrastive": 1.0}]
    assert rows[0].pretraining is None
    for row, more in zip(rows[1:], on, strict=True):
        off = off | more
        assert row.pretraining == off


def test_rows_differ_in_what_the_table_is_about() -> None:
    plain = {"ema": 0.0, "adversary": "none", "r_drop": 0.0, "mixup": 0.0}
    assert [row.set for row in ABLATION_TABLES["losses"].rows] == [
        plain | {"loss": loss} for loss in LOSSES
    ]
    added = [
        {"loss": "poly1"},
        {"ema": 0.999},
        {"adversary": "fgm-table", "epsilon": 1.0},
        {"r_drop": 0.5},
        {"mixup": 0.2},
    ]
    so_far = plain
    for row, more in zip(ABLATION_TABLES["methods"].rows, added, strict=True):
        so_far = so_far | more
        assert row.set == so_far
    names, units = ["brand", "color", "country"], ["brand", "color", "country", "char_trigrams"]
    assert [row.set for row in ABLATION_TABLES["char3"].rows] == [
        {"features": names},
        *(
            {"features": units, "char_trigrams_init": start}
            for start in ("random", "word2vec", "frozen")
        ),
    ]


# --- on this workspace
# -------------------------------------------------------------------------------------------


def test_rows_are_runs_over_the_same_queries(ablated: Workspace) -> None:
    found = table(ablated, "losses")
    assert tuple(found.index) == ("all exact", *LOSSES)
    examples = pd.read_parquet(ablated.examples).set_index("example_id")
    asked = examples.loc[right(ablated, "ablate-t2-ce-2022").index]
    assert found.loc["all exact", "score"] == pytest.approx(
        (asked["label"] == "exact").mean(), abs=1e-12
    )
    assert found.loc["all exact", "seeds"] == 0
    found = found.loc[list(LOSSES)]
    assert found["paper"].tolist() == [0.7508, 0.7473, 0.7485, 0.7521]
    assert set(found["task"]) == {"task2"}
    assert set(found["metric"]) == {"micro-F1"}
    for row in LOSSES:
        hits = right(ablated, f"ablate-t2-{row}-2022")
        assert found.loc[row, "score"] == pytest.approx(hits["hit"].mean(), abs=1e-12)
        assert found.loc[row, "queries"] == hits["query_id"].nunique()
    assert (found["seeds"] == 1).all()
    assert found["seed_deviation"].isna().all()
    outputs = [pd.read_parquet(ablated.oof_fold(f"ablate-t2-{row}-2022", 0)) for row in LOSSES]
    assert all((frame["example_id"] == outputs[0]["example_id"]).all() for frame in outputs)
    assert len({frame.to_csv() for frame in outputs}) == 4  # four losses give four models


def test_differences_are_to_the_row_before(own: Workspace) -> None:
    for seed, row in enumerate(LOSSES):
        scatter(own, f"ablate-t2-{row}-2022", seed)
    printed = ablate(own, "losses", "--fold", "0")
    found = table(own, "losses")
    scores = [found.loc["all exact", "score"]]
    scores += [right(own, f"ablate-t2-{row}-2022")["hit"].mean() for row in LOSSES]
    assert len({*scores}) > 2
    assert found["score"].tolist() == pytest.approx(scores, abs=1e-12)
    assert np.isnan(found["minus_before"].iloc[0])
    assert found["minus_before"].tolist()[1:] == pytest.approx(np.diff(scores), abs=1e-12)
    # So few queries have no intervals, and no verdict.
    assert (found["queries"][1:] < MIN_QUERIES).all()
    assert found[["minus_before_low", "minus_before_high"]].isna().all(axis=None)
    for row, score, step in zip(LOSSES, scores[1:], np.diff(scores), strict=True):
        line = next(line for line in printed.splitlines() if line.startswith(f"{row} "))
        assert f"{score:.4f} –" in line
        assert f"{step:+.4f} –" in line
        assert " yes " not in line


def test_losses_of_lists_are_compared_with_that_of_rows(own: Workspace, tmp_path: Path) -> None:
    """Four rows of the table, as a file."""
    names = ["mse", "ranknet", "lambdarank", "mse-ranknet"]
    head, *rows = (TABLES / "ranking.toml").read_text().split("[[row]]")
    kept = [row for row in rows if row.split('"')[1] in names]
    file = tmp_path / "some.toml"
    file.write_text("[[row]]".join([head, *kept]))
    printed = ablate(own, str(file), "--fold", "0")
    assert "minus mse" in printed

    found = table(own, "some")
    assert found.index.tolist() == ["random order", *names]
    assert set(found["task"]) == {"task1"}
    to_first = found.loc[names[1:], "score"] - found.loc["mse", "score"]
    assert found.loc[names[1:], "minus_first"].tolist() == pytest.approx(
        to_first.tolist(), abs=1e-12
    )
    gains = [pd.read_parquet(own.oof_fold(f"ablate-some-r1-{row}-2022", 0)) for row in names]
    assert all((frame["example_id"] == gains[0]["example_id"]).all() for frame in gains)
    assert len({frame.to_csv() for frame in gains}) == 4
    assert "train " not in ablate(own, str(file), "--fold", "0")


def test_a_second_call_trains_nothing_and_says_the_same(ablated: Workspace) -> None:
    def made() -> dict[Path, bytes]:
        files = [
            path
            for folder in ("oof", "models", "reports")
            for path in (ablated.root / folder).rglob("*")
        ]
        return {path: path.read_bytes() for path in files if path.is_file()}

    before = made()  # the logs too, in which every training leaves the time
    assert "train " not in ablate(ablated, "losses", "--fold", "0")
    assert made() == before


def test_more_seeds_go_on_from_the_first(ablated: Workspace, own: Workspace) -> None:
    for seed, row in enumerate(LOSSES):
        scatter(own, f"ablate-t2-{row}-2022", seed)
    printed = ablate(own, "losses", "--fold", "0", "--seeds", "2")
    assert [line for line in lines_of(printed) if line.startswith("train ")] == [
        f"train ablate-t2-{row}-2023 fold 0" for row in LOSSES
    ]
    found = table(own, "losses")
    for row in LOSSES:
        hits, other = (right(own, f"ablate-t2-{row}-{seed}") for seed in (2022, 2023))
        scores = [hits["hit"].mean(), other["hit"].mean()]
        assert found.loc[row, "score"] == pytest.approx(sum(scores) / 2, abs=1e-12)
        assert found.loc[row, "seed_deviation"] == pytest.approx(
            abs(scores[0] - scores[1]) / 2**0.5, abs=1e-12
        )
        one, two = (
            pd.read_parquet(w.oof_fold(f"ablate-t2-{row}-{seed}", 0))
            for w, seed in ((ablated, 2022), (own, 2023))
        )
        assert not np.allclose(one[CLASSES], two[CLASSES])  # the second seed is another model
    assert (found.loc[list(LOSSES), "seeds"] == 2).all()
    assert (found["queries"] == hits["query_id"].nunique()).all()


def test_another_table_reuses_the_rows_that_it_shares(own: Workspace) -> None:
    printed = ablate(own, "methods", "--fold", "0")
    assert [line for line in lines_of(printed) if line.startswith("train ")] == [
        f"train ablate-t2-{row}-2022 fold 0" for row in ("ema", "fgm", "r-drop", "mixup")
    ]
    assert table(own, "methods").loc["poly1", "score"] == table(own, "losses").loc["poly1", "score"]


def test_3_grams_are_judged_on_task_3_over_all_folds(own: Workspace) -> None:
    own.settings_file.write_text(own.settings_file.read_text() + PLAIN)
    ablate(own, "char3")
    found = table(own, "char3", fold=None)
    for row in ("none", "random", "word2vec", "frozen"):
        hits = right(own, f"ablate-t3-{row}-2022", folds=(0, 1, 2, 3, 4))
        examples = pd.read_parquet(own.examples)
        assert sorted(hits.index) == sorted(
            examples.loc[examples["split"] == "train", "example_id"]
        )
        assert found.loc[row, "score"] == pytest.approx(hits["hit"].mean(), abs=1e-12)
        assert found.loc[row, "queries"] == hits["query_id"].nunique()


def test_a_changed_recipe_is_ablated_anew(own: Workspace) -> None:
    text = own.settings_file.read_text()
    own.settings_file.write_text(text.replace("max_length = 16", "max_length = 17"))
    printed = ablate(own, "losses", "--fold", "0")
    assert [line for line in lines_of(printed) if line.endswith("(out of date)")] == [
        f"train ablate-t2-{row}-2022 fold 0 (out of date)" for row in LOSSES
    ]


def test_ablations_are_no_part_of_the_workspaces_own_work(own: Workspace) -> None:
    for command in ("status", "run", "status"):
        result = comp(command, "-w", own.root)
        assert result.exit_code == 0
        assert "lexical" in result.output
        assert "ablate" not in result.output
    assert set(pd.read_csv(own.scores)["run"]) == {
        "lexical",
        "blend-task1",
        "blend-task2",
        "blend-task3",
    }
    assert "There is no recipe" in refused("train", "--recipe", "ablate-t2-ce-2022", "-w", own.root)


def test_pre_training_is_measured_on_tasks_and_titles(tmp_path: Path) -> None:
    quick = "[pretraining]\nmax_length = 32\nbatch_size = 128\n"
    workspace = make_workspace(tmp_path / "w", queries=25, settings=SETTINGS + PLAIN + quick)
    printed = ablate(workspace, "pretraining", "--fold", "0")
    found = pd.read_csv(workspace.ablation("pretraining", 0)).set_index(["task", "row"])
    rows = ["none", "mlm", "product2query", "product2brand", "contrastive"]
    of_task = {task: found.loc[task] for task in ("task2", "task1", "held-out titles")}
    assert list(of_task["task2"].index) == ["all exact", *rows]
    assert list(of_task["task1"].index) == ["random order", *rows]
    titles = of_task["held-out titles"]
    assert list(titles.index) == rows[1:]
    assert set(titles["metric"]) == {"MLM loss"}
    assert titles["paper"].tolist() == [1.966, 1.969, 1.978, 2.047]
    for row in rows[1:]:
        folder = workspace.encoder(f"ablate-pretrained-{row}-2022")
        held_out = pd.read_parquet(folder / "held_out.parquet")
        assert titles.loc[row, "score"] == pytest.approx(
            held_out["loss_1"].sum() / held_out["masked"].sum(), abs=1e-9
        )
    differences = titles["score"] - titles.loc["mlm", "score"]
    assert titles["minus_first"].tolist()[1:] == pytest.approx(differences.tolist()[1:], abs=1e-9)
    for row in rows:
        hits = right(workspace, f"ablate-t2-{row}-2022")
        assert of_task["task2"].loc[row, "score"] == pytest.approx(hits["hit"].mean(), abs=1e-12)
    assert printed.count("contrastive minus none") == 2
    assert "contrastive minus mlm" in printed


def test_what_does_not_exist_is_refused(ablated: Workspace) -> None:
    sentence = refused("ablate", "loses", "-w", ablated.root)
    known = ", ".join(table_names())
    assert sentence == (
        f"There is no table 'loses' (did you mean 'losses'?): known are {known}, a file NAME.toml."
    )
    assert "Fold 5 does not exist" in refused("ablate", "losses", "--fold", "5", "-w", ablated.root)
    assert "Fold -1 does not exist" in refused(
        "ablate", "losses", "--fold", "-1", "-w", ablated.root
    )


def test_a_table_needs_an_encoder_to_start_from(own: Workspace) -> None:
    (own.root / "recipes").mkdir()
    for content in ('model = "lexical"', 'kind = "gain"', 'kind = "substitute"'):
        (own.root / "recipes" / "t2.toml").write_text(content)
        assert "'t2', which must be an encoder made for task2" in refused(
            "ablate", "losses", "-w", own.root
        )


def test_a_table_needs_labels_of_its_task(tmp_path: Path) -> None:
    examples, products, _ = synthetic.make(30, noise=0.0, seed=7)
    workspace = make_workspace(tmp_path / "w", queries=30, settings=SETTINGS)
    store.save(
        workspace, CONTEST, examples.assign(task1=True, task2=False, task3=False), products, "test"
    )
    assert "task2, of which the data have no labelled training row" in refused(
        "ablate", "losses", "-w", workspace.root
    )
