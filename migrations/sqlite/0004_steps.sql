-- The steps from a push to the first task of its jobs, summed up: when each
-- ended. Those of waiting are in the attempt's and the run's own rows.
CREATE TABLE steps (
    attempt_id      BLOB NOT NULL REFERENCES attempts (id) ON DELETE CASCADE,
    step            TEXT NOT NULL,
    -- The span whose end ends it, where there is one.
    span            INTEGER,
    ended_at        INTEGER,
    PRIMARY KEY (attempt_id, step)
);

-- How its machine came to be: pooled, on_demand or cold.
ALTER TABLE attempts ADD COLUMN machine_start TEXT;
