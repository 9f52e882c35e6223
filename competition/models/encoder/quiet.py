"""Importing this keeps the libraries quiet, and from fetching code.

Transformers reports every pooler that is left out and draws bars of its own; a fault is an exception
anyway. Where the package `kernels` is installed, bitsandbytes would fetch compiled code from the
model hub by it when it is imported, and it warns where `kernels` is missing.
"""

import logging
import sys

from transformers.utils import logging as transformers_logging

transformers_logging.set_verbosity_error()
transformers_logging.disable_progress_bar()
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
sys.modules.setdefault("kernels", None)  # type: ignore[arg-type]  # an import of it fails
