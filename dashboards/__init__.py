"""Web pages over the REST API: nothing here knows the database, Ray or a tensor."""
