"""Tasks, metrics, prediction files and answer files."""
