"""`comp export`: choose a model, write each form of it, compare, and say so in the folder."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from competition import __version__
from competition.config.encoder_recipe import EncoderRecipe
from competition.core.atomic import atomic_folder, write_text
from competition.core.console import console, warn
from competition.core.errors import InputError, join_names
from competition.models.exported.folder import (
    ONE_LABEL,
    README,
    FolderCard,
    foreign_files,
    is_exported,
    orders_of,
    write_certificate,
)
from competition.pipeline.exporting.card_facts import CardFacts, check_licence
from competition.pipeline.exporting.certificate import (
    SAME,
    Form,
    Reference,
    check_same,
    cross_encoder_logits,
    versions,
)
from competition.pipeline.exporting.choice import (
    AUTO,
    Choice,
    choose,
    servable_recipe,
    stored_outputs,
)
from competition.pipeline.exporting.model_card import model_card
from competition.pipeline.exporting.sample import Sample, fields_of, other_rows
from competition.pipeline.steps import Pipeline
from competition.scoring.task import Kind

SHOWN = 3  # rows of the certificate with their texts


@dataclass
class Exported:
    """What an export wrote.

    Attributes:
        folder: all of it.
        why: which model it is.
        forms: those that are there, compared.
        refused: those that are not, by name, with the reason.
        latency: a row per form and number of candidates, where it was measured.
    """

    folder: Path
    why: str
    forms: list[Form] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    latency: list[dict[str, Any]] = field(default_factory=list)


def export_run(
    pipeline: Pipeline,
    run: str,
    folder: Path,
    model: str = AUTO,
    onnx: bool = False,
    measure: bool = False,
    licence: str = "",
) -> Exported:
    """Write a folder that stands alone.

    Args:
        pipeline: of the workspace.
        run: a recipe with `servable`.
        folder: to write, or an export that is replaced.
        model: see `choose`.
        onnx: whether to write ONNX in fp32 and int8, too.
        measure: whether to measure how long each form takes.
        licence: of the model, as the hub names it; default: that of its encoder.

    Raises:
        InputError: the run cannot be exported, or the folder is something else.
        CompError: a model is missing, or a form differs from the run.
    """
    plan, tables = pipeline.plan, pipeline.tables
    recipe = servable_recipe(plan, run)
    _check_target(folder)
    check_licence(licence)
    if onnx:
        from competition.models.exported.graphs import check_installed

        check_installed()

    choice = choose(plan, tables, recipe, model)
    kind = plan.recipes.kind_of(recipe)
    reference = Reference(plan.contest, kind, choice.sample, choice.outputs)
    exported = Exported(folder, choice.why)
    with atomic_folder(folder.resolve()) as temporary:
        _write_torch(temporary, pipeline, recipe, choice, reference, exported)
        if _needs_one_label(pipeline, kind):
            others = other_rows(tables, recipe, choice.sample)
            _write_one_label(temporary, kind, others, recipe, reference, exported)
        if onnx:
            from competition.pipeline.exporting.graphs import write_graphs

            write_graphs(
                temporary, kind, reference, other_rows(tables, recipe, choice.sample), exported
            )
        if measure:
            from competition.pipeline.exporting.latency import measure_latency

            exported.latency = measure_latency(temporary, reference.sample.pairs)

        facts = CardFacts.collect(plan, tables, recipe, choice, licence, temporary)
        write_text(temporary / README, model_card(facts, exported))
        write_certificate(temporary, _certificate(pipeline, recipe, choice, reference, exported))
    return exported


def _check_target(folder: Path) -> None:
    """Refuse a folder that cannot be written, or whose files would be lost, before a model is loaded."""
    target = folder.resolve()
    above = next(path for path in (target, *target.parents) if path.exists())
    if not above.is_dir():
        raise InputError(f"{above} is a file: choose another folder.")
    if target in (Path.cwd(), *Path.cwd().parents):
        raise InputError(f"{folder} is the folder you are in, or above it: name one in it.")
    if not os.access(target.parent if above == target else above, os.W_OK):
        raise InputError(f"{folder} cannot be written: choose another folder.")

    if above != target:
        return
    if is_exported(folder):
        if others := foreign_files(folder):
            raise InputError(
                f"{folder} holds {join_names(others)}, which its certificate does not name and a new export would "
                "remove: move it away, or choose another folder."
            )
    elif any(folder.iterdir()):
        raise InputError(f"{folder} holds something else than an export: choose another folder.")


def _write_torch(
    folder: Path,
    pipeline: Pipeline,
    recipe: EncoderRecipe,
    choice: Choice,
    reference: Reference,
    exported: Exported,
) -> None:
    """Write the classifier and the card, and compare it in transformers and sentence-transformers."""
    from competition.models.encoder.encoder import load_tokenizer
    from competition.models.exported.runner import TorchRunner, outputs_of
    from competition.models.exported.writing import write_classifier

    plan = pipeline.plan
    kind = reference.kind
    tokenizer = load_tokenizer(plan.artifacts.sources(recipe).encoder)
    write_classifier(folder, choice.model, tokenizer, recipe.max_length, recipe.template)
    _folder_card(pipeline, recipe, choice).write(folder)

    runner = TorchRunner(folder)
    runner.reader.check(reference.sample.pairs)
    logits = runner.logits(reference.sample.pairs)
    form = reference.compare("transformers", ".", outputs_of(kind, logits), SAME)
    exported.forms.append(check_same(form))
    own = cross_encoder_logits(folder, reference.sample.pairs)
    if own is None:
        exported.refused["sentence-transformers"] = "not compared, since it is not installed"
        return
    form = reference.compare("sentence-transformers", ".", outputs_of(kind, own), SAME)
    exported.forms.append(check_same(form))


def _needs_one_label(pipeline: Pipeline, kind: Kind) -> bool:
    """Return whether a kind has several logits, and ranks."""
    ranking = pipeline.plan.contest.ranking
    return kind.is_classes and ranking is not None and ranking.name in kind.tasks


def _write_one_label(
    folder: Path,
    kind: Kind,
    others: Sample,
    recipe: EncoderRecipe,
    reference: Reference,
    exported: Exported,
) -> None:
    """Write the form with one logit, unless it orders rows worse than the run does."""
    from competition.models.exported.one_label import features_of, fit
    from competition.models.exported.runner import TorchRunner, outputs_of
    from competition.models.exported.writing import output_name, write_one_label

    fitted = others if len(others.pairs) else reference.sample
    console.print(f"one label is fitted to {len(fitted.pairs):,} {fitted.where}")
    runner = TorchRunner(folder)
    gain = kind.labels.expected_gain(outputs_of(kind, runner.logits(fitted.pairs)))
    has_bias = runner.model.get_submodule(output_name(runner.model)).bias is not None
    weight, bias = fit(features_of(runner, fitted.pairs), gain, has_bias)

    target = folder / ONE_LABEL
    target.mkdir()
    write_one_label(target, folder, weight, bias, "gain", recipe.max_length)
    logits = TorchRunner(target).logits(reference.sample.pairs)[:, 0]
    form = reference.compare_scores(
        "one label", ONE_LABEL, np.asarray(1 / (1 + np.exp(-logits))), exact=False
    )
    keep_or_remove(folder, form, exported)


def keep_or_remove(folder: Path, form: Form, exported: Exported) -> None:
    """Keep a form that may differ, or remove its files where it loses too much."""
    import shutil

    if not form.fault:
        exported.forms.append(form)
        return

    path = folder / form.folder
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    exported.refused[form.name] = form.fault
    warn(f"The form {form.name!r} is left out: {form.fault}.")


def _folder_card(pipeline: Pipeline, recipe: EncoderRecipe, choice: Choice) -> FolderCard:
    from dataclasses import asdict

    from competition.scoring.definition import load_definition

    plan = pipeline.plan
    loaded = load_definition(plan.settings.competition, plan.workspace.root)
    definition = loaded.model_dump(mode="json", exclude_unset=True)
    run = plan.run(recipe.name)
    return FolderCard(
        run=recipe.name,
        model=choice.why,
        kind=plan.recipes.kind_of(recipe).name,
        fields=fields_of(recipe, plan.contest),
        max_length=recipe.max_length,
        contest=plan.contest.name,
        definition=definition,
        found=asdict(plan.card.found),
        basis=run.basis,
        label_paths=run.label_paths,
        orders=orders_of(definition),
    )


def _certificate(
    pipeline: Pipeline,
    recipe: EncoderRecipe,
    choice: Choice,
    reference: Reference,
    exported: Exported,
) -> dict[str, Any]:
    """Return the comparison as the folder holds it."""
    plan = pipeline.plan
    sample = reference.sample
    shown = [
        {"query": query, "document": document, "outputs": values.tolist()}
        for (query, document), values in zip(
            sample.pairs[:SHOWN], reference.values[:SHOWN], strict=True
        )
    ]
    return {
        "comp": __version__,
        "run": {"name": recipe.name, "fingerprint": plan.run(recipe.name).fingerprint},
        "model": {"name": choice.name, "why": choice.why, "measured": choice.evidence},
        "stored_outputs": stored_outputs(plan, pipeline.tables, choice, recipe),
        "rows": {
            "count": len(sample.examples),
            "queries": int(sample.examples["query_id"].nunique()),
            "where": sample.where,
            "fingerprint": sample.fingerprint,
        },
        "forms": [form.as_json() for form in exported.forms],
        "refused": exported.refused,
        "first_rows": shown,
        "versions": versions(),
    }
