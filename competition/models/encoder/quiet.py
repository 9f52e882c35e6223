"""Importing this keeps the library quiet: it reports every pooler that is left out and draws bars of its own.

A fault is an exception anyway.
"""

from transformers.utils import logging

logging.set_verbosity_error()
logging.disable_progress_bar()
