"""`python -m competition …` is `comp …`: what process launchers need."""

from competition.cli import app

app()
