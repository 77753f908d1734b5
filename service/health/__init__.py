"""How the parts of the stack are."""
