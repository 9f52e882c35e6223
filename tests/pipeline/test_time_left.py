"""The place of a step and the time left are of what is built, without holes."""

from competition.pipeline.time_left import TimeLeft

NAMES = ["folds five", "train c1 fold 0", "train c1 fold 1", "train c1 fold 2", "score c1"]


def built(left: TimeLeft, name: str) -> str:
    """Build a step; return its place."""
    place = left.place(name)
    with left.timed(name):
        pass
    return place


def test_places_have_no_holes_whatever_is_skipped() -> None:
    left = TimeLeft(NAMES)
    assert [built(left, name) for name in NAMES[:2]] == ["[1/5]", "[2/5]"]
    left.skip("train c1 fold 1")  # by another command
    assert built(left, "train c1 fold 2") == "[3/4]"
    assert built(left, "predict c1 fold 2") == "[4/5]"  # which should have come along
    assert built(left, "score c1") == "[5/5]"


def test_a_step_takes_as_long_as_the_last_of_its_kind() -> None:
    left = TimeLeft(NAMES)
    assert left.sentence() == "5 steps of unknown time left"
    built(left, "folds five")
    built(left, "train c1 fold 0")
    # The other two folds are known to take no second, the card of the run is unknown.
    assert left.sentence() == "0:00:00 and 1 step of unknown time left"
    for name in NAMES[2:4]:
        built(left, name)
    left.skip("score c1")
    assert left.sentence() == "done"


def test_of_nested_models_each_pair_of_folds_takes_as_long() -> None:
    left = TimeLeft(["train c1 without folds 0 and 1", "train c1 without folds 0 and 2"])
    built(left, "train c1 without folds 0 and 1")
    assert left.sentence() == "0:00:00 left"


def test_where_more_may_follow_neither_number_nor_time_is_said() -> None:
    left = TimeLeft(open_ended=True)
    assert [built(left, name) for name in NAMES[:2]] == ["[1]", "[2]"]
    assert left.place("train c1 fold 1", running=2) == "[5]"
    assert left.sentence() == ""
