-- People, organisations, projects, runs, telemetry.
-- The same steps exist for both engines; see the table of column shapes in
-- server/src/db/mod.rs.

CREATE TABLE users (
    id              UUID PRIMARY KEY,
    email           TEXT NOT NULL,
    -- The address in lower case: what must be unique and is looked up.
    email_key       TEXT NOT NULL UNIQUE,
    name            TEXT NOT NULL,
    password_hash   TEXT,
    instance_admin  BOOLEAN NOT NULL,
    disabled_at     TIMESTAMPTZ,
    created_at      TIMESTAMPTZ NOT NULL
);

-- The one-time set-up link. One row at most.
CREATE TABLE setup (
    id              BIGINT PRIMARY KEY CHECK (id = 1),
    token_hash      BYTEA NOT NULL,
    created_at      TIMESTAMPTZ NOT NULL,
    used_at         TIMESTAMPTZ
);

CREATE TABLE orgs (
    id              UUID PRIMARY KEY,
    slug            TEXT NOT NULL UNIQUE,
    display_name    TEXT NOT NULL,
    created_at      TIMESTAMPTZ NOT NULL
);

CREATE TABLE members (
    org_id          UUID NOT NULL REFERENCES orgs (id) ON DELETE CASCADE,
    user_id         UUID NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    role            TEXT NOT NULL,
    created_at      TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (org_id, user_id)
);
CREATE INDEX members_by_user ON members (user_id);

CREATE TABLE projects (
    id              UUID PRIMARY KEY,
    org_id          UUID NOT NULL REFERENCES orgs (id) ON DELETE CASCADE,
    slug            TEXT NOT NULL,
    description     TEXT NOT NULL,
    settings        TEXT NOT NULL,
    next_run        BIGINT NOT NULL,
    created_at      TIMESTAMPTZ NOT NULL,
    UNIQUE (org_id, slug)
);

-- A signed-in browser. The cookie's id is stored hashed, so that a copy of
-- this table signs nobody in.
CREATE TABLE sessions (
    id              UUID PRIMARY KEY,
    key_hash        BYTEA NOT NULL UNIQUE,
    user_id         UUID NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    -- The organisation whose own sign-in this session went through, if any.
    org_id          UUID REFERENCES orgs (id) ON DELETE CASCADE,
    assurance       TEXT NOT NULL,
    methods         TEXT NOT NULL,
    authenticated_at TIMESTAMPTZ NOT NULL,
    created_at      TIMESTAMPTZ NOT NULL,
    last_seen_at    TIMESTAMPTZ NOT NULL,
    idle_until      TIMESTAMPTZ NOT NULL,
    absolute_until  TIMESTAMPTZ NOT NULL,
    ip              TEXT NOT NULL,
    user_agent      TEXT NOT NULL
);
CREATE INDEX sessions_by_user ON sessions (user_id);
CREATE INDEX sessions_by_end ON sessions (idle_until);

CREATE TABLE tokens (
    id              UUID PRIMARY KEY,
    user_id         UUID NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    project_id      UUID REFERENCES projects (id) ON DELETE CASCADE,
    name            TEXT NOT NULL,
    prefix          TEXT NOT NULL,
    secret_hash     BYTEA NOT NULL UNIQUE,
    scopes          TEXT NOT NULL,
    created_at      TIMESTAMPTZ NOT NULL,
    expires_at      TIMESTAMPTZ NOT NULL,
    last_used_at    TIMESTAMPTZ,
    revoked_at      TIMESTAMPTZ
);
CREATE INDEX tokens_by_user ON tokens (user_id);
CREATE INDEX tokens_by_project ON tokens (project_id);

-- Answers to creations that carried an Idempotency-Key.
CREATE TABLE idempotency_keys (
    user_id         UUID NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    key             TEXT NOT NULL,
    request_hash    BYTEA NOT NULL,
    status          BIGINT,
    response        BYTEA,
    created_at      TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (user_id, key)
);

-- The refs of a project as they were when we last looked: the difference to the
-- repository is what still has to be turned into runs.
CREATE TABLE refs (
    project_id      UUID NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    name            TEXT NOT NULL,
    sha             TEXT NOT NULL,
    updated_at      TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (project_id, name)
);

CREATE TABLE runs (
    id              UUID PRIMARY KEY,
    project_id      UUID NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    number          BIGINT NOT NULL,
    state           TEXT NOT NULL,
    reason          TEXT,
    cause           TEXT NOT NULL,
    triggered_by    TEXT NOT NULL,
    triggered_by_user UUID REFERENCES users (id) ON DELETE SET NULL,
    sha             TEXT NOT NULL,
    git_ref         TEXT NOT NULL,
    title           TEXT NOT NULL,
    author          TEXT NOT NULL,
    author_email    TEXT NOT NULL,
    created_at      TIMESTAMPTZ NOT NULL,
    started_at      TIMESTAMPTZ,
    finished_at     TIMESTAMPTZ,
    UNIQUE (project_id, number)
);
CREATE INDEX runs_by_ref ON runs (project_id, git_ref, number);
CREATE INDEX runs_by_state ON runs (project_id, state, number);

CREATE TABLE jobs (
    id              UUID PRIMARY KEY,
    run_id          UUID NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    name            TEXT NOT NULL,
    platform        TEXT NOT NULL,
    profile         TEXT,
    state           TEXT NOT NULL,
    UNIQUE (run_id, name)
);

CREATE TABLE attempts (
    id              UUID PRIMARY KEY,
    job_id          UUID NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    number          BIGINT NOT NULL,
    state           TEXT NOT NULL,
    reason          TEXT,
    exit_status     BIGINT,
    -- Whether the system made this attempt by itself, after an error.
    automatic       BOOLEAN NOT NULL,
    queued_at       TIMESTAMPTZ NOT NULL,
    started_at      TIMESTAMPTZ,
    finished_at     TIMESTAMPTZ,
    lease_token     BYTEA,
    lease_until     TIMESTAMPTZ,
    runner          TEXT,
    cancel_requested_at TIMESTAMPTZ,
    cancel_reason   TEXT,
    annotations     TEXT NOT NULL,
    last_seq        BIGINT NOT NULL,
    line_count      BIGINT NOT NULL,
    dropped_lines   BIGINT NOT NULL,
    -- Bytes of lines that are kept, against the project's limit.
    log_bytes       BIGINT NOT NULL,
    -- The spans as they are in the end, once the chunks are compacted.
    trace_key       TEXT,
    compacted_at    TIMESTAMPTZ,
    UNIQUE (job_id, number)
);
CREATE INDEX attempts_by_state ON attempts (state, queued_at);

-- The index of the telemetry: which records are in which object. Small chunks
-- stand in the row itself until they are compacted.
CREATE TABLE chunks (
    attempt_id      UUID NOT NULL REFERENCES attempts (id) ON DELETE CASCADE,
    first_seq       BIGINT NOT NULL,
    last_seq        BIGINT NOT NULL,
    first_line      BIGINT NOT NULL,
    lines           BIGINT NOT NULL,
    bytes           BIGINT NOT NULL,
    -- How many records are about spans; what only wants those skips the rest.
    spans           BIGINT NOT NULL,
    -- How many lines each span has in here, so that one span's log reads only
    -- the chunks that it is in.
    span_lines      BYTEA NOT NULL,
    object_key      TEXT,
    data            BYTEA,
    PRIMARY KEY (attempt_id, first_seq)
);

-- Per-job summaries: how long each stage and task took, and how it ended.
CREATE TABLE stages (
    attempt_id      UUID NOT NULL REFERENCES attempts (id) ON DELETE CASCADE,
    span            BIGINT NOT NULL,
    stage           TEXT NOT NULL,
    name            TEXT NOT NULL,
    state           TEXT NOT NULL,
    started_at      TIMESTAMPTZ NOT NULL,
    finished_at     TIMESTAMPTZ,
    exit_status     BIGINT,
    PRIMARY KEY (attempt_id, span)
);
