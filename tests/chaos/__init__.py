"""Chaos: things happen to a stack while jobs run. `make chaos`."""
