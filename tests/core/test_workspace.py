"""A workspace and its paths."""

from pathlib import Path

import pytest

from competition.core.errors import InputError
from competition.core.workspace import Workspace


def test_a_folder_without_settings_is_no_workspace(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no competition\.toml: make one with `comp init"):
        Workspace.open(tmp_path)
