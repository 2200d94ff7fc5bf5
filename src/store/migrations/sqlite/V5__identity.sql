-- Which store this is: one row, made at the first start with this version. The epoch rises when a backup is restored.
CREATE TABLE store (
    only_row INTEGER NOT NULL PRIMARY KEY CHECK (only_row = 1),
    id       TEXT    NOT NULL,
    epoch    INTEGER NOT NULL CHECK (epoch >= 1),
    -- Rises when readiness commits something to see that it can.
    probes   INTEGER NOT NULL DEFAULT 0
) STRICT;
