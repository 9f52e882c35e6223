"""The command `comp`: one small file per command.

Each parses, calls and prints; heavy imports happen inside its functions. Importing a command's
module is what adds it to `app`; the order here is the order of `comp --help`.
"""

# ruff: noqa: I001, F401
from competition.cli.app import app
from competition.cli import init
from competition.cli import recipes
from competition.cli import data
from competition.cli import folds
from competition.cli import pretrain
from competition.cli import train
from competition.cli import member
from competition.cli import cleanlab
from competition.cli import stack
from competition.cli import audit_leaks
from competition.cli import predict
from competition.cli import distill
from competition.cli import export
from competition.cli import serve
from competition.cli import push
from competition.cli import submit
from competition.cli import leaderboard
from competition.cli import check
from competition.cli import score
from competition.cli import compare
from competition.cli import run
from competition.cli import plan
from competition.cli import merge
from competition.cli import status
from competition.cli import doctor
from competition.cli import report
from competition.cli import ablate
from competition.cli import tune
from competition.cli import curve
from competition.cli import clean

__all__ = ["app"]
