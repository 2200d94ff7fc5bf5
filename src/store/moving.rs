//! What is moved from a store to one on another engine: rows as they are, table by table.

use sha2::{Digest, Sha256};

/// The tables, each with the columns that order its rows. A table stands after those that it refers to.
pub const TABLES: [(&str, &str); 11] = [
    ("credentials", "name"),
    ("key_pairs", "id"),
    ("vault_keys", "id"),
    ("verifications", "id"),
    ("attempts", "verification_id, seq"),
    ("usage_days", "day, caller, flow"),
    ("events", "seq"),
    ("webhook_cursors", "verification_id"),
    ("jobs", "kind, subject"),
    ("evidence", "id"),
    ("audit_events", "seq"),
];

/// Rows that are moved together.
pub const BATCH: usize = 2_000;

/// A value, whatever an engine calls its type. A boolean is 0 or 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cell {
    Null,
    Integer(i64),
    Text(String),
    Bytes(Vec<u8>),
}

/// Two tables with the same rows in the same order have the same sum.
#[derive(Default)]
pub struct TableSum {
    sum: Sha256,
    rows: u64,
}

impl TableSum {
    /// The next row.
    pub fn add(&mut self, row: &[Cell]) {
        self.rows += 1;
        for cell in row {
            let (kind, bytes): (u8, &[u8]) = match cell {
                Cell::Null => (0, &[]),
                Cell::Integer(number) => (1, &number.to_be_bytes()),
                Cell::Text(text) => (2, text.as_bytes()),
                Cell::Bytes(bytes) => (3, bytes),
            };
            self.sum.update([kind]);
            self.sum.update((bytes.len() as u64).to_be_bytes());
            self.sum.update(bytes);
        }
    }

    /// Of all rows: how many there are, and their sum.
    pub fn finish(self) -> (u64, [u8; 32]) {
        (self.rows, self.sum.finalize().into())
    }
}
