"""Projects, API keys and who asks."""
