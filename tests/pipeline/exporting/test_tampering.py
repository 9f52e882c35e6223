"""A folder that was changed is refused by the name of the file, or said to differ."""

import shutil
from pathlib import Path

import pytest

import competition
from competition.core.errors import InputError
from competition.core.json_files import read_json, write_json
from competition.core.workspace import Workspace
from competition.models.exported.folder import check_files, exported_files
from tests.pipeline.exported import copy_of

Made = tuple[Workspace, Path]

# Files by which libraries would read otherwise what is there, or nothing at all.
ADDED = (
    "adapter_config.json",
    "adapter_model.safetensors",
    "added_tokens.json",
    "chat_template.jinja",
    "generation_config.json",
    "model.safetensors.index.json",
    "modules.json",
    "config_sentence_transformers.json",
    "pytorch_model.bin",
    "sentence_bert_config.json",
    "special_tokens_map.json",
    "vocab.txt",
    "modeling_custom.py",
    "onnx/model.onnx",
    "one-label/adapter_config.json",
)
CHANGES = {
    "first byte": lambda content: bytes([content[0] ^ 1]) + content[1:],
    "middle byte": lambda content: _flip(content, len(content) // 2),
    "last byte": lambda content: _flip(content, len(content) - 1),
    "cut": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "longer": lambda content: content + b" ",
    "swapped": lambda content: content[1:] + content[:1],
    "zeroed": lambda content: bytes(len(content)),
}


def _flip(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


@pytest.fixture
def folder(exported: Made, tmp_path: Path) -> Path:
    """A copy of the exported folder."""
    return copy_of(exported[1], tmp_path / "model")


def test_every_change_of_every_file_is_refused_by_its_name(folder: Path) -> None:
    names = [name for name in exported_files(folder) if name != "README.md"]
    tried = 0
    for name in names:
        path = folder / name
        content = path.read_bytes()
        for kind, change in CHANGES.items():
            if (name, kind) == ("certificate.json", "longer"):
                continue  # a blank behind it says nothing else
            path.write_bytes(change(content))
            with pytest.raises(InputError, match=name.replace(".", r"\.")):
                check_files(folder)
            tried += 1
        path.unlink()
        with pytest.raises(InputError, match=rf"{name}.* is missing"):
            check_files(folder)
        path.write_bytes(content)
        tried += 1
    assert check_files(folder)
    assert tried >= 80


@pytest.mark.parametrize("name", ADDED)
def test_a_file_that_libraries_would_read_is_refused(name: str, folder: Path) -> None:
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text("{}")
    with pytest.raises(InputError, match=rf"differs from its certificate: {name} is not named"):
        competition.load(str(folder))


def test_what_is_written_as_ours_is_refused_all_the_same(folder: Path) -> None:
    card = read_json(folder / "competition.json")
    write_json(folder / "competition.json", {**card, "max_length": 16})
    with pytest.raises(InputError, match=r"competition\.json is changed"):
        competition.load(str(folder))
    certificate = folder / "certificate.json"
    certificate.write_text(certificate.read_text().replace("test rows", "all rows"))
    with pytest.raises(InputError, match=r"certificate\.json is missing or damaged"):
        competition.load(str(folder))


def test_two_files_that_changed_places_are_both_named(folder: Path) -> None:
    one, other = folder / "model.safetensors", folder / "one-label" / "model.safetensors"
    aside = folder.parent / "aside"
    shutil.move(one, aside), shutil.move(other, one), shutil.move(aside, other)
    with pytest.raises(InputError, match=r"model\.safetensors, one-label/model\.safetensors are"):
        competition.load(str(folder))


def test_an_edited_card_is_a_warning_and_a_licence_beside_it_is_welcome(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "README.md").write_text("Our model.")
    (folder / "LICENSE").write_text("Apache")
    (folder / ".gitattributes").write_text("*.safetensors filter=lfs")
    assert competition.load(str(folder)).score("red lamp", ["Lamp"]).shape == (1,)
    assert "README.md differs from its certificate" in capsys.readouterr().err


def test_a_folder_of_another_tool_is_refused(tmp_path: Path, folder: Path) -> None:
    for name in ("certificate.json", "competition.json"):
        (folder / name).unlink()
    with pytest.raises(InputError, match="not a folder that `comp export` wrote"):
        competition.load(str(folder))
