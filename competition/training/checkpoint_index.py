"""The fingerprints of unfinished training, read without torch; `training/checkpoints.py` writes and reads the rest."""

import os
from pathlib import Path

from competition.core.json_files import read_json

FORMAT = 2  # raise it when training resumes otherwise: older checkpoints are then ignored
CARD = "state.json"


def checkpoint_fingerprints(folder: Path) -> set[str]:
    """Return the fingerprints of the checkpoints below a folder from which this version can resume.

    Another process may be writing and removing them meanwhile.
    """
    cards = (read_json(Path(where) / CARD) for where, _, files in os.walk(folder) if CARD in files)
    return {str(card.get("inputs")) for card in cards if card.get("format") == FORMAT}
