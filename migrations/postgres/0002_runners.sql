-- Runners: machines that execute, and how they prove who they are.

CREATE TABLE runners (
    id              UUID PRIMARY KEY,
    -- The organisation whose jobs it executes; none: the jobs of all.
    org_id          UUID REFERENCES orgs (id) ON DELETE CASCADE,
    name            TEXT NOT NULL,
    -- Words between commas, with one at each end: `,gpu,big,`.
    labels          TEXT NOT NULL,
    platforms       TEXT NOT NULL,
    slots           BIGINT NOT NULL,
    version         TEXT NOT NULL,
    -- What the machine made up before it registered: a registration whose
    -- answer was lost is repeated with it, and makes no second runner.
    nonce_hash      BYTEA NOT NULL UNIQUE,
    created_at      TIMESTAMPTZ NOT NULL,
    last_seen_at    TIMESTAMPTZ NOT NULL,
    -- When it said that it ends; none while it is there, or silent.
    left_at         TIMESTAMPTZ,
    draining        BOOLEAN NOT NULL,
    revoked_at      TIMESTAMPTZ,
    last_error      TEXT,
    last_error_at   TIMESTAMPTZ
);
CREATE INDEX runners_by_org ON runners (org_id, id);

-- What a machine registers with.
CREATE TABLE runner_tokens (
    id              UUID PRIMARY KEY,
    org_id          UUID REFERENCES orgs (id) ON DELETE CASCADE,
    prefix          TEXT NOT NULL,
    secret_hash     BYTEA NOT NULL UNIQUE,
    created_by      TEXT NOT NULL,
    created_at      TIMESTAMPTZ NOT NULL,
    expires_at      TIMESTAMPTZ NOT NULL,
    uses            BIGINT NOT NULL,
    used            BIGINT NOT NULL,
    revoked_at      TIMESTAMPTZ
);
CREATE INDEX runner_tokens_by_org ON runner_tokens (org_id, id);

-- What a runner works with: the newest, and the one that it was renewed with.
CREATE TABLE runner_credentials (
    secret_hash     BYTEA PRIMARY KEY,
    runner_id       UUID NOT NULL REFERENCES runners (id) ON DELETE CASCADE,
    created_at      TIMESTAMPTZ NOT NULL,
    expires_at      TIMESTAMPTZ NOT NULL
);
CREATE INDEX runner_credentials_by_runner ON runner_credentials (runner_id);

-- The runner that has or had the attempt; none: a server executed it itself.
ALTER TABLE attempts ADD COLUMN runner_id UUID REFERENCES runners (id) ON DELETE SET NULL;
CREATE INDEX attempts_by_runner ON attempts (runner_id, state);

-- The label that a runner must have to be given the job.
ALTER TABLE jobs ADD COLUMN runner_label TEXT;
