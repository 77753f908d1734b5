"""Events of jobs, in order."""
