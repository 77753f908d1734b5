"""The tasks of vtab-mini, one file per task.

The docstring of a task's file says what the task asks of a network. Shared drawing is in underscored modules.
"""
