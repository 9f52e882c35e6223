"""`python -m competition …` is `comp …`."""

from competition.cli import app

app()
