"""The catalogue of what a spec can name."""
