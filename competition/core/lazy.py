"""`pd`, `pa` and `pq` are pandas, pyarrow and its parquet files, imported when they are first used.

What reads fingerprints alone, such as `comp status`, never waits for them.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq
else:
    from importlib import import_module

    class _Lazy:
        def __init__(self, module: str) -> None:
            self._module = module

        def __getattr__(self, name: str) -> object:
            return getattr(import_module(self._module), name)

    pd = _Lazy("pandas")
    pa = _Lazy("pyarrow")
    pq = _Lazy("pyarrow.parquet")

__all__ = ["pa", "pd", "pq"]
