"""Limits of what a caller may ask for."""
