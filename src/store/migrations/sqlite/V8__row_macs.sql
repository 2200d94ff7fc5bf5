-- What binds a verification's row to its caller, its flow and its verdict: a keyed hash, and the key of the keyring that it is made with. Rows
-- from before have none, and are not believed until `bind-rows` has given them one.
ALTER TABLE verifications ADD COLUMN mac BLOB NOT NULL DEFAULT x'';
ALTER TABLE verifications ADD COLUMN mac_key_id TEXT NOT NULL DEFAULT '';

DROP INDEX verifications_by_hashing_key;
CREATE INDEX verifications_by_hashing_key ON verifications (made_key_id, token_key_id, mac_key_id, created_at_ms);
