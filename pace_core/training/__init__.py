"""The loop and what it stands on: optimizer, schedule, evaluation, checkpoint, precision."""
