"""What checkpoints of unfinished training say of themselves; `training/checkpoints.py` writes and reads them."""

import os
from pathlib import Path

from competition.core.json_files import read_json

FORMAT = 2  # raise it when training goes on otherwise: older checkpoints are then ignored
CARD = "state.json"


def checkpoint_fingerprints(folder: Path) -> set[str]:
    """What the checkpoints below a folder were made from, as far as this version can go on from them.

    Another process may be writing and removing them meanwhile.
    """
    cards = (read_json(Path(where) / CARD) for where, _, files in os.walk(folder) if CARD in files)
    return {str(card.get("inputs")) for card in cards if card.get("format") == FORMAT}
