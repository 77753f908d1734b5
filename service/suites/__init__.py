"""Suites: rows × tasks × seeds as one submission, finished into a table."""
