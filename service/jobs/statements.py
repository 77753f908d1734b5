"""The ledger's statements that write several tables at once: one round trip for all that belongs together."""

from sqlalchemy import text

# Columns of a job that whoever submits it fills in, with their types.
GIVEN = {
    **dict.fromkeys(("id", "project", "owner", "name", "row", "lane", "task", "phase", "device"), "text"),
    **dict.fromkeys(("benchmark", "init_uri", "suite", "study", "retry_of"), "text"),
    **dict.fromkeys(("priority", "max_attempts", "seed"), "integer"),
    **dict.fromkeys(("tags", "spec"), "jsonb"),
    "max_runtime_s": "double precision",
    "memory_bytes": "bigint",
}
_COLUMNS = ", ".join(f'"{name}"' for name in GIVEN)
# as in other answers; text() takes a bare colon for a parameter
_NOW = r"""to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24\:MI\:SS.US"Z"')"""
SUBMIT = text(f"""
    WITH given AS (
        SELECT * FROM jsonb_to_recordset(CAST(:given AS jsonb)) AS given (
            {", ".join(f'"{name}" {kind}' for name, kind in GIVEN.items())},
            audit jsonb, once jsonb)
    ), keys AS (
        INSERT INTO idempotency_keys (api_key, route, key, body_hash, status, answer)
        SELECT api_key, route, key, body_hash, status, answer || jsonb_build_object('created_at', {_NOW})
        FROM given, jsonb_to_record(once) AS once (
            api_key text, route text, key text, body_hash text, status integer, answer jsonb)
        WHERE given.once IS NOT NULL ORDER BY api_key, route, key  -- two that do so wait for each other in one order
        ON CONFLICT DO NOTHING RETURNING answer ->> 'id' AS job
    ), new AS (
        SELECT * FROM given WHERE once IS NULL OR id IN (SELECT job FROM keys)
    ), said AS (
        INSERT INTO job_events (job, number, attempt, at, type, data)
        SELECT id, 1, 0, now(), 'state', '{{"move": "submit", "state": "queued", "attempt": 0}}' FROM new
    ), audited AS (
        INSERT INTO audit (actor, role, key, action, target, project, detail, address, request)
        SELECT entry.* FROM new, jsonb_to_record(audit) AS entry (
            actor text, role text, key text, action text, target text, project text, detail jsonb, address text,
            request text)
        WHERE new.audit IS NOT NULL
    )
    INSERT INTO jobs (state, event_count, attempt, failures, runtime_s, created_at, {_COLUMNS})
    SELECT 'queued', 1, 0, 0, 0.0, now(), {_COLUMNS} FROM new RETURNING id, created_at
""")
"""Adds jobs (`given`: JSON records of GIVEN's columns, audit and once), each with its first event, by the
database's clock."""

CLAIM = text("""
    WITH given AS (
        SELECT * FROM jsonb_to_recordset(CAST(:given AS jsonb)) AS given (
            job text, cluster text, slot text, node text, device text, token_hash text)
    ), free AS (  -- what another claim holds is passed over
        SELECT id FROM jobs WHERE id IN (SELECT job FROM given) AND state = ANY(:sources) AND not_before IS NULL
        FOR UPDATE SKIP LOCKED
    ), moved AS (
        UPDATE jobs SET state = :target, attempt = attempt + 1, event_count = event_count + 1,
               lease_expires_at = now() + make_interval(secs => :lease_s), started_at = coalesce(started_at, now())
        FROM free WHERE jobs.id = free.id
        RETURNING jobs.id, attempt, event_count, spec, init_uri, max_runtime_s, runtime_s
    ), begun AS (
        INSERT INTO attempts (job, number, cluster, slot, node, device, token_hash, folder, last_seq, said_end)
        SELECT id, attempt, cluster, slot, node, device, coalesce(token_hash, ''),
               CAST(:folders AS text) || '/' || id || '/' || attempt, 0, false
        FROM moved JOIN given ON job = id
    ), said AS (
        INSERT INTO job_events (job, number, attempt, at, type, data)
        SELECT id, event_count, attempt, clock_timestamp(), 'state',
               jsonb_build_object('move', 'claim', 'state', CAST(:target AS text), 'attempt', attempt)
        FROM moved
    )
    SELECT moved.*, ARRAY(SELECT folder FROM attempts WHERE job = id ORDER BY number DESC) AS earlier FROM moved
""")
"""Begins an attempt of each job (`given`: JSON records of job and whereabouts); `earlier`: folders of those before."""

HEAR = text("""
    WITH held AS (  -- both rows: whoever waited for them sees them as they are by then
        SELECT id, number, last_seq, evicted, cancel_requested_at IS NOT NULL AS cancel,
               pause_requested_at IS NOT NULL AS pause,
               coalesce(runtime_s + extract(epoch FROM now() - attempts.started_at) >= max_runtime_s, false)
                   AS timed_out,
               :count > 0 OR renewed_at < now() - make_interval(secs => :rest_s) AS due
        FROM jobs JOIN attempts ON job = id AND number = jobs.attempt
        WHERE id = :job AND number = :attempt AND state = ANY(:sources)
          AND cluster = :cluster AND token_hash = :token_hash AND last_seq = coalesce(CAST(:after AS integer), last_seq)
        FOR UPDATE
    ), renewed AS (
        UPDATE jobs SET lease_expires_at = now() + make_interval(secs => :lease_s), event_count = event_count + :count,
               state = coalesce(:target, state), progress = coalesce(CAST(:progress AS jsonb), progress)
        FROM held WHERE jobs.id = held.id AND due RETURNING jobs.id, attempt, event_count
    ), heard AS (
        UPDATE attempts SET renewed_at = now(), last_seq = coalesce(CAST(:last_seq AS integer), last_seq)
        FROM renewed WHERE attempts.job = renewed.id AND number = renewed.attempt
    ), said AS (
        INSERT INTO job_events (job, number, attempt, seq, at, type, data)
        SELECT id, event_count - :count + place, attempt, seq, coalesce(at, clock_timestamp()), type, data
        FROM renewed, ROWS FROM (
            jsonb_to_recordset(CAST(:events AS jsonb)) AS (seq integer, at timestamptz, type text, data jsonb)
        ) WITH ORDINALITY AS given (seq, at, type, data, place)
        ORDER BY place  -- whoever numbers the events of all jobs goes by the order of inserts
    )
    SELECT coalesce(CAST(:last_seq AS integer), last_seq) AS last_seq, evicted, cancel, pause, timed_out FROM held
""")
"""Stores the `count` new events of an attempt (`events`: JSON records), which follow the one numbered `after`, and
renews its lease, unless nothing is new and the last renewal was less than `rest_s` ago; moves the job, where `target`
is not null. For whoever shows the lease's token only."""
