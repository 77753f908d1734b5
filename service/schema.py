"""All tables: what migrations compare the database with."""

from service.db import Base
from service.events import tables as events
from service.health import tables as health
from service.jobs import tables as jobs
from service.keys import tables as keys
from service.leases import tables as leases

METADATA = Base.metadata
MODULES = (keys, jobs, events, leases, health)
