"""Studies: searches over a job's fields, driven by Ray Tune in a worker; every trial is a child job."""
