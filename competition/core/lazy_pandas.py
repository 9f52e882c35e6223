"""`pd` is pandas, imported when it is first used: what reads fingerprints alone, such as `comp status`, never waits."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd
else:

    class _Pandas:
        def __getattr__(self, name: str) -> object:
            import pandas

            return getattr(pandas, name)

    pd = _Pandas()

__all__ = ["pd"]
