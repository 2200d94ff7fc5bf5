//! Backups of a SQLite store, and what a restore of one must not get wrong.
//!
//! A backup is of the database alone. A blob is stored before its row, so what is copied *after*
//! the database has every blob that its rows tell of, or the blob was erased on purpose. The
//! vault's keys are kept apart: a backup with its keys is readable.
//!
//! A restore raises the store's epoch. What was said after the backup does not hold any more:
//! resume tokens are refused with the time to list from, webhooks have new ids, and the evidence
//! refuses the database that was restored over.

mod manifest;
mod moving;
mod restore;

pub use moving::move_to_postgres;
pub use restore::{Restored, restore};

use crate::{app::blob_path, config::Config, domain::clock::Clock, store::sqlite::SqliteStore};
use anyhow::Context;
use manifest::{Contents, DATABASE, EVIDENCE, FileSum, MANIFEST, Manifest};
use std::{
    fs::{self, File},
    io::{BufWriter, Write},
    path::Path,
};

/// Backs the database up into a folder that is made, or is empty. A gateway may serve meanwhile.
/// Gives what to tell.
///
/// The manifest comes last: a folder without it is no backup.
///
/// # Errors
/// When the database cannot be read, the folder not be written, or is not empty.
pub fn back_up(config: &Config, folder: &Path, clock: &dyn Clock) -> anyhow::Result<String> {
    let path = config.store.sqlite("back it up with its own means, as docs/BACKUP.md tells")?;
    fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    let is_empty = fs::read_dir(folder).with_context(|| folder.display().to_string())?.next().is_none();
    anyhow::ensure!(is_empty, "{} is not empty: give each backup a folder of its own", folder.display());
    let made_at = clock.now();
    let store = SqliteStore::open_read_only(path).with_context(|| format!("store.url sqlite:{}", path.display()))?;
    let database = folder.join(DATABASE);
    store.copy_to(&database)?;
    drop(store);
    // Of the copy, not of the database, which has gone on.
    let copy = SqliteStore::open_read_only(&database)?;
    let facts = copy.copy_facts()?;
    let blobs = write_evidence(&copy, &folder.join(EVIDENCE))?;
    drop(copy);
    let contents = Contents {
        store: facts.identity,
        schema: facts.schema,
        database: FileSum::of_file(&database)?,
        evidence: FileSum::of_file(&folder.join(EVIDENCE))?,
        evidence_url: config.evidence_url.clone(),
        blobs,
        vault_keys: facts.vault_keys.into_iter().collect(),
    };
    let manifest = Manifest::new(made_at, contents);
    let json = serde_json::to_vec_pretty(&manifest)?;
    let draft = folder.join(format!("{MANIFEST}-unfinished"));
    let mut file = File::create_new(&draft)?;
    file.write_all(&json)?;
    file.sync_all()?;
    fs::rename(draft, folder.join(MANIFEST))?;
    File::open(folder)?.sync_all()?;
    Ok(manifest.summary())
}

fn write_evidence(copy: &SqliteStore, to: &Path) -> anyhow::Result<u64> {
    let mut list = BufWriter::new(File::create_new(to)?);
    let mut blobs = 0;
    copy.each_kept_evidence(|row| {
        blobs += 1;
        writeln!(list, "{}", blob_path(row))
    })?;
    list.into_inner()?.sync_all()?;
    Ok(blobs)
}
