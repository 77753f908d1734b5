"""Sessions: what a browser keeps in the place of a key, and one-time links that begin one."""
