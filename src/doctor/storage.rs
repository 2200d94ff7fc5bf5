//! The store, the keys that its values are sealed with, and the place of the evidence.

use super::finding::{Finding, Status};
use crate::{
    app::{KeyFault, key_faults, key_use},
    config::StoreUrl,
    evidence::{EvidenceStore, OwnerError, Ownership},
    store::{
        self, SchemaVersions, Store,
        postgres::{PostgresOptions, PostgresStore},
        sqlite::SqliteStore,
    },
    vault::Keyring,
};
use std::{cmp::Ordering, fs, io::ErrorKind, path::Path, sync::Arc, time::Duration};

/// A bucket that is silent for so long is not reachable; the client of it would go on for minutes.
const EVIDENCE_TIMEOUT: Duration = Duration::from_secs(10);

/// Opens the store for reading. None when there is none yet, it cannot be read, or it is of another
/// version.
pub(super) async fn check_store(
    url: &StoreUrl,
    keyring: &Keyring,
    findings: &mut Vec<Finding>,
) -> Option<Arc<dyn Store>> {
    match url {
        StoreUrl::Sqlite(path) => check_sqlite(path, url.to_string(), keyring, findings).await,
        StoreUrl::Postgres(options) => check_postgres(options, url.to_string(), keyring, findings).await,
    }
}

async fn check_postgres(
    options: &PostgresOptions,
    subject: String,
    keyring: &Keyring,
    findings: &mut Vec<Finding>,
) -> Option<Arc<dyn Store>> {
    let schema = match PostgresStore::schema_versions(options).await {
        Ok(schema) => schema,
        Err(error) => {
            let advice = "check store.url, its password and certificates, and that PostgreSQL lets this user in";
            findings.push(Finding::new("store", subject, Status::Fail, error.to_string(), advice));
            return None;
        }
    };
    if schema.found == 0 {
        let advice = "right before the first start, which makes the tables; else check store.url";
        findings.push(Finding::new("store", subject, Status::Warn, "has no tables of the gateway", advice));
        return None;
    }
    findings.push(of_schema(subject.clone(), schema));
    if schema.found != schema.known {
        return None;
    }
    match PostgresStore::open_migrated(options).await {
        Ok(store) => {
            check_keys(&store, keyring, findings).await;
            Some(Arc::new(store))
        }
        Err(error) => {
            let advice = "check that this user may read and write the tables";
            findings.push(Finding::new("store", subject, Status::Fail, error.to_string(), advice));
            None
        }
    }
}

async fn check_sqlite(
    path: &Path,
    subject: String,
    keyring: &Keyring,
    findings: &mut Vec<Finding>,
) -> Option<Arc<dyn Store>> {
    match fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let advice = "right before the first start, which makes it; else check store.url and the volume";
            findings.push(Finding::new("store", subject, Status::Warn, "is not there", advice));
            return None;
        }
        Err(error) => {
            let finding = format!("cannot be looked at: {error}");
            findings.push(Finding::new("store", subject, Status::Fail, finding, "check its folder's owner and rights"));
            return None;
        }
        Ok(_) => {}
    }
    let opened = SqliteStore::open_read_only(path).and_then(|store| Ok((store.schema_versions()?, store)));
    let (schema, store) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            let advice = "check the file's owner and rights, and that it is a database of this gateway";
            findings.push(Finding::new("store", subject, Status::Fail, error.to_string(), advice));
            return None;
        }
    };
    findings.push(of_schema(subject, schema));
    if schema.found != schema.known {
        check_keys_of_another_version(&store, keyring, findings);
        return None;
    }
    check_keys(&store, keyring, findings).await;
    Some(Arc::new(store))
}

fn of_schema(subject: String, schema: SchemaVersions) -> Finding {
    let finding = format!("opens; schema {} of {}", schema.found, schema.known);
    match schema.found.cmp(&schema.known) {
        Ordering::Equal => Finding::ok("store", subject, finding),
        Ordering::Less => {
            Finding::new("store", subject, Status::Warn, finding, "the next start migrates it; back it up before")
        }
        // In the words of the start that would be refused.
        Ordering::Greater => {
            let problem = schema.check_known().err().map_or(finding, |error| error.cause.to_string());
            Finding::new("store", subject, Status::Fail, problem, "the gateway does not start with it")
        }
    }
}

/// Uses of each key, and whether it is the key that the store was written with.
async fn check_keys(store: &dyn Store, keyring: &Keyring, findings: &mut Vec<Finding>) {
    let looked = async { Ok::<_, store::Error>((key_use(keyring, store).await?, key_faults(keyring, store).await?)) };
    let (keys, faults) = match looked.await {
        Ok(looked) => looked,
        Err(error) => {
            findings.push(Finding::new("keys", "vault.keys", Status::Fail, error.to_string(), "check the store"));
            return;
        }
    };
    let wrong = |key_id: &str| faults.iter().any(|fault| matches!(fault, KeyFault::Wrong(wrong) if wrong == key_id));
    for key in keys {
        let (id, count, rows) = (key.used.key_id.clone(), key.sealed_values(), key.needed_by());
        findings.push(match (key.in_keyring, count) {
            (true, _) if wrong(&id) => {
                let advice = "put the right key back under this id: the gateway does not start without it";
                Finding::new("keys", id, Status::Fail, "is another key than the store was written with", advice)
            }
            (true, 0) => Finding::ok("keys", id, "in vault.keys; nothing is sealed with it"),
            (true, _) => Finding::ok("keys", id, format!("in vault.keys; {count} value(s) are sealed with it: {rows}")),
            // Only hashes of the past: without it they are not recognised, and nothing else is
            // lost.
            (false, 0) => continue,
            (false, _) => {
                let finding = format!("not in vault.keys, and {count} value(s) are sealed with it: {rows}");
                let advice = "put this key back into vault.keys: without it they cannot be read";
                Finding::new("keys", id, Status::Fail, finding, advice)
            }
        });
    }
}

fn check_keys_of_another_version(store: &SqliteStore, keyring: &Keyring, findings: &mut Vec<Finding>) {
    let ids = match store.sealed_key_ids() {
        Ok(ids) => ids,
        Err(error) => {
            let advice = "check the store";
            findings.push(Finding::new("keys", "vault.keys", Status::Fail, error.to_string(), advice));
            return;
        }
    };
    if ids.is_empty() {
        findings.push(Finding::ok("keys", "vault.keys", "readable; nothing is sealed yet"));
    }
    for (id, count) in ids {
        findings.push(if keyring.has(&id) {
            Finding::ok("keys", id, format!("in vault.keys; {count} value(s) are sealed with it"))
        } else {
            let finding = format!("not in vault.keys, and {count} value(s) are sealed with it");
            let advice = "put this key back into vault.keys: without it they cannot be read";
            Finding::new("keys", id, Status::Fail, finding, advice)
        });
    }
}

/// Looks whether the evidence can be listed, and is the store's where that is known. A folder is
/// not made: that is the gateway's to do.
pub(super) async fn check_evidence(url: &str, store: Option<&dyn Store>, findings: &mut Vec<Finding>) {
    let finding = match url.strip_prefix("file:") {
        Some(folder) if !Path::new(folder).exists() => {
            let advice = "right before the first start, which makes it; else check evidence.url and the volume";
            Finding::new("evidence", url, Status::Warn, "the folder is not there", advice)
        }
        _ => match look(url, store).await {
            Ok(found) => Finding::ok("evidence", url, found),
            Err(Trouble::Owner(problem)) => {
                Finding::new("evidence", url, Status::Fail, problem, "the gateway does not start with it")
            }
            Err(Trouble::Unreachable(problem)) => {
                let advice = if url.starts_with("file:") {
                    "check evidence.url, and the folder's owner and rights"
                } else {
                    "check evidence.url, the AWS_ variables (region, endpoint, credentials) and the bucket's policy"
                };
                Finding::new("evidence", url, Status::Fail, problem, advice)
            }
        },
    };
    findings.push(finding);
}

enum Trouble {
    Unreachable(String),
    /// It is another store's.
    Owner(String),
}

async fn look(url: &str, store: Option<&dyn Store>) -> Result<&'static str, Trouble> {
    let unreachable = |error: &dyn ToString| Trouble::Unreachable(error.to_string());
    let evidence = EvidenceStore::open(url).map_err(|error| unreachable(&error))?;
    let look = async {
        evidence.check().await.map_err(|error| unreachable(&error))?;
        let Some(store) = store else { return Ok("can be listed") };
        let identity = store.identity().await.map_err(|error| unreachable(&error))?;
        match evidence.check_owner(identity).await {
            Ok(Ownership::Ours | Ownership::OursOfEarlierEpoch) => Ok("can be listed, and is this store's"),
            Ok(Ownership::Unmarked) => Ok("can be listed; the next start marks it as this store's"),
            Err(OwnerError::Store(error)) => Err(unreachable(&error)),
            Err(error) => Err(Trouble::Owner(error.to_string())),
        }
    };
    let timed_out = |_| Trouble::Unreachable(format!("no answer within {} s", EVIDENCE_TIMEOUT.as_secs()));
    tokio::time::timeout(EVIDENCE_TIMEOUT, look).await.map_err(timed_out)?
}
