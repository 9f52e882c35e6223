"""Faults by the hundred, bad inputs by the thousand: `make soak`. `make test` does the same in small."""
