"""Projects: what jobs and keys belong to."""
