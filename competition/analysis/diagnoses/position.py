"""Rules on where the submitted runs stand: against the lexical baseline, a constant answer, and the other runs."""

from collections.abc import Iterator
from functools import partial
from typing import Literal

from competition.analysis.diagnoses.facts import Facts, Line
from competition.analysis.diagnoses.rule import Finding, Rule
from competition.scoring.intervals import Estimate

Against = Literal["lexical", "constant"]

_PAIRED = "Paired difference over the same queries, with a 95 % bootstrap interval over queries."
_WORDS = {1: "better than", 0: "not significantly better than", -1: "worse than"}


def describe_place(
    line: Line, difference: Estimate | None, other: str, figures: bool = True
) -> str:
    """Return how a run compares with another: `better than lexical (+0.0126 [+0.0010, +0.0251])`."""
    place = line.compares(difference)
    named = _name_in_words(other)
    if difference is None or place is None:
        return f"compared over too few queries with {named}"
    return f"{_WORDS[place]} {named}" + (f" ({difference:+})" if figures else "")


def _name_in_words(baseline: str) -> str:
    """Return what a baseline is called in a sentence: `all exact` of the tables is the constant answer 'exact'."""
    answer = baseline.removeprefix("all ")
    return baseline if answer == baseline else f"the constant answer {answer!r}"


def _compare(facts: Facts, against: Against, place: int) -> Iterator[Finding]:
    """Yield the runs that answer the tasks and are better (1), not significantly better (0) or worse (-1)."""
    for task, line in facts.answers():
        is_lexical = against == "lexical"
        difference = line.above_floor if is_lexical else line.above_baseline
        other = line.floor if is_lexical else line.baseline
        if line.compares(difference) != place:
            continue

        sentence = f"{line.run} is {describe_place(line, difference, other)}, {line.metric}."
        yield Finding(task, sentence, _ACTIONS[against, place].format(task=task, other=other))


_ACTIONS: dict[tuple[Against, int], str] = {
    ("lexical", -1): 'Until a run is better, submit the baseline: {task} = "{other}" in [submission].',
    ("lexical", 0): "A larger encoder, pre-training or more labels may help; `comp report` shows where runs are wrong.",
    ("lexical", 1): "",
    ("constant", -1): "Do not use this run: the same answer for every row scores more.",
    ("constant", 0): "This score shows nothing that the run has learned: look at a metric that weighs rare labels.",
    ("constant", 1): "",
}  # fmt: skip


def _best_not_submitted(facts: Facts) -> Iterator[Finding]:
    for task, line in facts.answers():
        best = facts.leading(task)[0]
        if line.above_best is None or line.compares(line.above_best) != -1:
            continue

        name = best.run.removesuffix(f"-{task}")
        sentence = (
            f"{line.run} is submitted, but {best.run} is better ({line.above_best:+} {line.metric} "
            "to it)."
        )
        yield Finding(
            task, sentence, f'Write {task} = "{name}" in [submission] of competition.toml.'
        )


def _best_undecided(facts: Facts) -> Iterator[Finding]:
    for task in facts.tasks:
        lines = facts.leading(task)
        if names := equal_to_best(lines):
            sentence = (
                f"{lines[0].run} has the best score, and {', '.join(names)} not significantly less."
            )
            yield Finding(task, sentence, "Choose among them by cost, not by the last digits.")


def equal_to_best(lines: list[Line]) -> tuple[str, ...]:
    """Return the runs that are not significantly different from the best, of leading lines, best first."""
    return tuple(line.run for line in lines[1:] if line.compares(line.above_best) == 0)


def _member_behind_constant(facts: Facts) -> Iterator[Finding]:
    for task in facts.tasks:
        for line in facts.leading(task):
            if line.run in facts.singles and line.compares(line.above_baseline) == -1:
                sentence = (
                    f"{line.run} is {describe_place(line, line.above_baseline, line.baseline)}, "
                    f"{line.metric}."
                )
                action = "Train it longer or from a better encoder, or take it out of `recipes`."
                yield Finding(task, sentence, action)


def _encoders_behind_lexical(facts: Facts) -> Iterator[Finding]:
    """Find tasks on which no neural network is better than the lexical baseline."""
    for task in facts.tasks:
        lines = [line for line in facts.leading(task) if _is_encoder(facts, line.run)]
        places = [line.compares(line.above_floor) for line in lines]
        if lines and all(place in (0, -1) for place in places):
            best = lines[0]
            sentence = (
                f"No neural network is better than {best.floor}: the best, {best.run}, differs by "
                f"{best.above_floor:+} {best.metric}."
            )
            action = (
                "Presets minilm and e5-small have larger encoders; `comp pretrain` reads the catalogue "
                "first, which can take hours."
            )
            yield Finding(task, sentence, action)


def _no_pretraining(facts: Facts) -> Iterator[Finding]:
    """Find neural networks that have not read the catalogue, where none is better than the lexical baseline."""
    behind = [found.task for found in _encoders_behind_lexical(facts)]
    names = [run.name for run in facts.singles.values() if run.encoder and not run.pretrained]
    if behind and names:
        sentence = (
            f"The encoder of {', '.join(names)} has not read this catalogue, and no neural network is better "
            f"than the lexical baseline on {', '.join(behind)}."
        )
        action = 'Set encoder = "pretrained" in [overrides]: `comp run` then pre-trains first, which can take hours.'
        yield Finding("", sentence, action)


def _is_encoder(facts: Facts, name: str) -> bool:
    run = facts.runs.get(name)
    return run is not None and run.encoder is not None


RULES = (
    Rule("behind-constant", "problem", _PAIRED, partial(_compare, against="constant", place=-1)),
    Rule("behind-lexical", "problem", _PAIRED, partial(_compare, against="lexical", place=-1)),
    Rule("best-not-submitted", "caution", _PAIRED, _best_not_submitted),
    Rule("no-better-than-constant", "caution", _PAIRED, partial(_compare, against="constant", place=0)),
    Rule("no-better-than-lexical", "caution", _PAIRED, partial(_compare, against="lexical", place=0)),
    Rule("member-behind-constant", "caution", _PAIRED, _member_behind_constant),
    Rule("encoders-behind-lexical", "caution", _PAIRED, _encoders_behind_lexical),
    Rule("no-pretraining", "note", "By the recipes, and the differences to the lexical baseline.", _no_pretraining),
    Rule("ahead-of-constant", "note", _PAIRED, partial(_compare, against="constant", place=1)),
    Rule("ahead-of-lexical", "note", _PAIRED, partial(_compare, against="lexical", place=1)),
    Rule("best-undecided", "note", _PAIRED, _best_undecided),
)  # fmt: skip
