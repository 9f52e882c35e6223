"""The files of an exported folder, and whether they are what was compared.

No heavy import: a folder is checked before anything in it is loaded.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from competition.core.console import warn
from competition.core.errors import InputError, join_names, pluralize
from competition.core.fingerprint import digest_file
from competition.core.json_files import read_json, write_json
from competition.scoring.contest import Contest, Found
from competition.scoring.definition import build_contest
from competition.scoring.definition_tables import Definition

CARD = "competition.json"  # what the logits are of, and how text is read
CERTIFICATE = "certificate.json"  # the comparison, and the digests of all files
README = "README.md"
ONE_LABEL = "one-label"  # the folder of the form for servers of rerankers
ONNX = "onnx"  # the folder of the other forms
FP32 = "model.onnx"
DYNAMIC = "model_int8_dynamic.onnx"
STATIC = "model_int8_static.onnx"
FORMAT = 1
_ORDERED = ("field_orders", "locales", "tasks")  # tables of a definition: the first of each counts

TORCH = "torch"
GRAPHS = {"onnx": FP32, "int8-dynamic": DYNAMIC, "int8-static": STATIC}  # form -> file of a graph


@dataclass(frozen=True)
class FolderCard:
    """What an exported folder says of itself beside the files of the library.

    Attributes:
        run: the recipe.
        model: which of the run's models it is, in words.
        kind: the name of its kind of prediction.
        fields: the fields of a product in the order in which they are joined to one text.
        max_length: in tokens.
        contest: the name of the competition.
        definition: its definition, as JSON.
        found: what the data said where the definition leaves it open.
        basis: what the run's own scores are.
        label_paths: how labels reached these.
        orders: of the names in those tables of the definition whose order counts, since JSON sorts
            them; empty in folders of earlier versions.
        format: of the folder.
    """

    run: str
    model: str
    kind: str
    fields: tuple[str, ...]
    max_length: int
    contest: str
    definition: Mapping[str, Any]
    found: Mapping[str, tuple[str, ...]]
    basis: str
    label_paths: tuple[str, ...]
    orders: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    format: int = FORMAT

    def read_contest(self) -> Contest:
        """Return the competition that the model was trained for."""
        tables = {
            table: {name: self.definition[table][name] for name in names}
            for table, names in self.orders.items()
        }
        definition = Definition.model_validate_json(_json({**self.definition, **tables}))
        contest = build_contest(self.contest, definition, CARD)
        return contest.completed(Found(**{key: tuple(names) for key, names in self.found.items()}))

    def write(self, folder: Path) -> None:
        """Write the card."""
        write_json(folder / CARD, asdict(self))

    @classmethod
    def read(cls, folder: Path) -> "FolderCard":
        """Read the card of a folder; raises InputError where it is damaged or of a later format."""
        content = read_json(folder / CARD)
        if content.get("format", FORMAT) != FORMAT:
            raise InputError(
                f"{folder} has the format {content['format']!r}, this version reads {FORMAT}: update comp."
            )
        try:
            tuples = {key: tuple(content[key]) for key in ("fields", "label_paths")}
            return cls(**{**content, **tuples})
        except (KeyError, TypeError):
            raise InputError(f"{folder / CARD} is damaged: export the run again.") from None


def orders_of(definition: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Return the names in those tables of a definition, as JSON, whose order counts."""
    tables = {name: definition.get(name) for name in _ORDERED}
    return {name: tuple(table) for name, table in tables.items() if isinstance(table, dict)}


def _json(content: Mapping[str, Any]) -> str:
    import json

    return json.dumps(content)


def is_exported(folder: Path) -> bool:
    """Return whether a path is a folder that `comp export` wrote, whatever became of it since."""
    return (folder / CARD).is_file() or (folder / CERTIFICATE).is_file()


def foreign_files(folder: Path) -> list[str]:
    """Return the names of the files in an exported folder that its certificate does not name, sorted."""
    named = read_json(folder / CERTIFICATE).get("files")
    written = {CERTIFICATE, README, CARD, *(named if isinstance(named, dict) else ())}
    present = {
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()
    }
    return sorted(present - written)


def write_certificate(folder: Path, content: Mapping[str, Any]) -> None:
    """Write the comparison with the digests of all files; nothing may be written there afterwards."""
    digests = {name: digest_file(folder / name) for name in _files(folder)}
    write_json(folder / CERTIFICATE, {**content, "files": digests})


def check_files(folder: Path) -> dict[str, Any]:
    """Return the certificate of a folder whose files are those that it was written for.

    What people edit and what tools leave behind, README.md, a licence and names with a dot, are no
    part of the model: a changed README.md is a warning, the others are not looked at.

    Raises:
        InputError: naming the certificate or the files that were changed, removed or added.
    """
    certificate = read_json(folder / CERTIFICATE)
    expected = certificate.get("files")
    if not isinstance(expected, dict) or not expected:
        raise InputError(
            f"{folder / CERTIFICATE} is missing or damaged, so nothing says what the model was compared with: "
            "export the run again."
        )

    present = set(_files(folder))
    missing = sorted(expected.keys() - present)
    added = sorted(present - expected.keys())
    changed = sorted(
        name for name in expected.keys() & present if digest_file(folder / name) != expected[name]
    )
    if README in (*missing, *changed):
        warn(f"{folder / README} differs from its certificate: its figures may be others.")

    named = {"missing": missing, "not named there": added, "changed": changed}
    faults = [
        f"{join_names(name for name in names if name != README)} {_is(names)} {fault}"
        for fault, names in named.items()
        if set(names) - {README}
    ]
    if faults:
        raise InputError(
            f"{folder} differs from its certificate: {'; '.join(faults)}: export the run again."
        )
    return certificate


def _is(names: list[str]) -> str:
    return "is" if len(set(names) - {README}) == 1 else "are"


def _files(folder: Path) -> Iterator[str]:
    """Yield the names of the files that are part of a model, from the folder, sorted."""
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        hidden = any(part.startswith(".") for part in name.parts)
        if path.is_file() and not hidden and str(name) not in (CERTIFICATE, "LICENSE"):
            yield name.as_posix()


def exported_files(folder: Path) -> list[str]:
    """Return the names of the files of a folder that leave with it, from the folder, sorted."""
    return sorted([*_files(folder), CERTIFICATE])


def size_of(folder: Path) -> str:
    """Return how many files a folder has and how large they are, in words."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    total = sum(path.stat().st_size for path in files)
    return f"{pluralize(len(files), 'file')}, {total / 1e6:,.1f} MB"
