"""What jobs say, in order."""
