"""Statements by which a claim asks the queue."""

from sqlalchemy import text

from service.jobs.tables import INFRASTRUCTURE_ENDS, LEASED_JOBS

_QUEUED = "state = 'queued' AND not_before IS NULL"
_OF_OWNER = f"{_QUEUED} AND project = owners.project AND owner = owners.owner"


def _walk(start: str, until: str) -> str:
    """A loose index scan over ix_jobs_lines: from each of an owner's lanes straight to the next one."""
    return f"""(
        WITH RECURSIVE walk AS (
            (SELECT md5(lane) AS place, lane FROM jobs WHERE {_OF_OWNER} AND md5(lane) >= {start}
             ORDER BY md5(lane) LIMIT 1)
            UNION ALL
            SELECT next.* FROM walk, LATERAL (
                SELECT md5(lane) AS place, lane FROM jobs WHERE {_OF_OWNER} AND md5(lane) > walk.place
                ORDER BY md5(lane) LIMIT 1
            ) AS next
        )
        SELECT lane FROM walk WHERE place < {until} LIMIT (SELECT share FROM parts)
    )"""


# Of each owner the lanes of the first jobs, and as many from a random place on: so none is never looked at, however
# many wait before it which fit nowhere.
_LANES = f"""
    WITH RECURSIVE owners AS (
        (SELECT project, owner FROM jobs WHERE {_QUEUED} ORDER BY project, owner LIMIT 1)
        UNION ALL
        SELECT next.* FROM owners, LATERAL (
            SELECT project, owner FROM jobs WHERE {_QUEUED} AND (project, owner) > (owners.project, owners.owner)
            ORDER BY project, owner LIMIT 1
        ) AS next
    ), parts AS (
        SELECT greatest(:least, :lanes / greatest(count(*), 1)) AS share FROM owners
    )
    SELECT DISTINCT lane, project, owner FROM owners, LATERAL (
        (SELECT lane FROM jobs WHERE {_OF_OWNER} ORDER BY priority DESC, id LIMIT (SELECT share FROM parts))
        UNION ALL {_walk(":start", "'g'")}
        UNION ALL {_walk("''", ":start")}
    ) AS lanes
"""
LANES = text(_LANES)
# The first of each lane, and the oldest that have gained priority by waiting.
HEADS = text("""
    SELECT id, head.lane, head.project, head.owner, priority, memory_bytes,
           CAST(greatest(extract(epoch FROM now() - created_at), 0) AS integer)
    FROM unnest(CAST(:lanes AS text[]), CAST(:projects AS text[]), CAST(:owners AS text[]))
        AS wanted (lane, project, owner),
    LATERAL (
        (SELECT id, lane, project, owner, priority, memory_bytes, created_at FROM jobs
         WHERE state = 'queued' AND not_before IS NULL
           AND md5(lane) = md5(wanted.lane) AND lane = wanted.lane
           AND project = wanted.project AND owner = wanted.owner
         ORDER BY priority DESC, id LIMIT :count)
        UNION
        (SELECT id, lane, project, owner, priority, memory_bytes, created_at FROM jobs
         WHERE state = 'queued' AND not_before IS NULL
           AND lane = wanted.lane AND project = wanted.project AND owner = wanted.owner
           AND created_at < now() - interval '1 day'
         ORDER BY created_at LIMIT :count)
    ) AS head
""")

# Locks the cluster, unless a later request of it has come: no row then. What its earlier requests claimed is committed
# by now, and seen. `live`: jobs with an attempt in one of its idle slots, or in a slot that it does not have; whatever
# Postgres believes of how many are leased, it looks up the attempt of each by its key. `lost`: attempts that the
# cluster holds and that are over.
LOOK = text(f"""
    WITH ours AS MATERIALIZED (
        SELECT reserved FROM clusters WHERE name = :cluster AND generation = :generation FOR NO KEY UPDATE
    )
    SELECT reserved,
        ARRAY(
            SELECT jobs.id FROM jobs CROSS JOIN LATERAL (
                SELECT cluster, slot FROM attempts WHERE job = jobs.id AND number = jobs.attempt OFFSET 0
            ) AS attempt
            WHERE {LEASED_JOBS} AND cluster = :cluster
              AND (CAST(:idle AS jsonb) ? slot OR NOT CAST(:every AS jsonb) ? slot)
        ) AS live,
        (SELECT coalesce(json_agg(json_build_array(job, held.attempt)), '[]')
         FROM json_to_recordset(:holding) AS held (job text, attempt integer)
         WHERE NOT EXISTS (
            SELECT FROM jobs WHERE id = job AND jobs.attempt = held.attempt AND {LEASED_JOBS})
        ) AS lost,
        -- its parameters say little of how the statements that follow are best answered: they are planned once
        set_config('plan_cache_mode', 'force_generic_plan', true)
    FROM ours
""")

# What the choice depends on beside the heads of the lanes: what is closed in the cluster, whose data others have, how
# many may run, what runs now, by project and owner, and is promised on its nodes, where queued jobs of it broke lately;
# and the lanes.
AT_WORK = text(f"""
    SELECT
        (SELECT coalesce(json_agg(json_build_array(node, slot)), '[]') FROM closures
         WHERE cluster = :cluster AND (until IS NULL OR until > now())),
        (SELECT coalesce(json_object_agg(name, data), '{{}}') FROM clusters
         WHERE name <> :cluster AND seen_at >= now() - make_interval(secs => :seen_s)),
        (SELECT coalesce(json_object_agg(name, coalesce(max_running, CAST(:max_running AS integer))), '{{}}')
         FROM projects),
        (SELECT coalesce(json_agg(json_build_array(project, owner, count)), '[]') FROM (
            SELECT project, owner, count(*) AS count FROM jobs WHERE {LEASED_JOBS}
            GROUP BY project, owner) AS counted),
        (SELECT coalesce(json_agg(json_build_array(node, bytes)), '[]') FROM (
            SELECT node, sum(coalesce(memory_bytes, 0)) AS bytes
            FROM jobs CROSS JOIN LATERAL (
                SELECT cluster, node, device FROM attempts WHERE job = jobs.id AND number = jobs.attempt OFFSET 0
            ) AS attempt
            WHERE {LEASED_JOBS} AND cluster = :cluster AND attempt.device = 'cpu'
            GROUP BY node) AS promised),
        (SELECT coalesce(json_agg(json_build_array(job, cluster, node)), '[]') FROM attempts
         WHERE {INFRASTRUCTURE_ENDS} AND ended_at > now() - make_interval(secs => :avoided_s) AND job IN (
            SELECT job FROM attempts JOIN jobs ON jobs.id = job
            WHERE cluster = :cluster AND attempts.{INFRASTRUCTURE_ENDS}
              AND attempts.ended_at > now() - make_interval(secs => :avoided_s)
              AND state = 'queued' AND not_before IS NULL)),
        (SELECT coalesce(json_agg(json_build_array(lane, project, owner)), '[]') FROM ({_LANES}) AS lines)
""")
