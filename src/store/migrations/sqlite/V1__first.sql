-- Everything secret or personal is in a sealed_ column (ciphertext) or a _hash or _fingerprint column (keyed hash).
-- Times are milliseconds since the UNIX epoch.
CREATE TABLE verifications (
    id                  TEXT    NOT NULL PRIMARY KEY,
    version             INTEGER NOT NULL,
    caller              TEXT    NOT NULL,
    flow                TEXT    NOT NULL,
    rule_id             TEXT    NOT NULL,
    credential          TEXT    NOT NULL,
    reference           TEXT    NOT NULL,
    intention           TEXT    CHECK (intention IN ('questions', 'nods', 'read_aloud')),
    request_id          TEXT,
    request_fingerprint BLOB    NOT NULL,
    token_hash          BLOB    NOT NULL UNIQUE,
    vendor_request_id   TEXT    NOT NULL,
    created_at_ms       INTEGER NOT NULL,
    sealed_session      BLOB    NOT NULL,
    sealed_subject      BLOB    NOT NULL,
    state               TEXT    NOT NULL CHECK (state IN ('pending', 'passed', 'failed', 'expired', 'canceled')),
    settled_at_ms       INTEGER,
    checked_at_ms       INTEGER,
    check_request_id    TEXT,
    last_attempt_code   INTEGER,
    last_attempt_at_ms  INTEGER,
    attempts_exhausted  INTEGER NOT NULL CHECK (attempts_exhausted IN (0, 1)),
    sealed_result       BLOB,
    CHECK ((state = 'pending') = (settled_at_ms IS NULL))
) STRICT;

CREATE UNIQUE INDEX verifications_by_request ON verifications (caller, request_id) WHERE request_id IS NOT NULL;

CREATE TABLE credentials (
    name            TEXT NOT NULL PRIMARY KEY,
    sealed_key_pair BLOB NOT NULL
) STRICT;

CREATE TABLE audit_events (
    seq             INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    at_ms           INTEGER NOT NULL,
    actor           TEXT    NOT NULL,
    action          TEXT    NOT NULL,
    verification_id TEXT    NOT NULL
) STRICT;

CREATE INDEX audit_events_by_verification ON audit_events (verification_id, seq);

-- The trail is only ever appended to.
CREATE TRIGGER audit_events_no_update BEFORE UPDATE ON audit_events
BEGIN SELECT RAISE(ABORT, 'audit_events is append-only'); END;
CREATE TRIGGER audit_events_no_delete BEFORE DELETE ON audit_events
BEGIN SELECT RAISE(ABORT, 'audit_events is append-only'); END;
