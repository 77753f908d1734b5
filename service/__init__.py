"""The job service: takes jobs over REST, keeps them in Postgres, leases them to workers.

Importing this package loads nothing, so that the client (`service.client`) can be used alone.
"""
