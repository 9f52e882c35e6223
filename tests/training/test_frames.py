"""A reader who follows `comp train` to the model passes few functions of ours on the way."""

import traceback
from pathlib import Path

import pytest

import competition
from competition.models.encoder.model import RelevanceModel
from tests.cli.conftest import C1_ALONE, SHORT, TRAIN
from tests.conftest import comp, make_workspace

PACKAGE = Path(competition.__file__).parent
MOST = 10  # frames, that of the command and that of the model's `forward` included


class Reached(BaseException):
    """The model is about to compute."""


def test_ten_frames_lead_from_the_command_to_the_first_forward(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = make_workspace(tmp_path / "w", settings=C1_ALONE + SHORT)
    stack: list[str] = []

    def forward(*_: object) -> None:
        for frame in traceback.extract_stack()[:-1]:
            path = Path(frame.filename)
            if path.is_relative_to(PACKAGE):
                stack.append(f"{path.relative_to(PACKAGE)}:{frame.name}")
        stack.append("models/encoder/model.py:forward")
        raise Reached

    monkeypatch.setattr(RelevanceModel, "forward", forward)
    with pytest.raises(Reached):
        comp(*TRAIN, "-w", workspace.root)

    frames = stack[stack.index("cli/train.py:train") :]
    assert len(frames) <= MOST, "\n".join(frames)
    of_training = [frame for frame in frames if frame.startswith("training/")]
    assert len(of_training) <= 5, "\n".join(of_training)
