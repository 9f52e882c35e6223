"""Processes, files and the terminal; knows nothing of competitions."""
