"""`comp export`: what it writes, what it compares, and what it refuses."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import competition
from competition.core.errors import CompError, InputError
from competition.core.json_files import read_json
from competition.core.workspace import Workspace
from competition.models.exported.folder import FolderCard, exported_files
from competition.pipeline.exporting.certificate import SAME, Form, order_changes
from competition.pipeline.exporting.choice import choose
from competition.pipeline.folder_scorer import FolderScorer
from competition.pipeline.steps import Pipeline
from tests.conftest import comp, refused
from tests.pipeline.exported import copy_of

Made = tuple[Workspace, Path]


def test_the_certificate_says_what_was_compared(exported: Made) -> None:
    workspace, folder = exported
    certificate = read_json(folder / "certificate.json")
    tests = pd.read_parquet(workspace.examples).query("split == 'test'")
    rows = certificate["rows"]
    assert (rows["count"], rows["where"]) == (len(tests), "test rows")

    forms = {form["name"]: form for form in certificate["forms"]}
    assert {"transformers", "sentence-transformers"} <= {*forms, *certificate["refused"]}
    assert forms["transformers"]["max_abs_difference"] <= forms["transformers"]["tolerance"] == 1e-5
    assert forms["transformers"]["order_changes"] == 0 < forms["transformers"]["pairs"]
    # What the run wrote when it was trained, in fp32.
    stored = certificate["stored_outputs"]
    assert stored["file"] == "oof/served/test-0.parquet"
    assert stored["max_abs_difference"] < 1e-5


def test_the_model_card_states_the_figures_of_the_run_and_the_certificate(exported: Made) -> None:
    workspace, folder = exported
    card = (folder / "README.md").read_text(encoding="utf-8")
    certificate = read_json(folder / "certificate.json")
    train = pd.read_parquet(workspace.examples).query("split == 'train'")

    assert f"{len(train):,} labelled pairs of {train['query_id'].nunique()} queries" in card
    for locale, count in train["locale"].value_counts().items():
        assert f"{count} {locale}" in card
    for form in certificate["forms"]:
        moved = f"{form['order_changes']:,} of {form['pairs']:,}"
        gap = f"{form['max_abs_difference']:.1e}"
        assert (
            f"| {form['name']} | `{form['folder']}` | {form['rows']:,} | {gap} | {moved} |" in card
        )
    assert "license: apache-2.0" in card.split("---")[1]
    assert "at most 32 tokens" in card
    # One fold has no out-of-fold score.
    assert "The folds were not trained, so there are none." in card
    example = re.search(r"- query: `(.*)`", card)
    assert example is not None
    assert example[1] in set(pd.read_parquet(workspace.examples)["query"])


def test_the_python_of_the_model_card_runs(exported: Made) -> None:
    _, folder = exported
    card = (folder / "README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    if "not installed" in card:
        pytest.skip("sentence-transformers is not installed")
    exec(compile(block.replace("FOLDER", str(folder)), "README.md", "exec"), {})


def test_a_folder_answers_without_its_workspace_as_the_run_does(
    exported: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, folder = exported
    tests = pd.read_parquet(workspace.examples).query("split == 'test'")
    rows = tests.merge(pd.read_parquet(workspace.products), on=["locale", "product_id"], how="left")
    stored = pd.read_parquet(workspace.test_fold("served", 0)).set_index("example_id")

    monkeypatch.chdir(tmp_path)
    model = competition.load(str(folder))
    classes = model.classify(rows["query"].tolist(), rows.drop(columns="query"))
    expected = stored.loc[rows["example_id"]].to_numpy()
    np.testing.assert_allclose(classes[list(stored)].to_numpy(), expected, atol=1e-5)
    gains = np.array([1.0, 0.1, 0.01, 0.0])
    scores = model.score(rows["query"].tolist(), rows.drop(columns="query"))
    np.testing.assert_allclose(scores, expected @ gains, atol=1e-5)


def test_a_folder_has_locales_tasks_and_orders_of_fields_in_the_order_of_its_definition(
    exported: Made,
) -> None:
    workspace, folder = exported
    own, contest = FolderScorer(folder).contest, Pipeline(workspace).plan.contest
    assert own.locale_names == contest.locale_names == ("us", "es", "jp")
    assert [*own.tasks] == [*contest.tasks]
    assert [*own.field_orders] == [*contest.field_orders]

    # JSON sorts names, so that the order is kept beside them.
    card = FolderCard.read(folder)
    backwards = replace(card, orders={"tasks": ("task3", "task2", "task1")}).read_contest()
    assert [*backwards.tasks] == ["task3", "task2", "task1"]
    assert [*replace(card, orders={}).read_contest().tasks] == [*contest.tasks]  # as it was


def test_plain_titles_score_as_a_frame_of_them_does(exported: Made) -> None:
    model = competition.load(str(exported[1]))
    titles = ["USB-C <b>cable</b>", "Garden hose", "USB-C <b>cable</b>", ""]
    plain = model.score("usb cable", titles)
    framed = model.score("usb cable", pd.DataFrame({"product_title": titles}))
    np.testing.assert_allclose(plain, framed, atol=1e-6)
    assert plain[0] == plain[2]  # a row that is there twice
    assert model.score("usb cable", titles[:1], "us")[0] == pytest.approx(plain[0], abs=1e-6)


def test_one_label_orders_rows_as_the_expected_gain_does(exported: Made) -> None:
    _, folder = exported
    form = next(
        f for f in read_json(folder / "certificate.json")["forms"] if f["name"] == "one label"
    )
    assert form["order_changes"] < form["pairs"] / 10
    assert form["scores"]["task1"]["value"] > -0.005
    config = json.loads((folder / "one-label" / "config.json").read_text())
    assert config["id2label"] == {"0": "gain"}
    assert config["sentence_transformers"]["activation_fn"].endswith("Sigmoid")


def test_what_no_server_loads_is_refused_with_the_keys_and_the_way(exported: Made) -> None:
    workspace, folder = exported
    space = ("-w", workspace.root)
    sentence = refused("export", "c1", folder, *space)
    assert "'c1'" in sentence
    assert "features = ['brand', 'color', 'country']" in sentence
    assert "`servable = true`" in sentence
    assert 'architecture = "bi-encoder"' in refused("export", "b1", folder, *space)
    assert "trees on text features" in refused("export", "lexical", folder, *space)
    assert "combines several models" in refused("export", "blend", folder, *space)
    assert "no model 'fold-0'" in refused("export", "served", folder, "--model", "fold-0", *space)
    for model, missing in (("auto", "fold-1"), ("2", "fold-2"), ("all", "all")):
        result = comp("export", "served", folder, "--model", model, *space)
        assert result.exit_code == 1
        assert f"models/served/{missing} is missing or out of date: `comp train" in result.stderr
    # What was there is left alone.
    assert "holds something else" in refused("export", "served", workspace.root, *space)


def test_a_place_where_no_folder_can_be_is_refused_at_once(
    exported: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    export = ("export", "served", "--model", "0", "-w", exported[0].root)
    for place in ("../file", "../file/model"):
        assert "file is a file: choose another folder" in refused(*export, place)
    for place in (".", "..", tmp_path / "here"):
        assert "is the folder you are in, or above it: name one in it." in refused(*export, place)
    for licence in ("two words", "mit\ntags:", '"'):
        assert "is not the name of a licence" in refused(*export, "m", "--licence", licence)
    assert list(tmp_path.rglob("*")) == [tmp_path / "file", tmp_path / "here"]


def test_an_export_replaces_another_but_nothing_beside_it(exported: Made, tmp_path: Path) -> None:
    export = ("export", "served", "--model", "0", "-w", exported[0].root)
    target = copy_of(exported[1], tmp_path / "model")
    for name in ("LICENSE", ".git/config", "train.py"):
        (target / name).parent.mkdir(exist_ok=True)
        (target / name).write_text("mine")
        assert f"holds {name}, which its certificate does not name" in refused(*export, target)
        assert (target / name).read_text() == "mine"
        (target / name).unlink()

    # What was damaged is written again, through a link to the folder, too.
    (target / "tokenizer.json").unlink()
    (target / "config.json").write_text("{")
    (tmp_path / "link").symlink_to(target)
    assert comp(*export, tmp_path / "link").exit_code == 0
    assert (tmp_path / "link").is_symlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "model"]
    for name in exported_files(exported[1]):
        assert (target / name).read_bytes() == (exported[1] / name).read_bytes(), name


def test_a_form_that_differs_leaves_no_folder(
    exported: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from competition.models.exported.runner import TorchRunner

    right = TorchRunner.logits
    monkeypatch.setattr(TorchRunner, "logits", lambda self, pairs: right(self, pairs) * 1.01)
    result = comp("export", "served", tmp_path / "m", "--model", "0", "-w", exported[0].root)
    assert result.exit_code == 1
    assert (
        "The export differs from the run in transformers (outputs differ by up to" in result.stderr
    )
    assert list(tmp_path.iterdir()) == []


def test_pairs_that_change_places_are_counted_without_ties() -> None:
    queries = np.array([1, 1, 1, 2, 2])
    scores = np.array([0.9, 0.5, 0.5, 0.3, 0.1])  # the tie of query 1 is no pair
    assert order_changes(queries, scores, scores) == (0, 2 + 1)
    assert order_changes(queries, scores, np.array([0.4, 0.5, 0.1, 0.1, 0.3])) == (1 + 1, 3)


@pytest.mark.slow
def test_the_mean_of_the_folds_is_measured_and_the_model_of_all_rows_goes_first(
    exported: Made, tmp_path: Path
) -> None:
    import shutil

    workspace = Workspace(shutil.copytree(exported[0].root, tmp_path / "w"))
    assert comp("train", "--recipe", "served", "-w", workspace.root).exit_code == 0
    pipeline = Pipeline(workspace)
    recipe = pipeline.plan.recipes.member("served")
    choice = choose(pipeline.plan, pipeline.tables, recipe)
    measured = choice.evidence
    nearest = min(measured["distance_of_folds"])
    is_average = measured["distance_of_average"] <= nearest and all(
        each["value"] >= -0.005 for each in measured["average_minus_mean_of_folds"].values()
    )
    expected = str(measured["distance_of_folds"].index(nearest))
    assert choice.name == ("average" if is_average else expected)

    target = tmp_path / "m"
    assert comp("export", "served", target, "--model", "0", "-w", workspace.root).exit_code == 0
    card = read_json(workspace.run_card("served"))["scores"]["task1"]["nDCG"]["all"]
    line = f"| task1 | nDCG | out-of-fold | {card['value']:.4f} | [{card['low']:.4f}, {card['high']:.4f}]"
    assert line in (target / "README.md").read_text(encoding="utf-8")

    assert comp("train", "--all", "--recipe", "served", "-w", workspace.root).exit_code == 0
    pipeline = Pipeline(workspace)
    assert choose(pipeline.plan, pipeline.tables, recipe).name == "all"


@pytest.mark.slow
def test_graphs_are_the_same_in_fp32_and_compared_by_scores_in_int8(
    exported: Made, tmp_path: Path
) -> None:
    pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")
    pytest.importorskip("onnxscript", reason="the extra `export` is not installed")
    words = ("export", "served", tmp_path / "m", "--model", "0", "--onnx")
    result = comp(*words, "-w", exported[0].root)
    assert result.exit_code == 0, result.output
    certificate = read_json(tmp_path / "m" / "certificate.json")
    forms = {form["name"]: form for form in certificate["forms"]}
    assert forms["ONNX"]["max_abs_difference"] <= 1e-4
    assert forms["ONNX"]["order_changes"] == 0

    for name in ("ONNX int8, dynamic", "ONNX int8, static"):
        if name in forms:
            scores = forms[name]["scores"]
            assert min(score["value"] for score in scores.values()) >= -0.005
            assert (tmp_path / "m" / forms[name]["folder"]).is_file()
        else:
            assert "it loses -0.0" in certificate["refused"][name]
    kept = {path.name for path in (tmp_path / "m" / "onnx").iterdir()}
    named = {Path(f["folder"]).name for f in forms.values() if f["folder"].startswith("onnx/")}
    assert kept == named
    for path in (tmp_path / "m" / "onnx").iterdir():  # nothing of the machine that wrote it
        assert b"site-packages" not in path.read_bytes()
        assert str(Path(competition.__file__).parent).encode() not in path.read_bytes()

    served = FolderScorer(tmp_path / "m", "onnx").score("red lamp", ["Lamp", "Red lamp"])
    plain = FolderScorer(tmp_path / "m").score("red lamp", ["Lamp", "Red lamp"])
    np.testing.assert_allclose(served, plain, atol=1e-4)


def test_a_form_that_is_not_there_is_refused(exported: Made) -> None:
    pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")
    pytest.importorskip("onnxscript", reason="the extra `export` is not installed")
    with pytest.raises(InputError, match=r"has no onnx/model_int8_dynamic\.onnx: write it with"):
        FolderScorer(exported[1], "int8-dynamic")
    with pytest.raises(InputError, match=r"no form 'int8'.*known are torch, onnx, int8-dynamic"):
        FolderScorer(exported[1], "int8")


@pytest.mark.parametrize("tolerance", [SAME, None])
def test_outputs_that_are_not_finite_are_a_fault(tolerance: float | None) -> None:
    # NaN is not more than any limit.
    form = Form("torch", "", 2, 1, float("nan"), 0, 1, tolerance, {})
    assert form.fault == "some outputs are not finite"


def test_the_model_of_the_first_of_several_seeds_is_said_to_be_that(
    exported: Made, capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline = Pipeline(exported[0])
    recipe = pipeline.recipes.member("served").model_copy(update={"seeds": (7, 3)})
    with pytest.raises(CompError, match="is missing or out of date"):
        choose(pipeline.plan, pipeline.tables, recipe, "0")
    assert "averages the outputs of 2 seeds, and an export is one model: that of the first, 7." in (
        capsys.readouterr().err
    )
