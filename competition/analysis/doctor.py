"""Is all well here? The machine, then the workspace: what would stop a command, and the command that mends it."""

import fcntl
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from competition.analysis.environment import GIB, Check, check_machine
from competition.config.recipe import SCHEMES, EncoderRecipe
from competition.core.commands import command_for, pasteable, shell_quoted
from competition.core.errors import CompError, InputError, join_names, pluralize
from competition.core.json_files import read_manifest
from competition.core.workspace import Workspace
from competition.data import store
from competition.data.folds import make_folds
from competition.models.encoder.folders import check_folder
from competition.noise.audit import missing_label
from competition.noise.report import caveat
from competition.pipeline.cleanup import stale_checkpoints
from competition.pipeline.steps import Pipeline
from competition.scoring.predictions import RunPlan
from competition.scoring.tasks import label_codes

_MARGIN = GIB // 2  # bytes of disk that should stay free
_BRING = "comp data import PATH"
_UNFINISHED = (".*.tmp", ".*.old")  # what `files.atomic` leaves when it is killed


def diagnose(root: Path) -> Iterator[Check]:
    """Look at the machine, then at the workspace as far as it can be read."""
    yield from check_machine()
    try:
        workspace = Workspace.open(root)
    except CompError as error:
        yield Check("workspace", "stop", str(error), f"comp init {shell_quoted(root)}")
        return
    for found in _examine(workspace):
        yield replace(
            found, message=pasteable(found.message, root), fix=_from_here(found.fix, root)
        )


def _from_here(mend: str, root: Path) -> str:
    """What mends a workspace, as it is to be typed by somebody who is elsewhere."""
    return "; ".join(
        command_for(part, root) if part.startswith("comp ") else part for part in mend.split("; ")
    )


def _examine(workspace: Workspace) -> Iterator[Check]:
    """The workspace as far as it can be read."""
    yield from _locks(workspace)
    yield from _unfinished(workspace)
    yield from _checkpoints(workspace)
    try:
        pipeline = Pipeline(workspace)
        steps = {step.name: step.state for step in pipeline.steps()}
    except CompError as error:
        no_data = not workspace.data_card.is_file()
        yield Check(
            "data" if no_data else "settings", "stop", str(error), _BRING if no_data else ""
        )
        return
    yield from _rows(pipeline)
    yield _disk(pipeline, steps)
    yield from _encoders(pipeline)
    yield from _audits(pipeline)
    for plan in pipeline.runs():
        yield _run(pipeline, plan, steps)
    left = [name for name, state in steps.items() if state != "done"]
    said = (
        f"{len(left)} of {len(steps)} are left, the first is {left[0]}"
        if left
        else f"all {len(steps)} are done"
    )
    yield Check("steps", "look" if left else "well", said, "comp run" if left else "")


def _locks(workspace: Workspace) -> Iterator[Check]:
    """Which processes are at work here."""
    for path in sorted((workspace.root / ".locks").glob("*.lock")):
        with path.open() as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                process = handle.read().strip()
                yield Check(
                    "lock",
                    "look",
                    f"process {process} works on {path.stem}",
                    "wait for it, or stop it",
                )


def _unfinished(workspace: Workspace) -> Iterator[Check]:
    """What a process that was killed left half-written, and an import that did not reach its end."""
    left = [path for pattern in _UNFINISHED for path in workspace.root.rglob(pattern)]
    if left:
        size = sum(
            file.stat().st_size
            for path in left
            for file in [path, *path.rglob("*")]
            if file.is_file()
        )
        said = f"{len(left)} half-written files or folders, {size / GIB:.2f} GiB, such as {left[0]}"
        yield Check("unfinished", "look", said, f"rm -r {' '.join(map(shell_quoted, left))}")
    if not workspace.data_card.is_file() and (
        workspace.examples.is_file() or workspace.products.is_file()
    ):
        yield Check("data", "stop", "an import was interrupted", _BRING)


def _checkpoints(workspace: Workspace) -> Iterator[Check]:
    """Those of what was cut short, and those that are left of trainings that are done."""
    done, kept = stale_checkpoints(workspace)
    if kept:
        yield Check("checkpoints", "well", f"kept of {join_names(kept)}")
    if done:
        yield Check(
            "leftovers", "look", f"checkpoints of what is done, such as {done[0]}", "comp clean"
        )


def _rows(pipeline: Pipeline) -> Iterator[Check]:
    """Whether the tables can be read, and the folds that are there leak nothing."""
    maker, card = pipeline.maker, pipeline.card
    try:
        examples, products = maker.examples, maker.products
    except CompError as error:
        yield Check("data", "stop", str(error), _BRING)
        return
    yield Check(
        "data", "well", f"{card.source}: {len(examples):,} rows, {len(products):,} products"
    )
    missing = int((store.product_rows(examples, products) < 0).sum())
    if missing:
        yield Check(
            "products",
            "look",
            f"{missing:,} rows have no product in the catalogue: they keep empty text",
        )
    schemes = sorted({plan.scheme for plan in pipeline.runs()})
    for scheme in schemes:
        yield _folds(pipeline, scheme)


def _folds(pipeline: Pipeline, scheme: str) -> Check:
    """Whether the folds of a scheme leak nothing, or, where they are not made yet, whether they can be made."""
    name = f"folds {scheme}"
    if pipeline.folds_step(scheme).state != "done":
        try:
            make_folds(pipeline.maker.examples, scheme)
        except InputError as error:
            return Check(name, "stop", str(error), _BRING)
        return Check(name, "well", "there are queries for each of them")
    try:
        pipeline.maker.fold_of_rows(scheme)
    except CompError as error:
        return Check(
            name,
            "stop",
            str(error),
            f"rm {shell_quoted(pipeline.workspace.folds(scheme))}; comp folds",
        )
    return Check(name, "well", "no query text is in two of them")


def _audits(pipeline: Pipeline) -> Iterator[Check]:
    """Audits that labels do not allow: `comp run` goes on without them."""
    for plan in pipeline.audits():
        if reason := _absent_label(pipeline, plan.runs[0].scheme):
            yield Check(f"audit {plan.name}", "look", str(caveat({"skipped": reason})))


def _absent_label(pipeline: Pipeline, scheme: str) -> str | None:
    """Why the labels of the training rows cannot be audited, if they cannot."""
    examples = pipeline.maker.examples
    rows = examples[(examples["split"] == "train") & examples["label"].notna()]
    try:
        folds = make_folds(examples, scheme).set_index("query_id")["fold"]
    except InputError:
        return None  # said where folds are looked at
    fold = rows["query_id"].map(folds).to_numpy(np.int64)
    return missing_label(label_codes(rows["label"]), fold, np.arange(SCHEMES[scheme]))


def _disk(pipeline: Pipeline, steps: dict[str, str]) -> Check:
    """Whether there is room for the weights of the folds that are to be trained."""
    needed = 0
    for name in pipeline.wanted():
        recipe = pipeline.recipe(name)
        if isinstance(recipe, EncoderRecipe):
            folder = pipeline.encoder_folder(recipe.encoder)
            weights = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
            states = [steps.get(f"train {name} fold {fold}") for fold in recipe.folds]
            needed += weights * len(recipe.all_seeds) * sum(state != "done" for state in states)
    free = shutil.disk_usage(pipeline.workspace.root).free
    said = f"{free / GIB:.1f} GiB free"
    if free < needed + _MARGIN:
        wanted = f"the weights of the folds that are missing take {needed / GIB:.1f} GiB"
        return Check(
            "disk", "stop", f"{said}, {wanted}", "make room, or put the workspace on a larger disk"
        )
    return Check("disk", "well", said)


def _encoders(pipeline: Pipeline) -> Iterator[Check]:
    """Encoders that would be fetched, and folders that cannot be one."""
    recipes = [
        recipe
        for name in pipeline.wanted()
        if isinstance(recipe := pipeline.recipe(name), EncoderRecipe)
    ]
    for encoder in dict.fromkeys(recipe.encoder for recipe in recipes):
        source = "" if pipeline.pretrained(encoder) else pipeline.encoder_source(encoder)
        command_for = not source or source == encoder == "tiny" or Path(source).is_dir()
        if not command_for and read_manifest(pipeline.encoder_folder(encoder)) is None:
            said = f"{encoder} is not here: the first training downloads it"
            mend = "or put the path of its folder into [overrides] of competition.toml as `encoder`"
            yield Check("encoder", "look", said, mend)
        if source and Path(source).is_dir():
            try:
                check_folder(Path(source))
            except InputError as error:
                yield Check(
                    "encoder", "stop", str(error), "bring what is missing, or name another encoder"
                )


def _run(pipeline: Pipeline, plan: RunPlan, steps: dict[str, str]) -> Check:
    """How complete a run is; a complete one is read, which finds damage, rows that are there twice and leaks."""
    names = [
        f"{verb} {plan.name} fold {fold}" for verb in ("train", "predict") for fold in plan.folds
    ]
    states = [steps[name] for name in (*names, f"stack {plan.name}") if name in steps]
    words = {"missing": "missing", "begun": "begun", "stale": "out of date"}
    undone = {state: states.count(state) for state in words if state in states}
    if undone:
        told = " and ".join(f"{count} {words[state]}" for state, count in undone.items())
        return Check(plan.name, "look", f"{told}, of {pluralize(len(states), 'step')}", "comp run")
    try:
        run = pipeline.maker.read_run(plan)
    except CompError as error:
        folder = shell_quoted(
            pipeline.workspace.run(plan.name)
        )  # not all of it: people's verdicts lie there, too
        return Check(plan.name, "stop", str(error), f"rm {folder}/fold-*.parquet; {plan.command}")
    return Check(
        plan.name, "well", f"{len(run.held_out):,} rows in {len(plan.folds)} folds, each once"
    )
