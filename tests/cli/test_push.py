"""`comp push` sends nothing unless it is told to, and then what was compared."""

from pathlib import Path
from typing import Any

import pytest

from competition.models.exported.folder import FolderCard, write_certificate
from tests.conftest import comp, refused


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder as an export leaves it, with hidden files of other tools."""
    target = tmp_path / "model"
    target.mkdir()
    FolderCard("r", "all", "gain", ("title",), 16, "esci", {}, {}, "held-out", ()).write(target)
    (target / "README.md").write_text("---\nlicense: mit\n---\n")
    (target / "model.safetensors").write_bytes(b"1234")
    write_certificate(target, {})
    (target / ".env").write_text("TOKEN=1")
    return target


class Hub:
    """Records what is sent."""

    calls: tuple[dict[str, Any], ...] = ()

    def create_repo(self, repository: str, **keys: Any) -> str:
        Hub.calls += ({"repository": repository, **keys},)
        return f"https://hub/{repository}"

    def upload_folder(self, **keys: Any) -> None:
        Hub.calls += (keys,)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> type[Hub]:
    """The hub, without a network."""
    import huggingface_hub

    monkeypatch.setattr(Hub, "calls", ())
    monkeypatch.setattr(huggingface_hub, "HfApi", Hub)
    return Hub


def test_it_shows_what_would_be_sent_and_sends_nothing(folder: Path, hub: type[Hub]) -> None:
    result = comp("push", folder, "team/reranker")
    assert result.exit_code == 0
    assert "model.safetensors" in result.output
    assert ".env" not in result.output
    assert "Nothing was uploaded" in result.output
    assert hub.calls == ()


def test_a_folder_without_its_model_card_states_no_licence(folder: Path) -> None:
    (folder / "README.md").unlink()
    result = comp("push", folder, "team/reranker")
    assert result.exit_code == 0, result.output
    assert "states no licence" in result.stderr


def test_it_sends_the_files_of_the_certificate(folder: Path, hub: type[Hub]) -> None:
    assert comp("push", folder, "team/reranker", "--upload").exit_code == 0
    made, sent = hub.calls
    assert (made["repository"], made["private"]) == ("team/reranker", True)
    names = ["README.md", "certificate.json", "competition.json", "model.safetensors"]
    assert sent["allow_patterns"] == names


def test_it_refuses_what_differs_and_what_is_no_repository(folder: Path, hub: type[Hub]) -> None:
    assert "write OWNER/NAME" in refused("push", folder, "reranker", "--upload")
    (folder / "model.safetensors").write_bytes(b"1235")
    assert "model.safetensors is changed" in refused("push", folder, "team/reranker", "--upload")
    assert hub.calls == ()


def test_a_hub_that_refuses_is_named(
    folder: Path, hub: type[Hub], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("401 Unauthorized.\nmore")

    monkeypatch.setattr(Hub, "create_repo", fail)
    result = comp("push", folder, "team/reranker", "--upload")
    assert result.exit_code == 1
    assert "failed (401 Unauthorized): log in with `hf auth login`" in result.stderr
