"""Models in folders that stand alone: no workspace, no data and no settings beside them."""
