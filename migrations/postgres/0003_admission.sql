-- Who gets the next machine: what attempts need, and what runners have.

-- Whose the attempt is, and what its machine has.
ALTER TABLE attempts ADD COLUMN org_id UUID REFERENCES orgs (id) ON DELETE CASCADE;
ALTER TABLE attempts ADD COLUMN memory_mib BIGINT NOT NULL DEFAULT 0;
ALTER TABLE attempts ADD COLUMN cpus BIGINT NOT NULL DEFAULT 0;
-- The runner that keeps free what it has until there is room for this one.
ALTER TABLE attempts ADD COLUMN kept_by UUID REFERENCES runners (id) ON DELETE SET NULL;
UPDATE attempts SET org_id = (SELECT p.org_id FROM jobs j JOIN runs r ON r.id = j.run_id
    JOIN projects p ON p.id = r.project_id WHERE j.id = attempts.job_id);
CREATE INDEX attempts_by_org ON attempts (org_id, state, queued_at);
CREATE INDEX attempts_kept ON attempts (kept_by) WHERE kept_by IS NOT NULL;

-- What the machines of all jobs together may have; none: the runner does not say.
ALTER TABLE runners ADD COLUMN memory_mib BIGINT;
ALTER TABLE runners ADD COLUMN cpus BIGINT;
-- Whether it is the executor of a server itself: it has no credential.
ALTER TABLE runners ADD COLUMN embedded BOOLEAN NOT NULL DEFAULT FALSE;
