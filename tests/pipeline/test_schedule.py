"""Which steps begin side by side: behind their needs, within jobs, GPUs and memory; and how long that takes."""

from dataclasses import replace
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from benchmarks.arithmetic import Assumptions
from benchmarks.schedule import published, simulated
from competition.pipeline.execute import Step
from competition.pipeline.schedule import Machine, Schedule, chains, needs_among, simulate

ROOMY = Machine(jobs=8, gpus=0, memory=10, threads=1)


def step(name: str, *needs: Step, shared: bool = False) -> Step:
    return Step(name, name, needs, lambda: None, lambda: None, shared=shared)


def names(schedule: Schedule) -> list[str]:
    return [each.name for each in schedule.startable()]


def test_steps_begin_behind_what_they_need() -> None:
    folds = step("folds")
    left, right = step("left", folds), step("right", folds)
    schedule = Schedule([folds, left, right, step("end", left, right)], ROOMY, {})
    assert names(schedule) == ["folds"]
    schedule.begin(folds)
    assert names(schedule) == []
    schedule.finish(folds)
    assert names(schedule) == ["left", "right"]
    schedule.begin(left)
    schedule.begin(right)
    schedule.finish(right)
    assert names(schedule) == []
    schedule.finish(left)
    assert names(schedule) == ["end"]


def test_a_step_waits_for_what_it_needs_through_steps_that_are_done() -> None:
    folds = step("folds")
    audit = step("audit", step("train", folds))
    assert needs_among({"folds": folds, "audit": audit}) == {"folds": set(), "audit": {"folds"}}
    assert names(Schedule([folds, audit], ROOMY, {})) == ["folds"]


def test_what_other_trainings_wait_for_begins_first() -> None:
    """A recipe of three folds, then one of two whose audit a third recipe reads."""
    plain = [step(f"train a {k}", shared=True) for k in range(3)]
    audited = [step(f"train b {k}", shared=True) for k in range(2)]
    audit = step("audit", *audited)
    steps = [*plain, *audited, audit, step("train c", audit, shared=True)]
    assert chains(steps, lambda each: float(each.shared)) == {
        **{each.name: 1.0 for each in plain},
        **{each.name: 2.0 for each in audited},
        "audit": 1.0,
        "train c": 1.0,
    }
    schedule = Schedule(steps, replace(ROOMY, gpus=3), {})
    assert names(schedule) == [each.name for each in (*audited, *plain)]
    # Six trainings of an hour; after the three of the first recipe, there would be two more hours.
    assert simulate(schedule, lambda each: float(each.shared)) == 6 / 3


def test_no_more_steps_run_than_jobs_gpus_and_memory_allow() -> None:
    large, small, huge = step("large"), step("small"), step("huge")
    memory = {"large": 7, "small": 3, "huge": 99}
    schedule = Schedule([large, huge, small], ROOMY, memory)
    schedule.begin(large)
    assert names(schedule) == ["small"]  # 7 + 3 of 10
    schedule.begin(small)
    schedule.finish(large)
    assert names(schedule) == []
    schedule.finish(small)
    assert names(schedule) == ["huge"]  # alone, whatever its forecast

    trains = [step(f"train {k}", shared=True) for k in range(3)]
    one_gpu = Schedule([*trains, step("folds")], replace(ROOMY, gpus=1), {})
    one_gpu.begin(trains[0])
    assert names(one_gpu) == ["folds"]

    two_jobs = Schedule(trains, replace(ROOMY, jobs=2), {})
    two_jobs.begin(trains[0])
    two_jobs.begin(trains[1])
    assert names(two_jobs) == []


def test_the_time_of_a_schedule() -> None:
    folds = step("folds")
    trains = [step(f"train {k}", folds) for k in range(3)]
    steps = [folds, *trains, step("scores", *trains)]
    seconds = {"folds": 1.0, "train 0": 4.0, "train 1": 5.0, "train 2": 3.0, "scores": 2.0}

    def time(jobs: int) -> float:
        machine = replace(ROOMY, jobs=jobs)
        return simulate(Schedule(steps, machine, {}), lambda step: seconds[step.name])

    assert time(1) == 1 + 4 + 5 + 3 + 2
    assert time(2) == 1 + max(5, 4 + 3) + 2
    assert time(3) == 1 + 5 + 2


@given(
    st.lists(
        st.tuples(st.floats(0, 10), st.lists(st.integers(0, 20), max_size=3)),
        min_size=1,
        max_size=12,
    ),
    st.integers(1, 4),
)
def test_no_schedule_takes_less_than_its_bounds_or_more_than_one_after_another(
    drawn: list[tuple[float, list[int]]], jobs: int
) -> None:
    steps: list[Step] = []
    longest: list[float] = []  # the path that ends in each step
    for number, (seconds, needs) in enumerate(drawn):
        before = sorted({need % number for need in needs}) if number else []
        steps.append(step(str(number), *(steps[k] for k in before)))
        longest.append(seconds + max((longest[k] for k in before), default=0.0))

    total = sum(seconds for seconds, _ in drawn)
    schedule = Schedule(steps, replace(ROOMY, jobs=jobs), {})
    taken = simulate(schedule, lambda each: drawn[int(each.name)][0])
    assert taken >= max(max(longest), total / jobs) - 1e-9
    # Graham's bound of list scheduling.
    assert taken <= total / jobs + (1 - 1 / jobs) * max(longest) + 1e-9


def test_steps_share_gpus_by_parts_or_take_several() -> None:
    trains = [step(f"train {k}", shared=True) for k in range(12)]

    def side_by_side(gpus: int, each: float) -> int:
        schedule = Schedule(trains, replace(ROOMY, jobs=99, gpus=gpus, gpus_each=each), {})
        begun = 0
        while (first := next(schedule.startable(), None)) is not None:
            schedule.begin(first)
            begun += 1
        return begun

    assert side_by_side(1, 0.1) == 10
    assert side_by_side(2, 0.5) == 4
    assert side_by_side(5, 2) == 5 // 2


def test_a_step_that_is_put_back_begins_before_others() -> None:
    left, right, end = step("left"), step("right"), step("end")
    schedule = Schedule([left, right, end], ROOMY, {})
    schedule.begin(left)
    schedule.begin(right)
    schedule.put_back(right)
    assert names(schedule) == ["right", "end"]


def test_the_published_eight_runs_are_within_a_tenth_of_the_lower_bound(tmp_path: Path) -> None:
    seconds = published(tmp_path / "w", Assumptions())
    folds = [each for each in seconds.values() if each]
    assert len(folds) == 3 * 5 + 5 * 10
    for gpus in (1, 8, 64):
        found = simulated(seconds, gpus)
        assert found.work == sum(folds)
        assert found.bound <= found.makespan <= 1.1 * found.bound
    # A fold of c1, and behind its audit one of r2.
    assert found.path == seconds_of(seconds, "train c1 fold 0") + seconds_of(
        seconds, "train r2 fold 0"
    )


def seconds_of(seconds: dict[Step, float], name: str) -> float:
    return next(each for step, each in seconds.items() if step.name == name)
