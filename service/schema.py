"""All tables: what migrations compare the database with."""

from service.audit import tables as audit
from service.clusters import tables as clusters
from service.datasets import tables as datasets
from service.db import Base
from service.events import tables as events
from service.health import tables as health
from service.jobs import tables as jobs
from service.keys import tables as keys
from service.projects import tables as projects
from service.sessions import tables as sessions
from service.studies import tables as studies
from service.suites import tables as suites

METADATA = Base.metadata
MODULES = (projects, keys, audit, jobs, events, clusters, health, suites, studies, datasets, sessions)
