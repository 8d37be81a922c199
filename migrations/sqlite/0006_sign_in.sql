-- Sign-in: passkeys, one-time codes, recovery codes, other providers, policy,
-- the audit log, mail, and the tokens that we sign.

-- What holds for the whole instance. One row.
CREATE TABLE instance (
    id              INTEGER PRIMARY KEY CHECK (id = 1),
    second_factor   TEXT NOT NULL,
    grace_days      INTEGER NOT NULL,
    -- Since when the policy is what it is; the days of grace begin here.
    second_factor_since INTEGER NOT NULL
);
INSERT INTO instance (id, second_factor, grace_days, second_factor_since) VALUES (1, 'optional', 0, 0);

ALTER TABLE orgs ADD COLUMN second_factor TEXT NOT NULL DEFAULT 'optional';
ALTER TABLE orgs ADD COLUMN grace_days INTEGER NOT NULL DEFAULT 0;
ALTER TABLE orgs ADD COLUMN second_factor_since INTEGER NOT NULL DEFAULT 0;

ALTER TABLE users ADD COLUMN email_verified_at INTEGER;
-- What authenticators know the person by: random, and says nothing.
ALTER TABLE users ADD COLUMN passkey_handle BLOB;
CREATE UNIQUE INDEX users_by_passkey_handle ON users (passkey_handle);

-- When they proved it with something stronger than a password, and by which
-- provider's session they came, so that the provider can end it.
ALTER TABLE sessions ADD COLUMN keep INTEGER NOT NULL DEFAULT 1;
ALTER TABLE sessions ADD COLUMN provider TEXT;
ALTER TABLE sessions ADD COLUMN provider_subject TEXT;
ALTER TABLE sessions ADD COLUMN provider_session TEXT;
CREATE INDEX sessions_by_provider ON sessions (provider, provider_subject);

CREATE TABLE passkeys (
    id              BLOB PRIMARY KEY,
    user_id         BLOB NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    credential_id   BLOB NOT NULL UNIQUE,
    name            TEXT NOT NULL,
    -- The public key and its counter, as JSON.
    credential      TEXT NOT NULL,
    created_at      INTEGER NOT NULL,
    last_used_at    INTEGER
);
CREATE INDEX passkeys_by_user ON passkeys (user_id);

-- The secret of somebody's app for one-time codes. Counts once it is confirmed.
CREATE TABLE one_time_codes (
    user_id         BLOB PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    secret          BLOB NOT NULL,
    -- The step of the last code that was used: none at or before it counts again.
    last_step       INTEGER NOT NULL,
    created_at      INTEGER NOT NULL,
    confirmed_at    INTEGER
);

CREATE TABLE recovery_codes (
    user_id         BLOB NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    code_hash       BLOB NOT NULL,
    created_at      INTEGER NOT NULL,
    used_at         INTEGER,
    PRIMARY KEY (user_id, code_hash)
);

-- What is good for one use within a short time: ceremonies, links, states.
CREATE TABLE once (
    key_hash        BLOB PRIMARY KEY,
    kind            TEXT NOT NULL,
    user_id         BLOB REFERENCES users (id) ON DELETE CASCADE,
    -- Sealed.
    state           BLOB NOT NULL,
    created_at      INTEGER NOT NULL,
    expires_at      INTEGER NOT NULL
);
CREATE INDEX once_by_end ON once (expires_at);
CREATE INDEX once_by_user ON once (user_id, kind);

-- Accounts elsewhere with which somebody signs in here.
CREATE TABLE linked_accounts (
    id              BLOB PRIMARY KEY,
    user_id         BLOB NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    provider        TEXT NOT NULL,
    subject         TEXT NOT NULL,
    -- What the account is called there, for people. Identifies nobody.
    label           TEXT NOT NULL,
    created_at      INTEGER NOT NULL,
    last_used_at    INTEGER,
    UNIQUE (provider, subject)
);
CREATE INDEX linked_accounts_by_user ON linked_accounts (user_id);

-- Who may make an account here.
CREATE TABLE invitations (
    id              BLOB PRIMARY KEY,
    token_hash      BLOB NOT NULL UNIQUE,
    email           TEXT NOT NULL,
    email_key       TEXT NOT NULL,
    org_id          BLOB REFERENCES orgs (id) ON DELETE CASCADE,
    role            TEXT,
    invited_by      BLOB REFERENCES users (id) ON DELETE SET NULL,
    inviter         TEXT NOT NULL,
    created_at      INTEGER NOT NULL,
    expires_at      INTEGER NOT NULL,
    accepted_at     INTEGER,
    revoked_at      INTEGER
);
CREATE INDEX invitations_by_org ON invitations (org_id);

-- Mail on its way. The text is sealed, because it may hold a link that is good
-- for something, and forgotten once the mail is sent.
CREATE TABLE mails (
    id              BLOB PRIMARY KEY,
    recipient       TEXT NOT NULL,
    subject         TEXT NOT NULL,
    content         BLOB,
    created_at      INTEGER NOT NULL,
    due_at          INTEGER NOT NULL,
    attempts        INTEGER NOT NULL,
    sent_at         INTEGER,
    gave_up_at      INTEGER,
    -- Whether it became a file, for want of a mail server.
    written         INTEGER NOT NULL,
    problem         TEXT
);
CREATE INDEX mails_by_due ON mails (due_at) WHERE content IS NOT NULL;

-- What happened around identity and permission. Rows are written and read,
-- never changed. No foreign keys: what happened stays, also when those to whom
-- it happened are gone.
CREATE TABLE audit (
    id              BLOB PRIMARY KEY,
    at              INTEGER NOT NULL,
    action          TEXT NOT NULL,
    outcome         TEXT NOT NULL,
    actor_id        BLOB,
    actor           TEXT NOT NULL,
    subject_id      BLOB,
    subject         TEXT NOT NULL,
    org_id          BLOB,
    method          TEXT,
    target          TEXT NOT NULL,
    ip              TEXT NOT NULL,
    user_agent      TEXT NOT NULL
);
CREATE INDEX audit_by_subject ON audit (subject_id, id);
CREATE INDEX audit_by_actor ON audit (actor_id, id);
CREATE INDEX audit_by_org ON audit (org_id, id);
CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
CREATE TRIGGER audit_is_not_deleted BEFORE DELETE ON audit
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;

-- The keys with which we sign. A key is published before it signs, and stays
-- published until all that it signed has expired.
CREATE TABLE signing_keys (
    id              BLOB PRIMARY KEY,
    key_id          TEXT NOT NULL UNIQUE,
    -- The private key, sealed.
    secret          BLOB NOT NULL,
    -- The public key as a JWK.
    public          TEXT NOT NULL,
    created_at      INTEGER NOT NULL,
    signs_from      INTEGER NOT NULL,
    signs_until     INTEGER NOT NULL,
    published_until INTEGER NOT NULL
);

-- Logins of command lines that wait for a person to approve them (RFC 8628).
CREATE TABLE device_logins (
    id              BLOB PRIMARY KEY,
    device_hash     BLOB NOT NULL UNIQUE,
    user_code_hash  BLOB NOT NULL UNIQUE,
    client_id       TEXT NOT NULL,
    scope           TEXT NOT NULL,
    ip              TEXT NOT NULL,
    user_agent      TEXT NOT NULL,
    created_at      INTEGER NOT NULL,
    expires_at      INTEGER NOT NULL,
    -- When it was asked last, and how long the client must wait in between.
    polled_at       INTEGER,
    interval_s      INTEGER NOT NULL,
    decided_at      INTEGER,
    -- The person, if approved.
    user_id         BLOB REFERENCES users (id) ON DELETE CASCADE,
    approved        INTEGER,
    -- How the person had signed in, for the token that says so.
    methods         TEXT,
    authenticated_at INTEGER
);
CREATE INDEX device_logins_by_end ON device_logins (expires_at);

-- The program that somebody let sign in, where a token is of one: it may revoke
-- the token.
ALTER TABLE tokens ADD COLUMN client_id TEXT;

-- What somebody lets a program of the configuration know about them, so that
-- they are not asked again.
CREATE TABLE consents (
    user_id         BLOB NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    client_id       TEXT NOT NULL,
    scope           TEXT NOT NULL,
    created_at      INTEGER NOT NULL,
    PRIMARY KEY (user_id, client_id)
);
