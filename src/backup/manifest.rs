//! What a backup is: the database, the list of the evidence that it needs, and the manifest that is
//! written last.

use crate::domain::store_identity::StoreIdentity;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{
    fs::File,
    io::{self, Read, Write},
    path::Path,
};

/// The copy of the database.
pub(super) const DATABASE: &str = "gateway.db";
/// The keys of the blobs that its rows tell of, one a line.
pub(super) const EVIDENCE: &str = "evidence.txt";
pub(super) const MANIFEST: &str = "manifest.json";
const FORMAT: u32 = 1;
/// A manifest has some hundred bytes, and some for each key.
const MAX_BYTES: u64 = 1 << 20;
const PIECE: usize = 1 << 16;

/// Names the store, and what a restore needs beside the backup.
#[derive(Serialize, Deserialize)]
pub(super) struct Manifest {
    format: u32,
    made_at: Timestamp,
    /// The version of the gateway that made it.
    gateway: String,
    store: String,
    pub(super) schema: i64,
    pub(super) database: FileSum,
    pub(super) evidence: FileSum,
    /// Where the evidence was.
    pub(super) evidence_url: String,
    pub(super) blobs: u64,
    /// The ids of the keys that something is sealed with. The keys themselves are not in the
    /// backup.
    pub(super) vault_keys: Vec<String>,
}

/// What a file must be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FileSum {
    pub(super) bytes: u64,
    pub(super) sha256: String,
}

/// What the manifest is told.
pub(super) struct Contents {
    pub(super) store: StoreIdentity,
    pub(super) schema: i64,
    pub(super) database: FileSum,
    pub(super) evidence: FileSum,
    pub(super) evidence_url: String,
    pub(super) blobs: u64,
    pub(super) vault_keys: Vec<String>,
}

impl Manifest {
    pub(super) fn new(made_at: Timestamp, contents: Contents) -> Self {
        let Contents { store, schema, database, evidence, evidence_url, blobs, vault_keys } = contents;
        let gateway = env!("CARGO_PKG_VERSION").to_owned();
        let store = store.to_string();
        Self { format: FORMAT, made_at, gateway, store, schema, database, evidence, evidence_url, blobs, vault_keys }
    }

    /// Reads the manifest of the backup in `folder`.
    pub(super) fn read(folder: &Path) -> anyhow::Result<Self> {
        let path = folder.join(MANIFEST);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                anyhow::bail!("{} is not there: this is no backup, or one that was not finished", path.display())
            }
            Err(error) => anyhow::bail!("{} cannot be read: {error}", path.display()),
        };
        let mut text = String::new();
        file.take(MAX_BYTES).read_to_string(&mut text)?;
        let manifest: Self = serde_json::from_str(&text)
            .map_err(|error| anyhow::anyhow!("{} is not the manifest of a backup: {error}", path.display()))?;
        anyhow::ensure!(
            manifest.format == FORMAT,
            "{} has format {}, and this version of the gateway reads format {FORMAT}",
            path.display(),
            manifest.format
        );
        Ok(manifest)
    }

    pub(super) fn store(&self) -> anyhow::Result<StoreIdentity> {
        StoreIdentity::parse(&self.store).ok_or_else(|| anyhow::anyhow!("{MANIFEST} names no store"))
    }

    /// What it says, for the person at the terminal.
    pub(super) fn summary(&self) -> String {
        format!(
            "store {}, made at {} by version {}: {} bytes, {} blobs of evidence at {}, keys {}",
            self.store,
            self.made_at,
            self.gateway,
            self.database.bytes,
            self.blobs,
            self.evidence_url,
            if self.vault_keys.is_empty() { "none".to_owned() } else { self.vault_keys.join(", ") },
        )
    }
}

impl FileSum {
    /// Copies `from` to `to`, and says what was copied.
    pub(super) fn of_copy(from: &mut impl Read, to: &mut impl Write) -> io::Result<Self> {
        let (mut bytes, mut hash, mut piece) = (0, Sha256::new(), vec![0; PIECE]);
        loop {
            let read = from.read(&mut piece)?;
            if read == 0 {
                return Ok(Self { bytes, sha256: hex::encode(hash.finalize()) });
            }
            to.write_all(&piece[..read])?;
            hash.update(&piece[..read]);
            bytes += read as u64;
        }
    }

    pub(super) fn of_file(path: &Path) -> io::Result<Self> {
        Self::of_copy(&mut File::open(path)?, &mut io::sink())
    }
}
