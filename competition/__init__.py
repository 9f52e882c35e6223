"""A competition harness for query-product relevance (Amazon KDD Cup 2022, ESCI)."""

__version__ = "0.1.0"
