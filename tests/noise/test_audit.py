"""The audit finds planted noise by id, drops no more than it may, and says what it cannot work with."""

import numpy as np
import pandas as pd
import pytest

from competition.core.errors import CompError
from competition.noise.actions import dropped_ids
from competition.noise.audit import Audit, audit_labels
from competition.noise.plan import AuditPlan
from competition.noise.quotas import within_quota
from competition.noise.report import audit_card, caveat, count_issues
from competition.scoring.definition import build_contest
from competition.scoring.definition_tables import Definition
from tests.esci import KINDS, LABELS, LOCALES, label_codes
from tests.noise.made import OUTPUTS, Planted, audit_keys, planted

PLAN = AuditPlan("lexical", (), audit_keys(), "made from this")
METHODS = ("prune_by_noise_rate", "low_self_confidence", "confident_learning", "both", "posterior")


@pytest.mark.parametrize("calibrated", [False, True])
@pytest.mark.parametrize("method", METHODS)
def test_planted_noise_is_found(method: str, calibrated: bool) -> None:
    rows = planted()
    flags = rows.audit(fraction=0.1, method=method, calibrated=calibrated).flags
    assert set(dropped_ids(flags)) == set(rows.wrong)
    ranked = flags.dropna(subset="rank").sort_values("rank")
    assert ranked["rank"].tolist() == list(range(1, len(rows.wrong) + 1))
    assert (ranked["suggested"] != ranked["given"]).all()


def test_the_paper_s_method_is_cleanlab_s() -> None:
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    rows = planted(sure=0.3)  # unsure, so that right labels are flagged, too
    ordered = rows.examples.merge(rows.outputs).sort_values("example_id", ignore_index=True)
    given, probabilities = label_codes(ordered["label"]), ordered[OUTPUTS].to_numpy()
    expected = find_label_issues(
        given,
        probabilities,
        filter_by="prune_by_noise_rate",
        return_indices_ranked_by="normalized_margin",
        n_jobs=1,
    )
    flags = rows.audit(fraction=0.02).flags
    worst = flags.dropna(subset="rank").sort_values("rank")
    assert worst["example_id"].tolist() == ordered["example_id"].iloc[expected].tolist()
    assert worst["dropped"].tolist() == [True] * 16 + [False] * (len(expected) - 16)
    np.testing.assert_allclose(flags["quality"], get_label_quality_scores(given, probabilities))
    np.testing.assert_allclose(flags["confidence"], probabilities.max(axis=1))


def test_no_more_than_the_fraction_is_dropped_and_the_worst_go_first() -> None:
    flags = planted().audit(fraction=0.02).flags
    assert flags["dropped"].sum() == int(0.02 * 800)
    assert flags.loc[flags["dropped"], "rank"].max() == flags["dropped"].sum()


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("method", METHODS)
def test_order_of_rows_changes_nothing(method: str, seed: int) -> None:
    rows = planted(sure=0.4)
    others = planted(seed=0, sure=0.5).outputs
    keys = audit_keys(method=method, calibrated=seed % 2 == 1, per_label=seed % 3 == 0)
    one = audit_labels([rows.outputs, others], KINDS["classes"], rows.examples, rows.fold, keys)
    shuffled = [
        each.sample(frac=1, random_state=seed) for each in (rows.outputs, others, rows.examples)
    ]
    other = audit_labels(
        shuffled[:2],
        KINDS["classes"],
        shuffled[2],
        rows.fold.sample(frac=1, random_state=seed),
        keys,
    )
    pd.testing.assert_frame_equal(one.flags, other.flags)
    np.testing.assert_array_equal(one.joint, other.joint)


def test_rows_that_are_equally_bad_are_ranked_by_their_id() -> None:
    rows = planted()
    sure = np.where(rows.outputs[OUTPUTS] > 0.5, 0.85, 0.05)
    outputs = rows.outputs.assign(**dict(zip(OUTPUTS, sure.T, strict=True)))
    flags = Planted(outputs, rows.examples, rows.fold, rows.wrong).audit().flags
    worst = flags.dropna(subset="rank").sort_values("rank")
    assert worst["example_id"].tolist() == sorted(rows.wrong)


def test_only_labelled_rows_of_the_folds_are_audited() -> None:
    rows = planted()
    examples = rows.examples.assign(label=rows.examples["label"].mask(np.arange(800) % 10 == 3))
    flags = audit_labels(
        [rows.outputs], KINDS["classes"], examples, rows.fold[rows.fold != 2], audit_keys()
    ).flags
    expected = [
        id
        for id, label in examples[["example_id", "label"]].itertuples(index=False)
        if rows.fold[id] != 2 and pd.notna(label)
    ]
    assert flags["example_id"].tolist() == sorted(expected)


def test_the_joint_counts_the_given_labels_and_the_noise_matrix_their_shares() -> None:
    rows = planted()
    found = rows.audit()
    counts = rows.examples["label"].value_counts()
    np.testing.assert_allclose(found.joint.sum(axis=1), [counts[label] for label in LABELS])
    np.testing.assert_allclose(found.noise.sum(axis=0), 1)
    # All planted errors are given the label behind the true one.
    off = {
        (given, true)
        for given in range(4)
        for true in range(4)
        if given != true and found.joint[given, true] > 0
    }
    assert off == {((true + 1) % 4, true) for true in range(4)}


# --- bad input
# ---------------------------------------------------------------------------------------------------


def test_a_label_that_never_occurs_is_named() -> None:
    rows = planted()
    kept = rows.examples[rows.examples["label"] != "complement"]
    with pytest.raises(CompError, match="No audited row is labelled 'complement'"):
        Planted(rows.outputs, kept, rows.fold, rows.wrong).audit()


def test_a_label_that_is_missing_from_a_fold_is_named() -> None:
    rows = planted()
    in_fold = rows.fold.loc[rows.examples["example_id"]].to_numpy() == 3
    kept = rows.examples[~(in_fold & (rows.examples["label"] == "irrelevant"))]
    with pytest.raises(CompError, match="No audited row of fold 3 is labelled 'irrelevant'"):
        Planted(rows.outputs, kept, rows.fold, rows.wrong).audit()


def test_one_label_alone_is_refused() -> None:
    rows = planted()
    with pytest.raises(
        CompError, match="Every audited row is labelled 'exact': an audit needs rows of every label"
    ):
        Planted(rows.outputs, rows.examples.assign(label="exact"), rows.fold, rows.wrong).audit()
    with pytest.raises(CompError, match="No row is audited"):
        Planted(rows.outputs.head(0), rows.examples, rows.fold, rows.wrong).audit()


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (np.nan, "The probabilities of model 1: 1 rows are not finite"),
        (0.7, "1 rows of probabilities do not sum to 1"),
    ],
)
def test_probabilities_that_are_none_are_named(value: float, sentence: str) -> None:
    rows = planted()
    outputs = rows.outputs.copy()
    outputs.loc[5, "p_exact"] = value + outputs.loc[5, "p_exact"]
    with pytest.raises(CompError, match=f"{sentence}, the first is {outputs['example_id'][5]}"):
        Planted(outputs, rows.examples, rows.fold, rows.wrong).audit()


# --- tables
# ------------------------------------------------------------------------------------------------------


def test_summary_counts_by_label_and_locale() -> None:
    rows = planted()
    table = count_issues(rows.audit(fraction=0.02).flags, rows.examples, LABELS, LOCALES)
    assert list(table.index[:4]) == [f"label {name}" for name in LABELS]
    assert table.loc["all", "rows"] == 800
    assert (
        table.loc[[f"label {name}" for name in sorted(LABELS)], "dropped"].sum()
        == table.loc["all", "dropped"]
        == 16
    )


# --- doubts
# ------------------------------------------------------------------------------------------------------


def test_a_sound_audit_has_no_doubt() -> None:
    found = planted().audit(fraction=0.1)
    assert found.doubts == []
    assert found.flags["dropped"].sum() == 40
    assert caveat(audit_card(PLAN, found, 800, LABELS)) is None


def test_an_audit_that_takes_more_than_a_quarter_of_a_label_drops_nothing() -> None:
    """50 of the 80 rows of one label are of another, and the models see half of these."""
    rows = planted(wrong=0)
    given = rows.examples["label"].to_numpy(copy=True)
    other, own = (np.flatnonzero(given == label) for label in LABELS[:2])
    kept = np.setdiff1d(np.arange(800), own[30:])
    given[other[:50]] = LABELS[1]
    examples = rows.examples.assign(label=given).iloc[kept]
    doubted, obeyed = (
        Planted(rows.outputs, examples, rows.fold, rows.wrong).audit(
            fraction=0.1, despite_doubts=despite
        )
        for despite in (False, True)
    )
    lost = obeyed.flags["dropped"].sum()
    assert lost > 80 / 4
    assert (
        doubted.doubts
        == obeyed.doubts
        == [f"{lost} of 80 rows labelled 'substitute' would be dropped"]
    )
    assert doubted.flags["dropped"].sum() == 0
    assert doubted.flags["rank"].notna().sum() == lost  # people still see them
    said = caveat(audit_card(PLAN, doubted, 800, LABELS))
    assert said is not None
    assert (
        "training drops no rows. noise_despite_doubts = true in competition.toml drops them" in said
    )


def test_models_that_are_no_better_than_one_answer_are_doubted() -> None:
    rows = planted()
    examples = rows.examples.assign(
        label=np.where(np.arange(800) % 4 == 0, rows.examples["label"], "exact")
    )
    found = Planted(rows.outputs, examples, rows.fold, rows.wrong).audit()
    assert any("one answer for all" in doubt for doubt in found.doubts)
    assert found.flags["dropped"].sum() == 0


def test_a_skipped_audit_has_no_row_and_says_why() -> None:
    found = Audit.skipped(4)
    assert found.flags.empty
    assert dropped_ids(found.flags).dtype == np.int64
    said = caveat(
        audit_card(
            PLAN,
            found,
            800,
            LABELS,
            "No audited row is labelled 'exact': an audit needs rows of every label.",
        )
    )
    assert said == (
        "it is skipped, and training goes on without it. "
        "No audited row is labelled 'exact': an audit needs rows of every label."
    )


@pytest.mark.parametrize("hundredths", range(1, 50))
def test_quotas_are_the_share_in_decimals(hundredths: int) -> None:
    """Of 100 rows, 0.29 are 29, though the product of the two is 28.999999999999996."""
    worst, same = np.arange(100), pd.Series(["exact"] * 100)
    dropped = within_quota(worst, same, same, audit_keys(fraction=hundredths / 100))
    assert dropped.sum() == hundredths
    assert dropped[:hundredths].all()


@pytest.mark.parametrize("labels", [2, 3, 5])
@pytest.mark.parametrize("method", ["prune_by_noise_rate", "posterior"])
def test_planted_noise_is_found_among_any_number_of_labels(labels: int, method: str) -> None:
    levels = {"fields": ["title"], "labels": {"levels": list(range(labels))}}
    tasks = {"rating": {"kind": "rate", "metric": "rmse", "answer": ["id", "label"]}}
    contest = build_contest("made", Definition.model_validate({**levels, "tasks": tasks}), "made")
    kind = contest.kind("classes")

    rng = np.random.default_rng(0)
    true = rng.integers(0, labels, 400)
    odds = np.eye(labels)[true] + 0.2 * rng.random((400, labels))
    outputs = pd.DataFrame(odds / odds.sum(axis=1, keepdims=True), columns=list(kind.outputs))
    given = true.copy()
    given[:12] = (true[:12] + 1) % labels
    examples = pd.DataFrame(
        {"example_id": np.arange(400), "label": given.astype(str), "locale": ""}
    )
    fold = pd.Series(np.arange(400) % 5)

    outputs.insert(0, "example_id", examples["example_id"])
    keys = audit_keys(method=method, fraction=0.05, per_locale=True)
    found = audit_labels([outputs], kind, examples, fold, keys)
    assert found.joint.shape == (labels, labels)
    assert not found.doubts
    dropped = set(found.flags.loc[found.flags["dropped"], "example_id"])
    assert dropped <= set(range(12))  # no right label; how many is estimated
    assert len(dropped) >= 6
    table = count_issues(found.flags, examples, contest.labels.names, contest.locale_names)
    assert table.index.tolist() == [*(f"label {i}" for i in range(labels)), "all"]
