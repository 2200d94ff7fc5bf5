-- Credentials with two live key pairs, the audit trail of changes to them, and which key of the keyring seals what.

-- The key pairs of a credential. The one with the highest rank is used first. The sealed pair is bound to the pair's id; a pair
-- from before this table has its credential's name as id, so that it still opens.
CREATE TABLE key_pairs (
    id              TEXT    NOT NULL PRIMARY KEY,
    credential      TEXT    NOT NULL REFERENCES credentials (name),
    rank            INTEGER NOT NULL,
    sealed_key_pair BLOB    NOT NULL,
    created_at_ms   INTEGER NOT NULL,
    used_at_ms      INTEGER,
    tested_at_ms    INTEGER,
    -- OK, or what the vendor said.
    test_code       TEXT,
    UNIQUE (credential, rank),
    CHECK ((tested_at_ms IS NULL) = (test_code IS NULL))
) STRICT;

-- Nothing tells when they were made; from here on their age counts.
INSERT INTO key_pairs (id, credential, rank, sealed_key_pair, created_at_ms)
SELECT name, name, 1, sealed_key_pair, CAST(unixepoch() AS INTEGER) * 1000 FROM credentials;

ALTER TABLE credentials DROP COLUMN sealed_key_pair;
ALTER TABLE credentials ADD COLUMN version INTEGER NOT NULL DEFAULT 1;
-- Who put it here: the configuration, at a start, or a caller.
ALTER TABLE credentials ADD COLUMN origin TEXT NOT NULL DEFAULT 'configuration' CHECK (origin IN ('configuration', 'api'));
ALTER TABLE credentials ADD COLUMN disabled_at_ms INTEGER;

-- An event is about a verification, or about a credential, or about the vault (both empty).
ALTER TABLE audit_events ADD COLUMN credential TEXT NOT NULL DEFAULT '';
CREATE INDEX audit_events_by_time ON audit_events (at_ms);

-- The key of the keyring that a sealed value was sealed with, read out of the value: one byte of format, one of length, the id.
ALTER TABLE verifications ADD COLUMN session_key_id TEXT GENERATED ALWAYS AS (CAST(substr(sealed_session, 3, instr(
    x'0102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F202122232425262728292A2B2C2D2E2F303132333435363738393A3B3C3D3E3F40',
    substr(sealed_session, 2, 1))) AS TEXT)) VIRTUAL;
ALTER TABLE verifications ADD COLUMN subject_key_id TEXT GENERATED ALWAYS AS (CAST(substr(sealed_subject, 3, instr(
    x'0102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F202122232425262728292A2B2C2D2E2F303132333435363738393A3B3C3D3E3F40',
    substr(sealed_subject, 2, 1))) AS TEXT)) VIRTUAL;
ALTER TABLE verifications ADD COLUMN result_key_id TEXT GENERATED ALWAYS AS (CAST(substr(sealed_result, 3, instr(
    x'0102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F202122232425262728292A2B2C2D2E2F303132333435363738393A3B3C3D3E3F40',
    substr(sealed_result, 2, 1))) AS TEXT)) VIRTUAL;
ALTER TABLE evidence ADD COLUMN key_id TEXT GENERATED ALWAYS AS (CAST(substr(sealed_key, 3, instr(
    x'0102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F202122232425262728292A2B2C2D2E2F303132333435363738393A3B3C3D3E3F40',
    substr(sealed_key, 2, 1))) AS TEXT)) VIRTUAL;
ALTER TABLE key_pairs ADD COLUMN key_id TEXT GENERATED ALWAYS AS (CAST(substr(sealed_key_pair, 3, instr(
    x'0102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F202122232425262728292A2B2C2D2E2F303132333435363738393A3B3C3D3E3F40',
    substr(sealed_key_pair, 2, 1))) AS TEXT)) VIRTUAL;
CREATE INDEX verifications_by_sealing_key ON verifications (session_key_id, subject_key_id, result_key_id);
CREATE INDEX evidence_by_key ON evidence (key_id);

-- The key that token_hash is made with, and the one that the request's fingerprint and the redirect's MAC were made with. The
-- first moves with the session; the second cannot, because what was hashed is not kept.
ALTER TABLE verifications ADD COLUMN token_key_id TEXT NOT NULL DEFAULT '';
ALTER TABLE verifications ADD COLUMN made_key_id TEXT NOT NULL DEFAULT '';
UPDATE verifications SET token_key_id = session_key_id, made_key_id = session_key_id;
CREATE INDEX verifications_by_hashing_key ON verifications (made_key_id, token_key_id, created_at_ms);

-- Something known, sealed with each key that was ever in the keyring: another key under the same id is noticed at the start.
CREATE TABLE vault_keys (
    id           TEXT NOT NULL PRIMARY KEY,
    check_value  BLOB NOT NULL
) STRICT;
