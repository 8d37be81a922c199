-- People, organisations, projects, runs, telemetry.
-- The same steps exist for both engines; see the table of column shapes in
-- server/src/db/mod.rs.

CREATE TABLE users (
    id              BLOB PRIMARY KEY,
    email           TEXT NOT NULL,
    -- The address in lower case: what must be unique and is looked up.
    email_key       TEXT NOT NULL UNIQUE,
    name            TEXT NOT NULL,
    password_hash   TEXT,
    instance_admin  INTEGER NOT NULL,
    disabled_at     INTEGER,
    created_at      INTEGER NOT NULL
);

-- The one-time set-up link. One row at most.
CREATE TABLE setup (
    id              INTEGER PRIMARY KEY CHECK (id = 1),
    token_hash      BLOB NOT NULL,
    created_at      INTEGER NOT NULL,
    used_at         INTEGER
);

CREATE TABLE orgs (
    id              BLOB PRIMARY KEY,
    slug            TEXT NOT NULL UNIQUE,
    display_name    TEXT NOT NULL,
    created_at      INTEGER NOT NULL
);

CREATE TABLE members (
    org_id          BLOB NOT NULL REFERENCES orgs (id) ON DELETE CASCADE,
    user_id         BLOB NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    role            TEXT NOT NULL,
    created_at      INTEGER NOT NULL,
    PRIMARY KEY (org_id, user_id)
);
CREATE INDEX members_by_user ON members (user_id);

CREATE TABLE projects (
    id              BLOB PRIMARY KEY,
    org_id          BLOB NOT NULL REFERENCES orgs (id) ON DELETE CASCADE,
    slug            TEXT NOT NULL,
    description     TEXT NOT NULL,
    settings        TEXT NOT NULL,
    next_run        INTEGER NOT NULL,
    created_at      INTEGER NOT NULL,
    UNIQUE (org_id, slug)
);

-- A signed-in browser. The cookie's id is stored hashed, so that a copy of
-- this table signs nobody in.
CREATE TABLE sessions (
    id              BLOB PRIMARY KEY,
    key_hash        BLOB NOT NULL UNIQUE,
    user_id         BLOB NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    -- The organisation whose own sign-in this session went through, if any.
    org_id          BLOB REFERENCES orgs (id) ON DELETE CASCADE,
    assurance       TEXT NOT NULL,
    methods         TEXT NOT NULL,
    authenticated_at INTEGER NOT NULL,
    created_at      INTEGER NOT NULL,
    last_seen_at    INTEGER NOT NULL,
    idle_until      INTEGER NOT NULL,
    absolute_until  INTEGER NOT NULL,
    ip              TEXT NOT NULL,
    user_agent      TEXT NOT NULL
);
CREATE INDEX sessions_by_user ON sessions (user_id);
CREATE INDEX sessions_by_end ON sessions (idle_until);

CREATE TABLE tokens (
    id              BLOB PRIMARY KEY,
    user_id         BLOB NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    project_id      BLOB REFERENCES projects (id) ON DELETE CASCADE,
    name            TEXT NOT NULL,
    prefix          TEXT NOT NULL,
    secret_hash     BLOB NOT NULL UNIQUE,
    scopes          TEXT NOT NULL,
    created_at      INTEGER NOT NULL,
    expires_at      INTEGER NOT NULL,
    last_used_at    INTEGER,
    revoked_at      INTEGER
);
CREATE INDEX tokens_by_user ON tokens (user_id);
CREATE INDEX tokens_by_project ON tokens (project_id);

-- Answers to creations that carried an Idempotency-Key.
CREATE TABLE idempotency_keys (
    user_id         BLOB NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    key             TEXT NOT NULL,
    request_hash    BLOB NOT NULL,
    status          INTEGER,
    response        BLOB,
    created_at      INTEGER NOT NULL,
    PRIMARY KEY (user_id, key)
);

-- The refs of a project as they were when we last looked: the difference to the
-- repository is what still has to be turned into runs.
CREATE TABLE refs (
    project_id      BLOB NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    name            TEXT NOT NULL,
    sha             TEXT NOT NULL,
    updated_at      INTEGER NOT NULL,
    PRIMARY KEY (project_id, name)
);

CREATE TABLE runs (
    id              BLOB PRIMARY KEY,
    project_id      BLOB NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    number          INTEGER NOT NULL,
    state           TEXT NOT NULL,
    reason          TEXT,
    cause           TEXT NOT NULL,
    triggered_by    TEXT NOT NULL,
    triggered_by_user BLOB REFERENCES users (id) ON DELETE SET NULL,
    sha             TEXT NOT NULL,
    git_ref         TEXT NOT NULL,
    title           TEXT NOT NULL,
    author          TEXT NOT NULL,
    author_email    TEXT NOT NULL,
    created_at      INTEGER NOT NULL,
    started_at      INTEGER,
    finished_at     INTEGER,
    UNIQUE (project_id, number)
);
CREATE INDEX runs_by_ref ON runs (project_id, git_ref, number);
CREATE INDEX runs_by_state ON runs (project_id, state, number);

CREATE TABLE jobs (
    id              BLOB PRIMARY KEY,
    run_id          BLOB NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    name            TEXT NOT NULL,
    platform        TEXT NOT NULL,
    profile         TEXT,
    state           TEXT NOT NULL,
    UNIQUE (run_id, name)
);

CREATE TABLE attempts (
    id              BLOB PRIMARY KEY,
    job_id          BLOB NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    number          INTEGER NOT NULL,
    state           TEXT NOT NULL,
    reason          TEXT,
    exit_status     INTEGER,
    -- Whether the system made this attempt by itself, after an error.
    automatic       INTEGER NOT NULL,
    queued_at       INTEGER NOT NULL,
    started_at      INTEGER,
    finished_at     INTEGER,
    lease_token     BLOB,
    lease_until     INTEGER,
    runner          TEXT,
    cancel_requested_at INTEGER,
    cancel_reason   TEXT,
    annotations     TEXT NOT NULL,
    last_seq        INTEGER NOT NULL,
    line_count      INTEGER NOT NULL,
    dropped_lines   INTEGER NOT NULL,
    -- Bytes of lines that are kept, against the project's limit.
    log_bytes       INTEGER NOT NULL,
    -- The spans as they are in the end, once the chunks are compacted.
    trace_key       TEXT,
    compacted_at    INTEGER,
    UNIQUE (job_id, number)
);
CREATE INDEX attempts_by_state ON attempts (state, queued_at);

-- The index of the telemetry: which records are in which object. Small chunks
-- stand in the row itself until they are compacted.
CREATE TABLE chunks (
    attempt_id      BLOB NOT NULL REFERENCES attempts (id) ON DELETE CASCADE,
    first_seq       INTEGER NOT NULL,
    last_seq        INTEGER NOT NULL,
    first_line      INTEGER NOT NULL,
    lines           INTEGER NOT NULL,
    bytes           INTEGER NOT NULL,
    -- How many records are about spans; what only wants those skips the rest.
    spans           INTEGER NOT NULL,
    -- How many lines each span has in here, so that one span's log reads only
    -- the chunks that it is in.
    span_lines      BLOB NOT NULL,
    object_key      TEXT,
    data            BLOB,
    PRIMARY KEY (attempt_id, first_seq)
);

-- Per-job summaries: how long each stage and task took, and how it ended.
CREATE TABLE stages (
    attempt_id      BLOB NOT NULL REFERENCES attempts (id) ON DELETE CASCADE,
    span            INTEGER NOT NULL,
    stage           TEXT NOT NULL,
    name            TEXT NOT NULL,
    state           TEXT NOT NULL,
    started_at      INTEGER NOT NULL,
    finished_at     INTEGER,
    exit_status     INTEGER,
    PRIMARY KEY (attempt_id, span)
);
