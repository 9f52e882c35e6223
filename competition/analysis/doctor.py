"""The checks of `comp doctor`: the machine, then the workspace, each problem with the command that fixes it."""

import fcntl
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from competition.analysis.environment import GIB, Check, check_machine
from competition.config.base_recipe import SCHEMES
from competition.config.encoder_recipe import EncoderRecipe
from competition.core.commands import command_for, pasteable, shell_quoted
from competition.core.errors import CompError, InputError, join_names, pluralize
from competition.core.json_files import read_manifest
from competition.core.workspace import Workspace
from competition.data import store
from competition.data.folds import fold_of_rows, make_folds
from competition.models.encoder.folders import check_folder
from competition.noise.audit import missing_label
from competition.noise.report import caveat
from competition.pipeline.cleanup import stale_checkpoints
from competition.pipeline.execute import StepStates
from competition.pipeline.recipes import TINY
from competition.pipeline.steps import Pipeline
from competition.scoring.predictions import RunPlan

_FREE_SPACE = GIB // 2  # bytes of disk that should stay free
_WRITTEN = (".locks", "data", "folds", "models", "oof", "reports", "submissions")
_IMPORT = "comp data import PATH"
_UNFINISHED = (".*.tmp", ".*.old")  # what `core.atomic` leaves when it is killed


def diagnose(root: Path) -> Iterator[Check]:
    """Check the machine, then the workspace as far as it can be read."""
    yield from check_machine()
    try:
        workspace = Workspace.open(root)
    except CompError as error:
        yield Check("workspace", "stop", str(error), f"comp init {shell_quoted(root)}")
        return

    for check in _check_workspace(workspace):
        message = pasteable(check.message, root)
        # Commands that work in any folder.
        fixes = [
            command_for(fix, root) if fix.startswith("comp ") else fix
            for fix in check.fix.split("; ")
        ]
        yield replace(check, message=message, fix="; ".join(fixes))


def _check_workspace(workspace: Workspace) -> Iterator[Check]:
    yield from _check_rights(workspace)
    yield from _check_locks(workspace)
    yield from _check_unfinished(workspace)
    yield from _check_checkpoints(workspace)

    # Without settings and data there is no plan, and nothing below can be checked.
    try:
        pipeline = Pipeline(workspace)
        states = StepStates.look(pipeline.steps())
    except CompError as error:
        if workspace.data_card.is_file():
            yield Check("settings", "stop", str(error))
        else:
            yield Check("data", "stop", str(error), _IMPORT)
        return

    # Nor can runs be read without their rows: none of them is to blame.
    try:
        size = f"{len(pipeline.tables.examples):,} rows, {len(pipeline.tables.products):,} products"
    except CompError as error:
        yield Check("data", "stop", str(error), _IMPORT)
        return

    yield Check("data", "well", f"{pipeline.plan.card.source}: {size}")
    yield from _check_rows(pipeline)
    yield _check_disk(pipeline, states.of)
    yield from _check_encoders(pipeline)
    for audit in pipeline.plan.audits():
        # `comp run` skips audits that the labels do not allow.
        if reason := _absent_label(pipeline, audit.runs[0].scheme):
            yield Check(f"audit {audit.name}", "look", str(caveat({"skipped": reason})))
    for plan in pipeline.plan.runs():
        yield _check_run(pipeline, plan, states.of)

    if left := states.left:
        message = f"left: {len(left)} of {states.total}, the first is {left[0].name}"
        yield Check("steps", "look", message, "comp run")
    else:
        yield Check("steps", "well", f"all {states.total} are done")


def _check_rights(workspace: Workspace) -> Iterator[Check]:
    """Yield whether there is a folder of the workspace in which this user cannot write."""
    for name in _WRITTEN:
        top = workspace.root / name
        inside = [path for path in sorted(top.rglob("*")) if path.is_dir()]
        # A folder that is missing is made.
        for folder in [top, *inside] if top.is_dir() else [workspace.root]:
            if not os.access(folder, os.W_OK | os.X_OK):
                message = f"this user cannot write in {folder}"
                yield Check(
                    "rights", "stop", message, "let this user write there, or work in a copy"
                )
                return


def _check_locks(workspace: Workspace) -> Iterator[Check]:
    """Yield each lock that a process holds."""
    for path in sorted((workspace.root / ".locks").glob("*.lock")):
        with path.open() as handle:
            try:
                # A shared lock is refused while a process holds the file.
                fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                message = f"process {handle.read().strip()} works on {path.stem}"
                yield Check("lock", "look", message, "wait for it, or stop it")


def _check_unfinished(workspace: Workspace) -> Iterator[Check]:
    """Yield what killed processes left half-written, and an import that was interrupted."""
    left = [path for pattern in _UNFINISHED for path in workspace.root.rglob(pattern)]
    if left:
        files = [file for path in left for file in (path, *path.rglob("*")) if file.is_file()]
        size = sum(file.stat().st_size for file in files) / GIB
        message = f"{len(left)} half-written files or folders, {size:.2f} GiB, such as {left[0]}"
        yield Check("unfinished", "look", message, f"rm -r {' '.join(map(shell_quoted, left))}")

    # An import writes the card last.
    has_table = workspace.examples.is_file() or workspace.products.is_file()
    if has_table and not workspace.data_card.is_file():
        yield Check("data", "stop", "an import was interrupted", _IMPORT)


def _check_checkpoints(workspace: Workspace) -> Iterator[Check]:
    """Yield the checkpoints from which training would resume, and those of finished training."""
    finished, resumable = stale_checkpoints(workspace)
    if resumable:
        yield Check("checkpoints", "well", f"kept of {join_names(resumable)}")
    if finished:
        message = f"checkpoints of finished training, such as {finished[0]}"
        yield Check("leftovers", "look", message, "comp clean")


def _check_rows(pipeline: Pipeline) -> Iterator[Check]:
    """Yield whether every row has its product, and whether the folds do not leak."""
    examples, products = pipeline.tables.examples, pipeline.tables.products
    missing = int((store.product_rows(examples, products) < 0).sum())
    if missing:
        message = f"no product in the catalogue and so empty text: {pluralize(missing, 'row')}"
        yield Check("products", "look", message)

    for scheme in sorted({plan.scheme for plan in pipeline.plan.runs()}):
        yield _check_folds(pipeline, scheme)


def _check_folds(pipeline: Pipeline, scheme: str) -> Check:
    """Return whether the folds of a scheme do not leak, or, before they are made, whether they can be made."""
    name = f"folds {scheme}"
    if pipeline.inputs.folds(scheme).state != "done":
        try:
            make_folds(pipeline.tables.examples, scheme, pipeline.plan.contest)
        except InputError as error:
            return Check(name, "stop", str(error), _IMPORT)
        return Check(name, "well", "there are queries for each of them")

    try:
        pipeline.tables.fold_of_rows(scheme)
    except CompError as error:
        file = shell_quoted(pipeline.workspace.folds(scheme))
        return Check(name, "stop", str(error), f"rm {file}; comp folds")
    apart = "query text" if pipeline.plan.contest.has_queries_apart else "row"
    return Check(name, "well", f"no {apart} is in two of them")


def _absent_label(pipeline: Pipeline, scheme: str) -> str | None:
    """Return why the labels of the training rows cannot be audited, None if they can."""
    examples = pipeline.tables.examples
    rows = examples[(examples["split"] == "train") & examples["label"].notna()]
    try:
        folds = make_folds(examples, scheme, pipeline.plan.contest)
    except InputError:
        return None  # reported by _check_folds
    fold = fold_of_rows(rows, folds).to_numpy(np.int64)
    labels = pipeline.plan.contest.labels
    return missing_label(
        labels.codes(rows["label"]), labels.names, fold, np.arange(SCHEMES[scheme])
    )


def _check_disk(pipeline: Pipeline, steps: Mapping[str, str]) -> Check:
    """Return whether there is room for the weights of the folds that are not trained yet."""
    needed = 0
    for recipe in _encoder_recipes(pipeline):
        if recipe.keeps_base:
            continue  # what is trained is small
        folder = pipeline.artifacts.encoder_folder(recipe.encoder)
        weights = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
        states = [steps.get(f"train {recipe.name} fold {fold}") for fold in recipe.folds]
        missing = sum(state != "done" for state in states)
        needed += weights * len(recipe.all_seeds) * missing

    free = shutil.disk_usage(pipeline.workspace.root).free
    message = f"{free / GIB:.1f} GiB free"
    if free >= needed + _FREE_SPACE:
        return Check("disk", "well", message)
    message += f", the weights of the folds that are missing take {needed / GIB:.1f} GiB"
    return Check("disk", "stop", message, "make room, or put the workspace on a larger disk")


def _check_encoders(pipeline: Pipeline) -> Iterator[Check]:
    """Yield encoders that would be downloaded, and folders that are not an encoder."""
    recipes = _encoder_recipes(pipeline)
    encoders = dict.fromkeys((recipe.encoder, recipe.head) for recipe in recipes)
    for encoder, head in encoders:
        if pipeline.recipes.pretrained(encoder):
            continue  # it is made here
        source = pipeline.artifacts.encoder_source(encoder)
        is_folder = Path(source).is_dir()
        is_made = read_manifest(pipeline.artifacts.encoder_folder(encoder, head)) is not None
        if not (is_folder or is_made or source == encoder == TINY):
            message = f"{encoder} is not here: the first training downloads it"
            fix = "or put the path of its folder into [overrides] of competition.toml as `encoder`"
            yield Check("encoder", "look", message, fix)

        if is_folder:
            try:
                check_folder(Path(source))
            except InputError as error:
                fix = "add what is missing, or name another encoder"
                yield Check("encoder", "stop", str(error), fix)


def _encoder_recipes(pipeline: Pipeline) -> list[EncoderRecipe]:
    """Return the recipes of competition.toml that fine-tune an encoder."""
    recipes = [pipeline.recipes.run(name) for name in pipeline.recipes.requested()]
    return [recipe for recipe in recipes if isinstance(recipe, EncoderRecipe)]


def _check_run(pipeline: Pipeline, plan: RunPlan, steps: Mapping[str, str]) -> Check:
    """Return how complete a run is; a complete one is read, which finds damage, duplicated rows and leaks."""
    names = [
        f"{verb} {plan.name} fold {fold}" for verb in ("train", "predict") for fold in plan.folds
    ]
    # Ensembles have one step, other runs two per fold.
    states = [steps[name] for name in (*names, f"stack {plan.name}") if name in steps]
    words = {"missing": "missing", "begun": "begun", "stale": "out of date"}
    undone = [f"{states.count(state)} {words[state]}" for state in words if state in states]
    if undone:
        message = f"{' and '.join(undone)}, of {pluralize(len(states), 'step')}"
        return Check(plan.name, "look", message, "comp run")

    try:
        run = pipeline.tables.read_run(plan)
    except CompError as error:
        # Not the whole folder: people's reviews lie there, too.
        folder = shell_quoted(pipeline.workspace.run(plan.name))
        return Check(plan.name, "stop", str(error), f"rm {folder}/fold-*.parquet; {plan.command}")
    message = f"{len(run.held_out):,} rows in {len(plan.folds)} folds, each once"
    return Check(plan.name, "well", message)
