"""What artefacts say of themselves."""

import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from competition.core.atomic import atomic_folder
from competition.core.fingerprint import fingerprint
from competition.core.json_files import read_json, read_manifest, write_json, write_manifest

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=10,
)


def test_json_comes_back_and_is_empty_where_it_is_unreadable(tmp_path: Path) -> None:
    path = tmp_path / "card.json"
    assert read_json(path) == {}
    write_json(path, {"b": 1, "a": "é"})
    assert read_json(path) == {"a": "é", "b": 1}
    text = path.read_text(encoding="utf-8")
    checksum = fingerprint({"a": "é", "b": 1})
    assert text == f'{{\n  "a": "é",\n  "b": 1,\n  "own_checksum": "{checksum}"\n}}\n'
    for broken in (b"{", b"[1]", b"\xff", text.replace("1", "2", 1).encode(), b"[" * 100_000):
        path.write_bytes(broken)
        assert read_json(path) == {}
    path.write_text('{"a": 1}', encoding="utf-8")  # as it was written before there were checksums
    assert read_json(path) == {"a": 1}


@given(JSON)
def test_what_json_may_hold_passes_its_checksum(content: object) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "card.json"
        write_json(path, {"content": content, "shares": {10: 0.1, 9: float("inf")}})
        assert read_json(path) == {"content": content, "shares": {"10": 0.1, "9": float("inf")}}


def test_a_folder_whose_files_have_changed_says_nothing_of_itself(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "model") as folder:
        (folder / "deep").mkdir()
        (folder / "deep" / "weights").write_bytes(b"0123456789")
        write_manifest(folder, "inputs-1")
    weights = tmp_path / "model" / "deep" / "weights"
    assert read_manifest(tmp_path / "model") == "inputs-1"
    for broken in (b"0123456788", b"01234", None):
        weights.unlink() if broken is None else weights.write_bytes(broken)
        assert read_manifest(tmp_path / "model") is None
    weights.write_bytes(b"0123456789")
    assert read_manifest(tmp_path / "model") == "inputs-1"
    (tmp_path / "model" / "made_from.json").write_text(
        '{"inputs": "inputs-1"}'
    )  # from before there were digests
    assert read_manifest(tmp_path / "model") == "inputs-1"
