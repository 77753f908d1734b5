"""What owns the step's loss: one file a regularizer."""
