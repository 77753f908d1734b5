"""Data sets that people upload."""
