"""What the service does with the storage root beyond a job's own files: checks, measures and tidies it."""
