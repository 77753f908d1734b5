"""Leases, by which workers take jobs and report on them."""
