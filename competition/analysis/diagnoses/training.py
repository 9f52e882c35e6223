"""Rules on training: too short, too long, on text that is cut off, or from an encoder that knows nothing."""

import statistics
from collections.abc import Iterator

from competition.analysis.diagnoses.facts import Facts
from competition.analysis.diagnoses.rule import Finding, Rule
from competition.analysis.diagnoses.run_facts import RunFacts

_MOSTLY = 0.5  # share of rows, or of models
_MARGIN = 0.005  # of a held-out score: less is no difference between epochs
_FAR = 6.0  # standard deviations of the other folds' differences
_MIN_DEVIATION = 0.01  # of folds' differences: less is luck
_MIN_FOLDS = 4


def _scores(run: RunFacts) -> list[list[float]]:
    """Return the held-out scores of each model's epochs, of models that have several; higher is better."""
    sign = -1 if run.less_is_better else 1
    known = [[sign * s for s in each.scores if s is not None] for each in run.trainings]
    return [scores for scores in known if len(scores) > 1]


def _last_is_best(facts: Facts) -> Iterator[Finding]:
    for run in facts.runs.values():
        scores = _scores(run)
        last = [each[-1] > max(each[:-1]) + _MARGIN for each in scores]
        if last and sum(last) > _MOSTLY * len(last):
            epochs = len(scores[0])
            sentence = (
                f"{run.name} was still learning: its last epoch of {epochs} is the best of "
                f"{sum(last)} of {len(last)} models."
            )
            action = f"Raise epochs above {epochs} in the recipe or in [overrides]."
            yield Finding("", sentence, action)


def _last_is_worse(facts: Facts) -> Iterator[Finding]:
    for run in facts.runs.values():
        if run.encoder is None or run.encoder.weights == "best":
            continue
        scores = _scores(run)
        worse = [max(each) - each[-1] for each in scores]
        over = [loss > _MARGIN for loss in worse]
        if over and sum(over) > _MOSTLY * len(over):
            mean = statistics.mean(worse)
            sentence = (
                f"{run.name} keeps its last epoch, whose held-out score is {mean:.4f} below that "
                "of the best one."
            )
            action = 'Lower epochs, or set weights = "best", whose score is then approximate.'
            yield Finding("", sentence, action)


def _fold_off(facts: Facts) -> Iterator[Finding]:
    """Find folds whose difference to the lexical baseline is far below that of the other folds.

    Folds hold other queries, so that their scores alone say nothing.
    """
    for task, by_run in facts.tallies.get("fold_scores", {}).items():
        lines = facts.leading(task)
        floor = by_run.get(lines[0].floor, []) if lines else []
        for name, scores in by_run.items():
            run = facts.singles.get(name)
            if run is None or run.encoder is None or len(scores) != len(floor):
                continue

            pairs = enumerate(zip(scores, floor, strict=True))
            above = {k: lines[0].sign * (a - b) for k, (a, b) in pairs if None not in (a, b)}
            for fold, difference in above.items() if len(above) >= _MIN_FOLDS else ():
                others = [each for k, each in above.items() if k != fold]
                mean, deviation = statistics.mean(others), statistics.stdev(others)
                if mean - difference > _FAR * max(deviation, _MIN_DEVIATION):
                    sentence = (
                        f"{name}, fold {fold}: it is {difference:+.4f} {lines[0].metric} beside "
                        f"{lines[0].floor}, and the other folds {mean:+.4f} in the mean."
                    )
                    action = (
                        "Look at its loss in `comp report`; a training that failed can be repeated "
                        "with another seed."
                    )
                    yield Finding(task, sentence, action)


def _text_cut(facts: Facts) -> Iterator[Finding]:
    for run in facts.runs.values():
        cut = [each.rows_cut for each in run.trainings if each.rows_cut is not None]
        if run.encoder is not None and cut and cut[-1] > _MOSTLY:
            length = run.encoder.max_length
            sentence = (
                f"{run.name} reads {length} tokens of a row, and {cut[-1]:.0%} of the rows have "
                "more."
            )
            action = "Raise max_length, or choose a field_order that begins with what matters."
            yield Finding("", sentence, action)


def _random_encoder(facts: Facts) -> Iterator[Finding]:
    for run in facts.runs.values():
        if run.starts_random and not run.pretrained:
            sentence = (
                f'{run.name} starts from random weights (encoder = "tiny"), which is for tests.'
            )
            action = 'Write preset = "mini" in competition.toml, or pre-train: encoder = "pretrained" in [overrides].'
            yield Finding("", sentence, action)


_FOLDS = f"The fold minus the lexical baseline, {_FAR:g} standard deviations below the other folds."
_EPOCHS = "The held-out score after each epoch, from the log of the run."

RULES = (
    Rule("random-encoder", "caution", "By the recipe: its encoder.", _random_encoder),
    Rule("fold-off", "caution", _FOLDS, _fold_off),
    Rule("text-cut", "caution", "Tokens of each row beside max_length, counted when a fold was trained.", _text_cut),
    Rule("still-learning", "caution", _EPOCHS, _last_is_best),
    Rule("last-epoch-worse", "caution", _EPOCHS, _last_is_worse),
)  # fmt: skip
