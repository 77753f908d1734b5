"""The pages: a module each, with its `routes` and, beside it, its template. A new one is found by being here."""
