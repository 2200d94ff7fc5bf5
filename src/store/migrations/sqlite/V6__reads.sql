-- Plain columns where there were constants and generated columns, sums where there were scans, and an index for every read.

-- Until when the vendor takes attempts, and until when it knows the result. Rows from before are of the one product that there was.
ALTER TABLE verifications ADD COLUMN expires_at_ms INTEGER NOT NULL DEFAULT 0;
ALTER TABLE verifications ADD COLUMN result_until_ms INTEGER NOT NULL DEFAULT 0;

-- The key of the keyring that seals each value; empty where nothing is sealed.
ALTER TABLE verifications ADD COLUMN session_key TEXT NOT NULL DEFAULT '';
ALTER TABLE verifications ADD COLUMN subject_key TEXT NOT NULL DEFAULT '';
ALTER TABLE verifications ADD COLUMN result_key TEXT NOT NULL DEFAULT '';
UPDATE verifications SET expires_at_ms = created_at_ms + 7200000, result_until_ms = created_at_ms + 259200000,
    session_key = coalesce(session_key_id, ''), subject_key = coalesce(subject_key_id, ''),
    result_key = coalesce(result_key_id, '');
DROP INDEX verifications_by_sealing_key;
ALTER TABLE verifications DROP COLUMN session_key_id;
ALTER TABLE verifications DROP COLUMN subject_key_id;
ALTER TABLE verifications DROP COLUMN result_key_id;
ALTER TABLE verifications RENAME COLUMN session_key TO session_key_id;
ALTER TABLE verifications RENAME COLUMN subject_key TO subject_key_id;
ALTER TABLE verifications RENAME COLUMN result_key TO result_key_id;
CREATE INDEX verifications_by_sealing_key ON verifications (session_key_id, subject_key_id, result_key_id);

ALTER TABLE evidence ADD COLUMN sealing_key TEXT NOT NULL DEFAULT '';
UPDATE evidence SET sealing_key = coalesce(key_id, '');
DROP INDEX evidence_by_key;
ALTER TABLE evidence DROP COLUMN key_id;
ALTER TABLE evidence RENAME COLUMN sealing_key TO key_id;
CREATE INDEX evidence_by_key ON evidence (key_id);

ALTER TABLE key_pairs ADD COLUMN sealing_key TEXT NOT NULL DEFAULT '';
UPDATE key_pairs SET sealing_key = coalesce(key_id, '');
ALTER TABLE key_pairs DROP COLUMN key_id;
ALTER TABLE key_pairs RENAME COLUMN sealing_key TO key_id;

-- Lists: each filter has the index that it is answered by.
DROP INDEX verifications_by_created;
CREATE INDEX verifications_by_reference ON verifications (caller, reference, created_at_ms, id) WHERE reference <> '';
CREATE INDEX verifications_by_state ON verifications (caller, state, created_at_ms, id);
CREATE INDEX verifications_by_flow ON verifications (caller, flow, created_at_ms, id);
CREATE INDEX verifications_never_fetched ON verifications (caller, created_at_ms, id)
    WHERE state <> 'pending' AND result_fetched_at_ms IS NULL;
CREATE INDEX events_by_flow ON events (caller, flow, seq);
CREATE INDEX audit_events_by_actor ON audit_events (actor, seq);
CREATE INDEX audit_events_by_action ON audit_events (action, seq);
CREATE INDEX audit_events_by_credential ON audit_events (credential, seq) WHERE credential <> '';

-- ID cards count while the token of their verification may have had attempts.
DROP INDEX verifications_by_id_card;
CREATE INDEX verifications_by_id_card ON verifications (id_card_hash, expires_at_ms) WHERE id_card_hash IS NOT NULL;
CREATE INDEX verifications_with_id_card ON verifications (expires_at_ms) WHERE id_card_hash IS NOT NULL;

CREATE INDEX jobs_by_rank ON jobs (kind, rank_ms);
CREATE INDEX webhooks_parked ON webhook_cursors (parked_at_ms) WHERE parked_at_ms IS NOT NULL;

-- When an attempt counts: its own time, or, where the vendor tells none, that of its verification.
ALTER TABLE attempts ADD COLUMN counted_at_ms INTEGER NOT NULL DEFAULT 0;
UPDATE attempts SET counted_at_ms =
    coalesce(at_ms, (SELECT created_at_ms FROM verifications WHERE id = attempts.verification_id));
DROP INDEX attempts_by_time;
CREATE INDEX attempts_charged ON attempts (counted_at_ms) WHERE charged = 1;

-- What the verifications and attempts of a day come to. Days since 1970-01-01 in Beijing, as the vendor's bill has them.
CREATE TABLE usage_days (
    day              INTEGER NOT NULL,
    caller           TEXT    NOT NULL,
    flow             TEXT    NOT NULL,
    verifications    INTEGER NOT NULL CHECK (verifications >= 0),
    attempts         INTEGER NOT NULL CHECK (attempts >= 0),
    charged_attempts INTEGER NOT NULL CHECK (charged_attempts >= 0),
    PRIMARY KEY (day, caller, flow)
) STRICT, WITHOUT ROWID;

INSERT INTO usage_days (day, caller, flow, verifications, attempts, charged_attempts)
SELECT (at_ms + 28800000) / 86400000, caller, flow, sum(verifications), sum(attempts), sum(charged) FROM (
    SELECT created_at_ms AS at_ms, caller, flow, 1 AS verifications, 0 AS attempts, 0 AS charged FROM verifications
    UNION ALL
    SELECT a.counted_at_ms, v.caller, v.flow, 0, 1, coalesce(a.charged, 0)
    FROM attempts a JOIN verifications v ON v.id = a.verification_id
) GROUP BY 1, 2, 3;
