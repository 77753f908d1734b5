"""The Ray clusters that lease jobs."""
