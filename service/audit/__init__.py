"""The audit: who changed what, when, and from where."""
