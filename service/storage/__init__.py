"""Care of the storage root beyond a job's own files: it is checked, measured and tidied."""
