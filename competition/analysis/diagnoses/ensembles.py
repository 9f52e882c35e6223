"""Rules on ensembles: members that add nothing, scores that flatter, decisions learned from too little."""

from collections.abc import Iterator

from competition.analysis.diagnoses.data import FEW_ROWS
from competition.analysis.diagnoses.facts import OUT_OF_FOLD, Facts
from competition.analysis.diagnoses.rule import Finding, Rule
from competition.analysis.ensemble_study import mean_weights
from competition.config.loading import WITHOUT
from competition.config.recipe import EnsembleRecipe
from competition.core.errors import pluralize

SMALL_WEIGHT = 0.05  # of a member, its share in an ensemble's sum of weights


def _small_weight(facts: Facts) -> Iterator[Finding]:
    for run in facts.ensembles.values():
        weights = mean_weights(run.card.get("weights", {}))
        for member in run.members:
            if weights and weights.get(member, 0.0) < SMALL_WEIGHT:
                share = weights.get(member, 0.0)
                sentence = f"{member} has a weight of {share:.2f} in {run.name}."
                yield Finding(run.tasks[0], sentence, _check_action(run.recipe.name))


def _check_action(ensemble: str) -> str:
    return f"`comp stack {ensemble} --leave-out` measures what each member adds."


def _member_not_needed(facts: Facts) -> Iterator[Finding]:
    for line in facts.without_member:
        leading = facts.line(line.task, line.floor, OUT_OF_FOLD)
        is_leading = leading and (line.split, line.group) == (leading.split, leading.group)
        if not is_leading or line.compares(line.above_floor) not in (0, 1):
            continue

        member = line.run.partition(f".{WITHOUT}")[2].removesuffix(f"-{line.task}")
        sentence = (
            f"{line.floor} without {member} is not significantly worse: {line.above_floor:+} "
            f"{line.metric}."
        )
        action = (
            f"If {member} is costly, leave it out: name the others as `members` of the ensemble."
        )
        yield Finding(line.task, sentence, action)


def _one_member(facts: Facts) -> Iterator[Finding]:
    for run in facts.ensembles.values():
        if len(run.members) == 1:
            sentence = f"{run.name} combines one member, {run.members[0]}, with text."
            action = (
                "Name recipes of another kind in `recipes` of competition.toml; `comp recipes` "
                "lists them."
            )
            yield Finding(run.tasks[0], sentence, action)


def _no_better_than_member(facts: Facts) -> Iterator[Finding]:
    for task, line in facts.answers():
        run = facts.ensembles.get(line.run)
        lines = [each for each in facts.leading(task) if run and each.run in run.members]
        if not lines:
            continue

        # The table holds differences to the best run alone.
        member = lines[0]
        is_best = facts.leading(task)[0].run == line.run
        difference = member.above_best if is_best else line.above_best
        if difference is not None and member.compares(difference) == 0:
            better, worse = (line.run, member.run) if is_best else (member.run, line.run)
            sentence = (
                f"{line.run} does not differ significantly from its member {member.run}: {worse} "
                f"minus {better} is {difference:+} {line.metric}."
            )
            action = (
                f"`comp stack {run.recipe.name if run else ''}` compares the ways to combine them."
            )
            yield Finding(task, sentence, action)


def _approximate(facts: Facts) -> Iterator[Finding]:
    for task, line in facts.answers():
        if line.split == OUT_OF_FOLD and line.label_paths and line.flatters is None:
            sentence = (
                f"The score of {line.run} is approximate: labels that it counts reached it through "
                f"{line.label_paths}."
            )
            yield Finding(task, sentence, "`comp audit-leaks --deep` measures by how much.")


def _inflated(facts: Facts) -> Iterator[Finding]:
    for task, line in facts.answers():
        if line.flatters is not None and line.compares(line.flatters) == 1:
            sentence = (
                f"The out-of-fold score of {line.run} is too high by {line.flatters:+} "
                f"{line.metric}."
            )
            action = "Compare it with its score on test rows, or set nested = true in the recipe."
            yield Finding(task, sentence, action)


def _few_rows_for_thresholds(facts: Facts) -> Iterator[Finding]:
    for run in facts.ensembles.values():
        recipe, task = run.recipe, run.tasks[0]
        if not isinstance(recipe, EnsembleRecipe) or recipe.thresholds == "none":
            continue

        counts = facts.tallies.get("labels", {}).get(task, {})
        for word, rows in counts.items():
            if rows < FEW_ROWS:
                sentence = (
                    f"{run.name} learns a threshold for {word!r} from {pluralize(rows, 'row')}."
                )
                yield Finding(task, sentence, 'Set thresholds = "none" in the ensemble.')


def _leaky(facts: Facts) -> Iterator[Finding]:
    for task, line in facts.answers():
        run = facts.ensembles.get(line.run)
        if run and getattr(run.recipe, "leaky", False):
            sentence = f"{line.run} reads in which other tasks' lists a row is."
            action = "Check that the rules of the competition allow it, or set leaky = false."
            yield Finding(task, sentence, action)


_WEIGHTS = (
    f"Mean weight over the folds, below {SMALL_WEIGHT}, as `run.json` of the ensemble has it."
)
_LEAVE_OUT = (
    "The ensemble fitted again without the member, paired over the same queries, by the last "
    "`comp stack --leave-out`."
)
_FEW = f"Labels of the task with fewer than {FEW_ROWS} training rows."
_PAIRED = "Paired difference over the same queries, with a 95 % bootstrap interval."
_SHUFFLED = (
    "What the run scores on shuffled labels above chance, measured by `comp audit-leaks --deep`."
)

RULES = (
    Rule("inflated-score", "caution", _SHUFFLED, _inflated),
    Rule("approximate-score", "note", "By the recipes: what was fitted on labels that the score counts.", _approximate),
    Rule("few-rows-for-thresholds", "caution", _FEW, _few_rows_for_thresholds),
    Rule("leaky-features", "caution", "By the recipe: leaky = true.", _leaky),
    Rule("no-better-than-member", "note", _PAIRED, _no_better_than_member),
    Rule("small-weight", "note", _WEIGHTS, _small_weight),
    Rule("member-not-needed", "note", _LEAVE_OUT, _member_not_needed),
    Rule("one-member", "note", "By the recipes that the ensemble combines for the task.", _one_member),
)  # fmt: skip
