-- Jobs, the ledger of attempts, and the log of events.
ALTER TABLE verifications ADD COLUMN charged_attempts INTEGER NOT NULL DEFAULT 0;
ALTER TABLE verifications ADD COLUMN result_fetched_at_ms INTEGER;
ALTER TABLE verifications ADD COLUMN result_lost INTEGER NOT NULL DEFAULT 0 CHECK (result_lost IN (0, 1));

CREATE INDEX verifications_by_caller ON verifications (caller, created_at_ms, id);
CREATE INDEX verifications_by_created ON verifications (created_at_ms);

-- One row for each attempt that the vendor told of. The bill is made of these.
CREATE TABLE attempts (
    verification_id TEXT    NOT NULL REFERENCES verifications (id),
    seq             TEXT    NOT NULL,
    at_ms           INTEGER,
    code            INTEGER,
    charged         INTEGER CHECK (charged IN (0, 1)),
    PRIMARY KEY (verification_id, seq)
) STRICT, WITHOUT ROWID;

CREATE INDEX attempts_by_time ON attempts (at_ms);

-- What happened, in the order of its commit. Only ever appended to.
CREATE TABLE events (
    seq               INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    at_ms             INTEGER NOT NULL,
    caller            TEXT    NOT NULL,
    verification_id   TEXT    NOT NULL,
    flow              TEXT    NOT NULL,
    kind              TEXT    NOT NULL,
    state             TEXT    NOT NULL,
    last_attempt_code INTEGER
) STRICT;

CREATE INDEX events_by_caller ON events (caller, seq);
CREATE TRIGGER events_no_update BEFORE UPDATE ON events
BEGIN SELECT RAISE(ABORT, 'events is append-only'); END;

-- Work to be done at a time, by whoever claims it. A claim is a lease: it ends by itself when its holder dies.
CREATE TABLE jobs (
    kind           TEXT    NOT NULL,
    subject        TEXT    NOT NULL,
    due_at_ms      INTEGER NOT NULL,
    -- Of the jobs that are due, the one with the lowest rank is claimed first.
    rank_ms        INTEGER NOT NULL,
    failures       INTEGER NOT NULL DEFAULT 0,
    lease_token    TEXT,
    lease_until_ms INTEGER,
    PRIMARY KEY (kind, subject)
) STRICT, WITHOUT ROWID;

CREATE INDEX jobs_due ON jobs (kind, due_at_ms);

-- Verifications that were made before there were jobs.
INSERT INTO jobs (kind, subject, due_at_ms, rank_ms)
SELECT 'settle', id, created_at_ms, created_at_ms FROM verifications WHERE state = 'pending';
-- Those that had ended are kept for the default of result_retention_days, 180 days, from their end.
INSERT INTO jobs (kind, subject, due_at_ms, rank_ms)
SELECT 'redact', id, settled_at_ms + 15552000000, settled_at_ms FROM verifications WHERE state <> 'pending';

-- Redaction empties the sealed columns and keeps the rest.
ALTER TABLE verifications ADD COLUMN redacted_at_ms INTEGER;

-- How far a verification's events were delivered to its caller's webhook.
CREATE TABLE webhook_cursors (
    verification_id TEXT    NOT NULL PRIMARY KEY REFERENCES verifications (id),
    delivered_seq   INTEGER NOT NULL,
    parked_at_ms    INTEGER
) STRICT, WITHOUT ROWID;

CREATE INDEX events_by_verification ON events (verification_id, seq);

-- Photos, videos and sounds. The content is in a blob, sealed with the key that is sealed here: without it the blob is noise.
CREATE TABLE evidence (
    id              TEXT    NOT NULL PRIMARY KEY,
    verification_id TEXT    NOT NULL REFERENCES verifications (id),
    kind            TEXT    NOT NULL,
    position        INTEGER NOT NULL,
    attempt_seq     TEXT,
    content_type    TEXT    NOT NULL,
    size_bytes      INTEGER NOT NULL,
    sha256          BLOB,
    sealed_key      BLOB,
    stored_at_ms    INTEGER NOT NULL,
    erased_at_ms    INTEGER,
    blob_deleted    INTEGER NOT NULL DEFAULT 0 CHECK (blob_deleted IN (0, 1)),
    UNIQUE (verification_id, kind, position),
    CHECK ((erased_at_ms IS NULL) = (sealed_key IS NOT NULL))
) STRICT;
