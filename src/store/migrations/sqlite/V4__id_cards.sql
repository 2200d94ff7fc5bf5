-- How often an ID card is used is watched by a keyed hash of its number, which is forgotten after a day.
ALTER TABLE verifications ADD COLUMN id_card_hash BLOB;

CREATE INDEX verifications_by_id_card ON verifications (id_card_hash, created_at_ms) WHERE id_card_hash IS NOT NULL;
