//! Putting a backup in its place.

use super::manifest::{DATABASE, EVIDENCE, FileSum, Manifest};
use crate::{
    config::Config,
    domain::{clock::Clock, store_identity::StoreIdentity},
    evidence::{EvidenceStore, OwnerError},
    store::sqlite::{SqliteStore, backup::EmptyPlace},
};
use anyhow::{Context, ensure};
use futures_util::StreamExt;
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use std::{
    collections::HashSet,
    fs::{self, File},
    io::{BufRead, BufReader},
    path::Path,
    time::Duration,
};

/// Of the blobs that are missing, so many are named.
const EXAMPLES: usize = 10;
/// A bucket that is silent for so long is not waited for.
const OWNER_TIMEOUT: Duration = Duration::from_secs(10);

/// What a restore found.
pub struct Restored {
    pub identity: StoreIdentity,
    /// What the backup said of itself.
    pub backup: String,
    /// What is wanting, each with what to do. Empty: nothing is.
    pub warnings: Vec<String>,
}

/// Puts the backup in `folder` where the configuration has its database, with a new epoch.
/// Everything is checked before anything is put in its place.
///
/// # Errors
/// When there is a database already, a process has it, the backup is not whole, or the evidence is
/// another store's.
pub async fn restore(config: &Config, folder: &Path, clock: &dyn Clock) -> anyhow::Result<Restored> {
    let path = config.store.sqlite("restore it with its own means, as docs/BACKUP.md tells")?;
    let manifest = Manifest::read(folder)?;
    let store = manifest.store()?;
    let place = EmptyPlace::take(path).with_context(|| format!("store.url sqlite:{}", path.display()))?;
    let mut warnings = Vec::new();
    let evidence = EvidenceStore::open(&config.evidence_url).context("evidence.url")?;
    let epoch_of_evidence = epoch_of(&evidence, store, &mut warnings).await?;
    let now_s = u32::try_from(clock.now().as_second()).context("the clock is wrong")?;
    let epoch = now_s.max(store.epoch.max(epoch_of_evidence) + 1);

    copy_checked(folder, &manifest, &place)?;
    let copy = SqliteStore::open_read_only(&place.draft())?;
    let facts = copy.copy_facts()?;
    drop(copy);
    ensure!(facts.identity == store, "{DATABASE} is of the store {}, and the manifest names {store}", facts.identity);
    for key in facts.vault_keys.iter().filter(|id| !config.keyring.has(id)) {
        warnings.push(format!("vault.keys lacks the key {key}: put it back, the gateway does not start without it"));
    }
    match missing_blobs(&evidence, &folder.join(EVIDENCE), &manifest).await {
        Ok(found) => warnings.extend(found),
        Err(error) => warnings.push(format!("the evidence could not be looked at ({error:#}): `doctor` looks again")),
    }
    place.put(epoch)?;
    Ok(Restored { identity: StoreIdentity { epoch, ..store }, backup: manifest.summary(), warnings })
}

/// The highest epoch that the evidence has seen; 0 where nothing says so.
async fn epoch_of(evidence: &EvidenceStore, store: StoreIdentity, warnings: &mut Vec<String>) -> anyhow::Result<u32> {
    let problem = match tokio::time::timeout(OWNER_TIMEOUT, evidence.check_owner(store)).await {
        Ok(Ok(_)) => return Ok(0),
        Ok(Err(OwnerError::LaterEpoch { owner, .. })) => return Ok(owner.epoch),
        Ok(Err(OwnerError::Store(error))) => error.to_string(),
        Ok(Err(error)) => return Err(anyhow::Error::new(error).context("evidence.url")),
        Err(_) => format!("no answer within {} s", OWNER_TIMEOUT.as_secs()),
    };
    warnings.push(format!("whose the evidence is could not be seen ({problem}): the start looks again"));
    Ok(0)
}

/// Copies the database beside its place. What is checked is what is then put there.
fn copy_checked(folder: &Path, manifest: &Manifest, place: &EmptyPlace) -> anyhow::Result<()> {
    let wrong = |name: &str| format!("{name} is not what the manifest says: the backup is damaged, take another");
    ensure!(FileSum::of_file(&folder.join(EVIDENCE))? == manifest.evidence, wrong(EVIDENCE));
    let draft = place.draft();
    let copied = File::open(folder.join(DATABASE))
        .and_then(|mut from| FileSum::of_copy(&mut from, &mut File::create(&draft)?))
        .with_context(|| format!("{DATABASE} cannot be copied to {}", draft.display()))?;
    if copied != manifest.database {
        fs::remove_file(&draft)?;
        anyhow::bail!(wrong(DATABASE));
    }
    Ok(())
}

/// Blobs that the backup needs and that are not there; and those that it knows nothing of.
async fn missing_blobs(evidence: &EvidenceStore, list: &Path, manifest: &Manifest) -> anyhow::Result<Vec<String>> {
    let lines = || anyhow::Ok(BufReader::new(File::open(list)?).lines());
    let mut missing = HashSet::new();
    for line in lines()? {
        missing.insert(short_hash(&line?));
    }
    let mut unknown = 0_u64;
    let mut blobs = evidence.written(Timestamp::MIN..Timestamp::MAX);
    while let Some(key) = blobs.next().await {
        if !missing.remove(&short_hash(key?.as_str())) {
            unknown += 1;
        }
    }
    let mut warnings = Vec::new();
    if !missing.is_empty() {
        let mut examples = Vec::new();
        for line in lines()? {
            let line = line?;
            if examples.len() < EXAMPLES && missing.contains(&short_hash(&line)) {
                examples.push(line);
            }
        }
        warnings.push(format!(
            "{} of {} blobs of evidence are missing at evidence.url: put them back (they were at {}), unless they were erased \
             since. The first: {}",
            missing.len(),
            manifest.blobs,
            manifest.evidence_url,
            examples.join(", ")
        ));
    }
    if unknown > 0 {
        warnings.push(format!(
            "{unknown} blobs of evidence are not in the backup: they were stored after it, and their keys are lost with the \
             database. The gateway leaves them alone; delete them when no later backup is to come"
        ));
    }
    Ok(warnings)
}

/// Millions of keys fit into memory so; two do not meet by chance.
fn short_hash(key: &str) -> u128 {
    let digest = Sha256::digest(key.as_bytes());
    digest.first_chunk().map_or(0, |bytes| u128::from_be_bytes(*bytes))
}
