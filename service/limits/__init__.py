"""How much of everything a caller may ask for."""
