"""Tests of the rules that say where a workspace stands."""
