"""How a backbone is adapted: one file a method."""
