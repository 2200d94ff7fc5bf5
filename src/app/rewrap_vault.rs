//! RewrapVault and ListVaultKeys: everything that is sealed, sealed anew with the first key of the
//! keyring.

use super::{
    App, Error,
    binding::Binding,
    cell::{Cell, SESSION},
    fetch_evidence::{blob_key, place as evidence_place},
    key_use::{KeyUse, key_use},
    record::token_of_session,
};
use crate::{
    credential::place as key_pair_place,
    domain::{
        audit::AuditAction,
        caller::{Caller, Right},
        job::JobKind,
    },
    store::row::{JobRow, NewJob, Resealed, SealedValue},
    vault::{Keyring, Place, keyring::OpenError},
};
use jiff::SignedDuration;
use std::time::Duration;
use tokio::time::Instant;

/// Few enough that other writes do not wait long for one batch, many enough that a flush to the
/// disk is shared.
const BATCH: u32 = 100;
/// Well inside the job's lease.
const SHIFT: Duration = Duration::from_secs(10);
/// How long a job for another key than this process's first is left to the others.
const NOT_OURS: SignedDuration = SignedDuration::from_secs(10);

/// The keys, and what is left to do.
pub struct VaultKeys {
    /// Those of the keyring in its order, then those that something needs and that are not in it.
    pub keys: Vec<KeyUse>,
    /// Values that are sealed with another key than the first.
    pub remaining_values: u64,
    /// Whether they are being sealed anew.
    pub rewrapping: bool,
}

impl App {
    /// Begins to seal everything anew with this process's first key, in the background. Begun
    /// already: changes nothing. The same for another key ends.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn rewrap_vault(&self, caller: &Caller) -> Result<VaultKeys, Error> {
        self.require(caller, Right::Admin)?;
        let key_id = self.keyring.first_id();
        self.store.keep_only_job(JobKind::Rewrap, key_id).await?;
        if !self.store.has_job(JobKind::Rewrap, key_id).await? {
            self.store.append_audit(self.new_event(&caller.name, AuditAction::RewrapStarted)).await?;
            let now_ms = self.clock.now().as_millisecond();
            let job = NewJob { kind: JobKind::Rewrap, subject: key_id.to_owned(), due_at_ms: now_ms, rank_ms: now_ms };
            self.store.add_job(job).await?;
            tracing::info!(caller = %caller.name, key_id, "everything is being sealed anew");
        }
        self.vault_keys().await
    }

    /// The keys, and what each is needed for.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn list_vault_keys(&self, caller: &Caller) -> Result<VaultKeys, Error> {
        self.require(caller, Right::Admin)?;
        self.vault_keys().await
    }

    async fn vault_keys(&self) -> Result<VaultKeys, Error> {
        // Seen before the values are counted: an end in between is not mistaken for a stop on the
        // way.
        let mut rewrapping = false;
        for key_id in self.keyring.key_ids() {
            rewrapping |= self.store.has_job(JobKind::Rewrap, key_id).await?;
        }
        let keys = key_use(&self.keyring, &*self.store).await?;
        let remaining_values = keys.iter().filter(|key| !key.is_first).map(KeyUse::sealed_values).sum();
        Ok(VaultKeys { keys, remaining_values, rewrapping })
    }

    /// Seals anew, batch by batch, for some seconds, and gives the job back until nothing is left.
    /// What is left is found by the keys that values are sealed with, so it does not matter where
    /// an earlier run stopped. A job for another key than the first of this process is left to
    /// those that have that first: this process would undo it.
    ///
    /// # Errors
    /// When the store fails: the job's lease ends by itself, and it is tried again. A value that
    /// does not open is told in the log and left as it is; it stops none of the others.
    pub async fn rewrap_due(&self, job: &JobRow) -> Result<(), Error> {
        let key_id = self.keyring.first_id();
        if job.subject != key_id {
            tracing::warn!(
                wanted = %job.subject,
                key_id,
                "everything is to be sealed with a key that is not the first of this process: left to others"
            );
            let later = self.clock.now() + NOT_OURS;
            return Ok(self.store.reschedule_job(job, later.as_millisecond(), 0).await?);
        }
        let until = Instant::now() + SHIFT;
        // Those that do not open are found again with each batch, before the others.
        let mut unopened = 0;
        while Instant::now() < until && !self.stopping.is_cancelled() {
            // Another key may be wanted meanwhile.
            if !self.store.has_job(job.kind, key_id).await? {
                return Ok(());
            }
            let values = self.store.not_sealed_with(key_id, BATCH + unopened).await?;
            let (mut resealed, mut errors) = (Vec::new(), Vec::new());
            for value in values {
                match self.reencrypt(value) {
                    Ok(value) => resealed.push(value),
                    Err(error) => errors.push(error),
                }
            }
            if resealed.is_empty() {
                // Values sealed with the old key may still stand in the store's files.
                self.plan_scrub().await?;
                for error in &errors {
                    tracing::error!(error = %error, "a sealed value does not open, and stays as it is");
                }
                let left = errors.len();
                tracing::info!(key_id, left, "everything that opens is sealed with the first key");
                return Ok(self.store.finish_job(job).await?);
            }
            unopened = u32::try_from(errors.len()).unwrap_or(u32::MAX - BATCH);
            let count = self.store.reseal(resealed).await?;
            metrics::counter!("faceid_vault_rewrapped_total").increment(count);
        }
        Ok(self.store.reschedule_job(job, self.clock.now().as_millisecond(), 0).await?)
    }

    /// The whole value gets a new data key: the ciphertext is bound to the id of the key that wraps
    /// its data key.
    fn reencrypt(&self, was: SealedValue) -> Result<Resealed, Error> {
        let keyring = &*self.keyring;
        let key_id = keyring.first_id().to_owned();
        let mut token_hash = None;
        let sealed = match &was {
            SealedValue::Verification { id, caller, flow, version, column, sealed } => {
                let cell = Cell { id, caller, flow, version: *version, column };
                let plain = cell.open(keyring, sealed)?;
                if *column == SESSION {
                    token_hash = Some((keyring.token_hash(&token_of_session(id, &plain)?), key_id.clone()));
                }
                cell.seal(keyring, &plain)
            }
            SealedValue::Row(row) => {
                let binding = Binding::of(&row.created);
                binding.verify(keyring, row)?;
                binding.mac(keyring, row.version, &row.progress, row.redacted_at_ms).mac
            }
            SealedValue::Evidence(row) => {
                let key = blob_key(row)?;
                let sealed = row.sealed_key.as_deref().unwrap_or_default();
                reseal(keyring, evidence_place(&key), sealed)
                    .map_err(|error| Error::unreadable(&row.verification_id, "evidence.sealed_key", &error))?
            }
            SealedValue::KeyPair { id, sealed } => reseal(keyring, key_pair_place(id), sealed)
                .map_err(|error| Error::unreadable(id, "sealed_key_pair", &error))?,
        };
        Ok(Resealed { was, sealed, key_id, token_hash })
    }
}

fn reseal(keyring: &Keyring, place: Place<'_>, sealed: &[u8]) -> Result<Vec<u8>, OpenError> {
    Ok(keyring.seal(place, &keyring.open(place, sealed)?))
}
