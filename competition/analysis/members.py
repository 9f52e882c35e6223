"""Members from elsewhere: outputs that another tool made become a run like any other."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from competition.config.base_recipe import SCHEMES
from competition.config.loading import VARIANTS, WITHOUT
from competition.config.recipe import ImportedRecipe, LexicalRecipe
from competition.config.settings import BUILT_IN, recipe_names
from competition.core.atomic import write_text
from competition.core.commands import shell_quoted
from competition.core.errors import InputError, short_repr, unknown_name
from competition.core.parquet import write_table
from competition.core.workspace import Workspace
from competition.pipeline.execute import execute
from competition.pipeline.steps import Pipeline
from competition.scoring import brought_outputs
from competition.scoring.brought_outputs import FOLD, ID, ROW, TEST
from competition.scoring.contest import Contest
from competition.scoring.in_sample import InSampleTest, Side, check_in_sample
from competition.scoring.predictions import Run, RunPlan
from competition.scoring.task import Kind

_LONGEST = (
    100  # characters of a name: file systems end at 255, which temporary names and runs need, too
)
_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.="


@dataclass(frozen=True)
class AddedMember:
    """A member that was added."""

    recipe: ImportedRecipe
    rows: int
    declared: bool  # its folds are those of a scheme by declaration, not by a column
    test: InSampleTest | None  # None where it could not be tested
    reference: str  # the run that the test took the scale from; empty for none
    replaced: bool


def add_member(
    workspace: Workspace, name: str, file: Path, kind: str, scheme: str | None
) -> AddedMember:
    """Check a file of outputs, keep it in `members/`, and write the recipe of its run.

    Args:
        workspace: whose rows.
        name: of the run.
        file: CSV or parquet, see `scoring/brought_outputs.py`.
        kind: of the outputs.
        scheme: whose folds the models left out, where the file has no column of folds.

    Raises:
        InputError: the name is taken, or the file is wrong; nothing is written.
    """
    pipeline = Pipeline(workspace)
    replaced = _check_name(pipeline, name)
    kinds = pipeline.plan.contest.kinds
    if kind not in kinds:
        raise unknown_name("kind", kind, kinds)
    of_kind = pipeline.plan.contest.kind(kind)

    # Everything is checked before anything is written.
    examples = pipeline.tables.examples
    frame = brought_outputs.read_brought(file, of_kind)
    frame = brought_outputs.match_rows(frame, examples, str(file))
    declared = FOLD not in frame
    scheme, frame = _with_folds(pipeline, frame, scheme, str(file))

    outputs = frame[[ID, *of_kind.outputs, FOLD]].sort_values(ID, ignore_index=True)
    test, reference = check_member(pipeline, of_kind, outputs)
    recipe = ImportedRecipe(
        name=name,
        kind=kind,
        scheme=scheme,
        in_sample=test is not None and test.flagged,
        description=f"outputs of {file.name}",
    )

    kept = outputs.assign(**{ROW: outputs[ID].map(brought_outputs.hash_rows(examples))})
    write_table(workspace.member(name), kept, brought_outputs.content_fingerprint(kept))
    lines = [f'description = "{_plain(recipe.description)}"', 'model = "imported"']
    lines += [f'kind = "{kind}"', f'scheme = "{scheme}"']
    if recipe.in_sample:
        lines.append("in_sample = true # its outputs look as if their model had seen the labels")
    workspace.recipe_folder.mkdir(exist_ok=True)
    write_text(workspace.recipe_folder / f"{name}.toml", "\n".join(lines) + "\n")

    return AddedMember(recipe, len(outputs), declared, test, reference, replaced)


def _plain(text: str) -> str:
    """Return text as TOML can quote it."""
    return "".join(c for c in text if c.isprintable() and c not in '"\\')


def check_run_name(contest: Contest, name: str) -> None:
    """Raise InputError where a name cannot be that of a run."""
    if not name or name[0] in "-.=" or not set(name) <= {*_LETTERS, "-"}:
        raise InputError(
            f"{name!r} cannot be the name of a run: use letters, digits, - _ and ., of which neither - nor . comes "
            "first."
        )
    if len(name) > _LONGEST:
        raise InputError(
            f"{short_repr(name)} cannot be the name of a run: use at most {_LONGEST} characters."
        )
    if contest.split_run(name)[1]:
        raise InputError(f"{name!r} ends like the run of an ensemble: take another name.")


def _check_name(pipeline: Pipeline, name: str) -> bool:
    """Return whether a member of that name is replaced; raises InputError where the name cannot be one."""
    check_run_name(pipeline.plan.contest, name)
    known = recipe_names(pipeline.workspace)
    base, _, variant = name.rpartition(".")
    if base in known and (variant in VARIANTS or variant.startswith(WITHOUT)):
        raise InputError(f"{name!r} is called like a variant of {base!r}: take another name.")
    if name not in known:
        return False

    own = pipeline.workspace.recipe_folder / f"{name}.toml"
    built_in = not own.is_file() and (BUILT_IN / f"{name}.toml").is_file()
    if built_in or not isinstance(pipeline.recipes.load(name), ImportedRecipe):
        raise InputError(f"There is a recipe {name!r} already: take another name.")
    return True


def _with_folds(
    pipeline: Pipeline, frame: pd.DataFrame, scheme: str | None, name: str
) -> tuple[str, pd.DataFrame]:
    """Return the scheme of the rows' folds, and the rows with their folds."""
    if scheme is not None and scheme not in SCHEMES:
        raise unknown_name("scheme", scheme, SCHEMES)
    if scheme is None and FOLD not in frame:
        raise InputError(
            f"{name} does not say which fold each row was held out in: give it a column {FOLD!r}, or say "
            "`--scheme five` where its models left out the folds of folds/five.parquet."
        )

    scheme = scheme or brought_outputs.brought_scheme(frame)
    execute(pipeline.workspace, [pipeline.inputs.folds(scheme)])
    of_training = pipeline.tables.fold_of_training(scheme)
    if FOLD in frame:
        fold = brought_outputs.check_brought_folds(frame, scheme, of_training, name)
    else:
        fold = frame[ID].map(of_training).fillna(TEST).astype(np.int64)
    return scheme, frame.assign(**{FOLD: fold})


def check_member(
    pipeline: Pipeline, kind: Kind, outputs: pd.DataFrame
) -> tuple[InSampleTest | None, str]:
    """Test whether out-of-fold outputs are out-of-fold; return the test and the run that gave the scale.

    Returns:
        None and an empty name where nothing can be said: there are no test rows, or a score has no
        scale since no run is complete.
    """
    examples = pipeline.tables.examples
    ranks = kind.role == "score"
    reference = _reference(pipeline)
    if not (examples["split"] == "test").any() or (ranks and reference is None):
        return None, ""

    labelled = ~np.isnan(_labels(kind, examples)).any(axis=1)
    train = examples[(examples["split"] == "train") & labelled]
    test = examples[examples["split"] == "test"]
    by_id = outputs.set_index(ID)

    # Features of text are there where `lexical` is.
    features = None
    if reference is not None and isinstance(pipeline.recipes.run(reference[0].name), LexicalRecipe):
        features = pipeline.tables.lexical_features

    def side(rows: pd.DataFrame, of_reference: pd.DataFrame | None) -> Side:
        values = _targets(kind, kind, kind.values(by_id.loc[rows[ID]]))
        known = None
        if reference is not None and of_reference is not None:
            other = reference[0].kind
            known = _targets(kind, other, other.values(of_reference.set_index(ID).loc[rows[ID]]))
        labels = _labels(kind, rows) if rows is train else None
        text = None
        if features is not None:
            text = np.nan_to_num(features.loc[rows[ID]].to_numpy(np.float64))
        return Side(values, rows["query_id"].to_numpy(np.int64), known, labels, text)

    run = reference[1] if reference is not None else None
    result = check_in_sample(
        side(train, run.held_out if run else None),
        side(test, run.test if run else None),
        within=ranks,
    )
    return result, reference[0].name if reference is not None else ""


def _labels(kind: Kind, examples: pd.DataFrame) -> np.ndarray:
    """Return the targets of rows, `(rows, targets)`: NaN where the label is unknown."""
    if kind.role == "score":
        return np.asarray(kind.labels.gain(examples["label"]), np.float64)[:, None]
    target = kind.numeric_target(examples)
    if kind.is_number:
        return target[:, None]

    known = np.nan_to_num(target, nan=0.0).astype(np.int64)
    return np.where(np.isnan(target)[:, None], np.nan, np.eye(kind.targets)[known])


def _targets(kind: Kind, of: Kind, values: np.ndarray) -> np.ndarray:
    """Return outputs of a kind as targets of another, `(rows, targets)`; classes become any, others their own."""
    if of.is_classes and kind.role == "score":
        return np.asarray(of.labels.expected_gain(values), np.float64)[:, None]
    if of.is_classes:
        return kind.targets_from_classes(values)
    if of.role == "positive":
        return np.hstack([1 - values, values])
    return of.to_unit(values) if of.role == "rating" else values


def _reference(pipeline: Pipeline) -> tuple[RunPlan, Run] | None:
    """Return a complete run of all classes whose scores are held out: the lexical baseline before others."""
    plan = pipeline.plan
    baseline = pipeline.recipes.lexical_baseline
    for name in dict.fromkeys([*([baseline] if baseline else []), *plan.settings.recipes]):
        recipe = pipeline.recipes.run(name)
        if isinstance(recipe, ImportedRecipe) or not pipeline.workspace.run_card(name).is_file():
            continue
        run = plan.run(name)
        done = pipeline.complete_run(run).state == "done"
        if run.kind.is_classes and not run.label_paths and done:
            return run, pipeline.tables.read_run(run)
    return None


def export_run(workspace: Workspace, run: str, file: Path) -> int:
    """Write a run's outputs of all rows to a file, CSV or parquet, as `add_member` reads them; return the rows.

    Raises:
        InputError: the file's name says neither CSV nor parquet.
        CompError: the run is not complete.
    """
    if file.suffix not in (".csv", ".parquet"):
        raise InputError(f"{file}: name a file that ends in .csv or .parquet.")

    pipeline = Pipeline(workspace)
    complete = pipeline.tables.read_run(pipeline.plan.run(run))
    held_out = complete.held_out.assign(**{FOLD: complete.fold})
    table = pd.concat([held_out, complete.test]).sort_values(ID, ignore_index=True)
    # Widened, so that text holds each number as it is.
    table = table.astype(dict.fromkeys(complete.kind.outputs, np.float64) | {FOLD: "Int64"})
    if file.suffix == ".csv":
        write_text(file, str(table.to_csv(index=False, lineterminator="\n")))
    else:
        write_table(file, table, brought_outputs.content_fingerprint(table))
    return len(table)


def members(workspace: Workspace) -> list[ImportedRecipe]:
    """Return the members that were added."""
    recipes = Pipeline(workspace).recipes
    loaded = (
        recipes.load(name)
        for name in recipe_names(workspace)
        if (workspace.recipe_folder / f"{name}.toml").is_file()
    )
    return [recipe for recipe in loaded if isinstance(recipe, ImportedRecipe)]


def remove_member(workspace: Workspace, name: str) -> None:
    """Remove a member's outputs and recipe; its run stays in `oof/`, where nothing reads it.

    Raises:
        InputError: there is no such member.
    """
    known = [recipe.name for recipe in members(workspace)]
    if name not in known:
        raise unknown_name("member", name, known)
    (workspace.recipe_folder / f"{name}.toml").unlink()
    workspace.member(name).unlink(missing_ok=True)


def add_command(name: str) -> str:
    """Return the command that makes the run of a member."""
    return f"comp train --recipe {shell_quoted(name)}"
