"""Writes `docs/reference.md` from the code: every command with its options, every key with its type, default, bounds.

make docs
"""

import re
import tomllib
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from competition.cli import app
from competition.config import base_recipe, encoder_recipe, keys, recipe, settings
from competition.scoring import definition, definition_tables
from competition.scoring.metric_table import METRIC_NAMES

HERE = Path(__file__).parent
REFERENCE = HERE / "reference.md"
HEAD = """# Reference

Made from the code by `make docs`; change it there.
"""
Tables = tuple[tuple[str, type[BaseModel], tuple[type[BaseModel], ...]], ...]
# The tables of keys: title, the model whose keys they are, those whose keys come before.
TABLES: Tables = (
    ("competition.toml", settings.Settings, ()),
    ("Every recipe that is trained on folds", base_recipe.FoldRecipe, ()),
    ("Recipes that train an encoder", base_recipe.TrainingKeys, ()),
    (
        'model = "encoder"',
        encoder_recipe.EncoderRecipe,
        (base_recipe.FoldRecipe, base_recipe.TrainingKeys),
    ),
    ('model = "lexical"', recipe.LexicalRecipe, (base_recipe.FoldRecipe,)),
    ('model = "imported"', recipe.ImportedRecipe, (base_recipe.FoldRecipe,)),
    ('model = "ensemble"', recipe.EnsembleRecipe, (base_recipe.FoldRecipe,)),
    (
        'model = "pretraining"',
        recipe.PretrainingRecipe,
        (base_recipe.BaseRecipe, base_recipe.TrainingKeys),
    ),
    ("lora of a recipe", keys.Lora, ()),
    ("[spans.LOCALE] of a pretraining", keys.Spans, ()),
)
# The same of the file that says what a competition is.
DEFINITION: Tables = (
    ("The file", definition_tables.Definition, ()),
    ("[files]", definition_tables.FilesTable, ()),
    ("[locales.LOCALE]", definition_tables.LocaleTable, ()),
    ("[labels]", definition_tables.LabelsTable, ()),
    ("[tasks.TASK]", definition_tables.TaskTable, ()),
)
OF_DEFINITIONS = """## The definition of a competition

`competition` of `competition.toml` names it: {}, which come with the package,
or a TOML file with these keys. Its metrics, where k is a number from 1, are
{}.
"""


def reference() -> str:
    """Return the whole page."""
    built_in = ", ".join(f"`{name}`" for name in definition.built_in_names())
    metrics = ", ".join(f"`{name}`" for name in METRIC_NAMES)
    parts = [HEAD, "## Commands\n", *commands(), "## Keys\n", *tables(TABLES)]
    parts += [OF_DEFINITIONS.format(built_in, metrics), *tables(DEFINITION)]
    return "\n".join(parts)


# --- commands
# ----------------------------------------------------------------------------------------------------


def commands() -> Iterator[str]:
    """Yield a section per command: usage, description, arguments and options, examples."""
    root: Any = typer.main.get_command(app)
    for path, command in _leaves(root, "comp"):
        yield f"### `{path}`\n"
        yield f"    {_usage(path, command)}\n"
        yield _prose(command.help or "") + "\n"
        rows = [_parameter(each) for each in command.params if not getattr(each, "hidden", False)]
        if rows:
            yield "\n".join(["| option | meaning |", "|---|---|", *rows]) + "\n"
        yield from _examples(command.epilog or "")


def _examples(epilog: str) -> Iterator[str]:
    """Yield the examples at the end of a command's help."""
    examples = [line.strip() for line in epilog.splitlines() if line.startswith("  ")]
    if examples:
        yield "\n".join(f"    {line}" for line in examples) + "\n"


def _leaves(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    children = getattr(command, "commands", {})
    if not children or getattr(command, "invoke_without_command", False):
        yield path, command
    for name, child in children.items():
        yield from _leaves(child, f"{path} {name}")


def _name(parameter: Any) -> str:
    """Return the placeholder of an argument, or the spellings of an option."""
    if parameter.param_type_name == "argument":
        return (parameter.metavar or parameter.name).upper().strip("[]{}.").replace("]", "")
    return ", ".join((*parameter.opts, *parameter.secondary_opts))


def _usage(path: str, command: Any) -> str:
    """Return the usage line, with the arguments in their order."""
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    words = [_name(each) if each.required else f"[{_name(each)}]" for each in arguments]
    return " ".join([path, *words, "[OPTIONS]"])


def _parameter(parameter: Any) -> str:
    names = ", ".join(f"`{name}`" for name in _name(parameter).split(", "))
    return f"| {names} | {_cell(getattr(parameter, 'help', None) or '')} |"


def _prose(text: str) -> str:
    return re.sub(r"[ \t]+\n", "\n", text.strip())


# --- keys
# --------------------------------------------------------------------------------------------------------


def tables(models: Tables) -> Iterator[str]:
    """Yield a table per model, without the keys that an earlier table explains."""
    meanings = tomllib.loads((HERE / "keys.toml").read_text(encoding="utf-8"))
    for title, model, before in models:
        own_meanings = meanings[model.__name__]
        explained = {"name", "model"}.union(*(each.model_fields for each in before))
        explained -= set(own_meanings)

        fields: dict[str, FieldInfo] = model.model_fields
        rows = [
            _key(name, field, own_meanings[name])
            for name, field in fields.items()
            if name not in explained
        ]
        yield f"### {title}\n"
        yield "\n".join(["| key | values | default | meaning |", "|---|---|---|---|", *rows]) + "\n"


def _key(name: str, field: FieldInfo, meaning: str) -> str:
    default = ""
    if not field.is_required():
        default = _value(field.get_default(call_default_factory=True, validated_data={}))
    return f"| `{name}` | {_values(field)} | {default} | {_cell(meaning)} |"


def _values(field: FieldInfo) -> str:
    bounds = [
        f"{sign} {getattr(m, key):g}"
        for m in field.metadata
        for key, sign in _BOUNDS
        if hasattr(m, key)
    ]
    return ", ".join([_type(field.annotation), *bounds])


_BOUNDS = (("gt", ">"), ("ge", ">="), ("lt", "<"), ("le", "<="))
_WORDS = {str: "text", int: "integer", float: "number", bool: "`true` or `false`"}


def _type(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return " ".join(f"`{value}`" for value in get_args(kind))
    if get_origin(kind) is tuple:
        element, *others = get_args(kind)
        return f"{'list' if others == [...] else 'pair'} of {_type(element)}"
    if get_origin(kind) in (Union, types.UnionType):
        return " or ".join(_type(each) for each in get_args(kind) if each is not type(None))
    return _WORDS.get(kind, "table")


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, (tuple, list)):
        return " ".join(f"`{each}`" for each in value) or "none"
    if isinstance(value, dict):
        return ", ".join(
            f"`{key} = {each}`" for key, each in value.items() if isinstance(each, str)
        )
    if isinstance(value, BaseModel):
        return ""
    return f"`{value}`" if value not in ("", None) else "none"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    REFERENCE.write_text(reference(), encoding="utf-8")
