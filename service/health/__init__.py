"""Health of the parts of the stack."""
