-- Everything secret or personal is in a sealed_ column (ciphertext) or a _hash or _fingerprint column (keyed hash).
-- Times are milliseconds since the UNIX epoch. Texts are compared byte by byte, whatever the database's locale is.

-- Which store this is: one row. The epoch rises when a backup is restored.
CREATE TABLE store (
    only_row SMALLINT          NOT NULL PRIMARY KEY CHECK (only_row = 1),
    id       TEXT COLLATE "C"  NOT NULL,
    epoch    BIGINT            NOT NULL CHECK (epoch >= 1),
    -- Rises when readiness commits something to see that it can.
    probes   BIGINT            NOT NULL DEFAULT 0
);

CREATE TABLE verifications (
    id                   TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    version              BIGINT           NOT NULL,
    caller               TEXT COLLATE "C" NOT NULL,
    flow                 TEXT COLLATE "C" NOT NULL,
    rule_id              TEXT COLLATE "C" NOT NULL,
    credential           TEXT COLLATE "C" NOT NULL,
    reference            TEXT COLLATE "C" NOT NULL,
    intention            TEXT COLLATE "C" CHECK (intention IN ('questions', 'nods', 'read_aloud')),
    request_id           TEXT COLLATE "C",
    -- The key that the request's fingerprint and the redirect's MAC were made with.
    made_key_id          TEXT COLLATE "C" NOT NULL,
    request_fingerprint  BYTEA            NOT NULL,
    token_hash           BYTEA            NOT NULL UNIQUE,
    token_key_id         TEXT COLLATE "C" NOT NULL,
    id_card_hash         BYTEA,
    vendor_request_id    TEXT COLLATE "C" NOT NULL,
    created_at_ms        BIGINT           NOT NULL,
    -- Until when the vendor takes attempts, and until when it knows the result.
    expires_at_ms        BIGINT           NOT NULL,
    result_until_ms      BIGINT           NOT NULL,
    -- Each sealed value with the key of the keyring that seals it; empty where nothing is sealed.
    sealed_session       BYTEA            NOT NULL,
    session_key_id       TEXT COLLATE "C" NOT NULL,
    sealed_subject       BYTEA            NOT NULL,
    subject_key_id       TEXT COLLATE "C" NOT NULL,
    sealed_result        BYTEA,
    result_key_id        TEXT COLLATE "C" NOT NULL DEFAULT '',
    state                TEXT COLLATE "C" NOT NULL
        CHECK (state IN ('pending', 'passed', 'failed', 'expired', 'canceled')),
    settled_at_ms        BIGINT,
    checked_at_ms        BIGINT,
    check_request_id     TEXT COLLATE "C",
    last_attempt_code    BIGINT,
    last_attempt_at_ms   BIGINT,
    attempts_exhausted   BOOLEAN          NOT NULL DEFAULT false,
    result_lost          BOOLEAN          NOT NULL DEFAULT false,
    evidence_lost        BOOLEAN          NOT NULL DEFAULT false,
    charged_attempts     BIGINT           NOT NULL DEFAULT 0,
    result_fetched_at_ms BIGINT,
    redacted_at_ms       BIGINT,
    -- What binds the row to its caller, its flow and its verdict, and the key that it is made with.
    mac                  BYTEA            NOT NULL,
    mac_key_id           TEXT COLLATE "C" NOT NULL,
    CHECK ((state = 'pending') = (settled_at_ms IS NULL))
);

CREATE UNIQUE INDEX verifications_by_request ON verifications (caller, request_id) WHERE request_id IS NOT NULL;
CREATE INDEX verifications_by_caller ON verifications (caller, created_at_ms, id);
CREATE INDEX verifications_by_state ON verifications (caller, state, created_at_ms, id);
CREATE INDEX verifications_by_flow ON verifications (caller, flow, created_at_ms, id);
CREATE INDEX verifications_by_reference ON verifications (caller, reference, created_at_ms, id) WHERE reference <> '';
CREATE INDEX verifications_never_fetched ON verifications (caller, created_at_ms, id)
    WHERE state <> 'pending' AND result_fetched_at_ms IS NULL;
CREATE INDEX verifications_by_id_card ON verifications (id_card_hash, expires_at_ms) WHERE id_card_hash IS NOT NULL;
CREATE INDEX verifications_with_id_card ON verifications (expires_at_ms) WHERE id_card_hash IS NOT NULL;
CREATE INDEX verifications_by_sealing_key ON verifications (session_key_id, subject_key_id, result_key_id);
CREATE INDEX verifications_by_hashing_key ON verifications (made_key_id, token_key_id, mac_key_id, created_at_ms);

-- One row for each attempt that the vendor told of. The bill is made of these.
CREATE TABLE attempts (
    verification_id TEXT COLLATE "C" NOT NULL REFERENCES verifications (id),
    seq             TEXT COLLATE "C" NOT NULL,
    at_ms           BIGINT,
    code            BIGINT,
    charged         BOOLEAN,
    -- Its own time, or, where the vendor tells none, that of its verification.
    counted_at_ms   BIGINT           NOT NULL,
    PRIMARY KEY (verification_id, seq)
);

CREATE INDEX attempts_charged ON attempts (counted_at_ms) WHERE charged;

-- What the verifications and attempts of a day come to. Days since 1970-01-01 in Beijing, as the vendor's bill has them.
CREATE TABLE usage_days (
    day              BIGINT           NOT NULL,
    caller           TEXT COLLATE "C" NOT NULL,
    flow             TEXT COLLATE "C" NOT NULL,
    verifications    BIGINT           NOT NULL CHECK (verifications >= 0),
    attempts         BIGINT           NOT NULL CHECK (attempts >= 0),
    charged_attempts BIGINT           NOT NULL CHECK (charged_attempts >= 0),
    PRIMARY KEY (day, caller, flow)
);

-- What happened, in the order of its commit. A sequence would give places before the commit, and whoever reads by place would
-- miss a late one: a place is taken from this row, which the transaction holds until it ends.
CREATE TABLE event_places (
    only_row SMALLINT NOT NULL PRIMARY KEY CHECK (only_row = 1),
    last     BIGINT   NOT NULL
) WITH (fillfactor = 10);
INSERT INTO event_places (only_row, last) VALUES (1, 0);

CREATE TABLE events (
    seq               BIGINT           NOT NULL PRIMARY KEY,
    at_ms             BIGINT           NOT NULL,
    caller            TEXT COLLATE "C" NOT NULL,
    verification_id   TEXT COLLATE "C" NOT NULL,
    flow              TEXT COLLATE "C" NOT NULL,
    kind              TEXT COLLATE "C" NOT NULL,
    state             TEXT COLLATE "C" NOT NULL,
    last_attempt_code BIGINT
);

CREATE INDEX events_by_caller ON events (caller, seq);
CREATE INDEX events_by_flow ON events (caller, flow, seq);
CREATE INDEX events_by_verification ON events (verification_id, seq);

-- How far a verification's events were delivered to its caller's webhook.
CREATE TABLE webhook_cursors (
    verification_id TEXT COLLATE "C" NOT NULL PRIMARY KEY REFERENCES verifications (id),
    delivered_seq   BIGINT           NOT NULL,
    parked_at_ms    BIGINT
);

CREATE INDEX webhooks_parked ON webhook_cursors (parked_at_ms) WHERE parked_at_ms IS NOT NULL;

-- Work to be done at a time, by whoever claims it. A claim is a lease: it ends by itself when its holder dies.
CREATE TABLE jobs (
    kind           TEXT COLLATE "C" NOT NULL,
    subject        TEXT COLLATE "C" NOT NULL,
    due_at_ms      BIGINT           NOT NULL,
    -- Of the jobs that are due, the one with the lowest rank is claimed first.
    rank_ms        BIGINT           NOT NULL,
    failures       BIGINT           NOT NULL DEFAULT 0,
    lease_token    TEXT COLLATE "C",
    lease_until_ms BIGINT,
    PRIMARY KEY (kind, subject)
);

CREATE INDEX jobs_due ON jobs (kind, due_at_ms);
CREATE INDEX jobs_by_rank ON jobs (kind, rank_ms);

-- The gateways that share the vendor's quota: each tells every few seconds that it lives.
CREATE TABLE replicas (
    id      TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    beat_at TIMESTAMPTZ      NOT NULL
);

-- Photos, videos and sounds. The content is in a blob, sealed with the key that is sealed here: without it the blob is noise.
CREATE TABLE evidence (
    id              TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    verification_id TEXT COLLATE "C" NOT NULL REFERENCES verifications (id),
    kind            TEXT COLLATE "C" NOT NULL,
    position        BIGINT           NOT NULL,
    attempt_seq     TEXT COLLATE "C",
    content_type    TEXT COLLATE "C" NOT NULL,
    size_bytes      BIGINT           NOT NULL,
    sha256          BYTEA,
    sealed_key      BYTEA,
    key_id          TEXT COLLATE "C" NOT NULL DEFAULT '',
    stored_at_ms    BIGINT           NOT NULL,
    erased_at_ms    BIGINT,
    blob_deleted    BOOLEAN          NOT NULL DEFAULT false,
    UNIQUE (verification_id, kind, position),
    CHECK ((erased_at_ms IS NULL) = (sealed_key IS NOT NULL))
);

CREATE INDEX evidence_by_key ON evidence (key_id);

CREATE TABLE credentials (
    name           TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    version        BIGINT           NOT NULL,
    -- Who put it here: the configuration, at a start, or a caller.
    origin         TEXT COLLATE "C" NOT NULL CHECK (origin IN ('configuration', 'api')),
    disabled_at_ms BIGINT
);

-- The key pairs of a credential. The one with the highest rank is used first. The sealed pair is bound to the pair's id.
CREATE TABLE key_pairs (
    id              TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    credential      TEXT COLLATE "C" NOT NULL REFERENCES credentials (name),
    rank            BIGINT           NOT NULL,
    sealed_key_pair BYTEA            NOT NULL,
    key_id          TEXT COLLATE "C" NOT NULL,
    created_at_ms   BIGINT           NOT NULL,
    used_at_ms      BIGINT,
    tested_at_ms    BIGINT,
    -- OK, or what the vendor said.
    test_code       TEXT COLLATE "C",
    UNIQUE (credential, rank),
    CHECK ((tested_at_ms IS NULL) = (test_code IS NULL))
);

-- Something known, sealed with each key that was ever in the keyring: another key under the same id is noticed at the start.
CREATE TABLE vault_keys (
    id          TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    check_value BYTEA            NOT NULL
);

-- An event is about a verification, or about a credential, or about the vault (both empty).
CREATE TABLE audit_events (
    seq             BIGINT           NOT NULL PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    at_ms           BIGINT           NOT NULL,
    actor           TEXT COLLATE "C" NOT NULL,
    action          TEXT COLLATE "C" NOT NULL,
    verification_id TEXT COLLATE "C" NOT NULL,
    credential      TEXT COLLATE "C" NOT NULL
);

CREATE INDEX audit_events_by_verification ON audit_events (verification_id, seq);
CREATE INDEX audit_events_by_time ON audit_events (at_ms);
CREATE INDEX audit_events_by_actor ON audit_events (actor, seq);
CREATE INDEX audit_events_by_action ON audit_events (action, seq);
CREATE INDEX audit_events_by_credential ON audit_events (credential, seq) WHERE credential <> '';

-- The trail is only ever appended to, and so is the log of events.
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME;
END $$;
CREATE TRIGGER audit_events_append_only BEFORE UPDATE OR DELETE ON audit_events
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER events_append_only BEFORE UPDATE ON events FOR EACH ROW EXECUTE FUNCTION refuse_change();
