"""Checks of an encoder's folder by its files. No heavy import: the doctor reads it, too."""

import json
from pathlib import Path

from competition.core.errors import InputError, join_names

WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
_OTHER_WEIGHTS = (
    ".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".onnx", ".gguf",
)  # fmt: skip
# About tokens, but not a tokenizer.
_ABOUT_TOKENS = {"tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"}
_TOKENIZERS = ("tokenizer", "vocab", "merges", "spiece", "spm", "sentencepiece", "bpe", ".model")
_POINTER = b"version https://git-lfs"


def check_folder(folder: Path) -> None:
    """Refuse a folder that lacks what an encoder is loaded from.

    Raises:
        InputError: names what is missing and the way to it.
    """
    files = {path.name for path in folder.iterdir() if path.is_file()}

    # A clone without `git lfs` has files of the right names with three lines of text.
    pointers = sorted(name for name in files if _is_pointer(folder / name))
    if pointers:
        raise InputError(
            f"In the encoder's folder {str(folder)!r}, {join_names(pointers)} is a Git LFS pointer instead "
            "of the file: fetch the files with `git lfs pull` there."
        )

    if "adapter_config.json" in files:
        raise InputError(
            f"The encoder's folder {str(folder)!r} holds an adapter (adapter_config.json): merge it into the "
            f"{_base(folder / 'adapter_config.json')} that it belongs to (PEFT's `merge_and_unload`), save that with "
            "its tokenizer, and name its folder."
        )

    _check_config(folder, files)
    if not files & set(WEIGHTS):
        others = sorted(name for name in files if name.endswith(_OTHER_WEIGHTS))
        unread = f"; {join_names(others)} cannot be read" if others else ""
        raise InputError(
            f"The encoder's folder {str(folder)!r} holds no weights, model.safetensors or pytorch_model.bin{unread}: "
            "put the model there as `save_pretrained` writes it."
        )
    _check_parts(folder, files)

    # Families name the files of their tokenizers differently; one of them must be there.
    candidates = files - _ABOUT_TOKENS
    if not any(part in name for name in candidates for part in _TOKENIZERS):
        raise InputError(
            f"The encoder's folder {str(folder)!r} has no tokenizer (tokenizer.json, vocab.txt, or a sentencepiece "
            "model): put the one that the encoder was trained with there, as its `save_pretrained` writes it."
        )


def _is_pointer(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_POINTER)) == _POINTER


def _base(path: Path) -> str:
    """Return the model that an adapter names as its base."""
    base = _content(path).get("base_model_name_or_path")
    return f"model {base!r}" if isinstance(base, str) else "model"


def _check_config(folder: Path, files: set[str]) -> None:
    """Raise InputError where no config.json says what the encoder is."""
    if "config.json" not in files:
        inside = sorted(path.parent.name for path in folder.glob("*/config.json"))
        fix = "put it beside the weights"
        if inside:
            fix = f"name {join_names(folder / name for name in inside)}"
        raise InputError(f"The encoder's folder {str(folder)!r} has no config.json: {fix}.")

    if not isinstance(_content(folder / "config.json").get("model_type"), str):
        raise InputError(
            f"{str(folder / 'config.json')!r} does not say what the encoder is: it needs a `model_type`, such as "
            '"bert".'
        )


def _content(path: Path) -> dict[str, object]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(
            f"{str(path)!r} is damaged, it is not JSON ({error}): bring the file again."
        ) from None

    if not isinstance(content, dict):
        raise InputError(
            f"{str(path)!r} is damaged, it is not a JSON object: bring the file again."
        )
    return content


def _check_parts(folder: Path, files: set[str]) -> None:
    """Raise InputError where weights that lie in several files are not all there."""
    first = next(name for name in WEIGHTS if name in files)  # the library takes the same
    if not first.endswith(".index.json"):
        return

    parts = _content(folder / first).get("weight_map")
    named = {str(part) for part in parts.values()} if isinstance(parts, dict) else set()
    missing = sorted(named - files)
    if missing or not named:
        what = f"{join_names(missing)} are missing" if missing else "no file is named"
        raise InputError(
            f"Of the weights that {str(folder / first)!r} lists, {what}: bring all files of the encoder."
        )
