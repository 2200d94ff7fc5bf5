-- The vendor has deleted evidence before it was fetched.
ALTER TABLE verifications ADD COLUMN evidence_lost INTEGER NOT NULL DEFAULT 0 CHECK (evidence_lost IN (0, 1));
