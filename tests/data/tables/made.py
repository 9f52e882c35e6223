"""Files of a contest of the user's own, written and read."""

from pathlib import Path
from typing import Any

import pandas as pd

from competition.core.workspace import Workspace
from competition.data import store
from competition.data.tables.reader import read_tables
from competition.scoring.contest import Contest
from competition.scoring.definition import build_contest
from competition.scoring.definition_tables import Definition

TASKS = {"ranking": {"kind": "rank", "metric": "ndcg", "answer": ["query", "product_id"]}}
ROWS = "query,title,label\nred cup,A red cup,3\nred cup,A blue cup,1.0\nlamp,Desk lamp,2\n"


def contest(**keys: Any) -> Contest:
    """Return the contest of a definition called `mine`, by default of title and description."""
    content = {"fields": ["title", "description"], "tasks": TASKS} | keys
    return build_contest("mine", Definition.model_validate(content), "mine.toml")


def read(
    folder: Path, of: Contest, called: dict[str, str] | None = None, **files: str | bytes
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Write files, `rows_csv` as `rows.csv`, and read the only one, or the folder of several."""
    for name, content in files.items():
        path = folder / name.replace("_", ".")
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    root = path if len(files) == 1 else folder
    return read_tables(root, of, called or {})


def saved(folder: Path, of: Contest, **files: str | bytes) -> tuple[Workspace, Contest]:
    """Import files into a workspace; return it with the contest that its data complete."""
    examples, products = read(folder, of, **files)
    home = folder / "workspace"
    home.mkdir()
    (home / "competition.toml").write_text("")
    workspace = Workspace.open(home)
    store.save(workspace, of, examples, products, "test")
    return workspace, of.completed(store.load_card(workspace).found)
