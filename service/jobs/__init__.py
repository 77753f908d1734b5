"""Jobs: what the service keeps of a run."""
