"""Fixtures of several folders of tests."""

from tests.pipeline.exported import exported

__all__ = ["exported"]
