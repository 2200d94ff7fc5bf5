//! DownloadEvidence: a photo, video or sound, verified while it streams.

use super::{
    App, Error,
    evidence::Evidence,
    fetch_evidence::{blob_key, place},
};
use crate::{
    domain::{
        audit::AuditAction,
        caller::{Caller, Right},
        fault::Faults,
        ids::{EvidenceId, VerificationId},
    },
    evidence::GetError,
};
use axum::body::Bytes;
use futures_util::stream::BoxStream;

/// The content in pieces of at most 64 KiB. It is whole when it ends without an error.
pub type EvidenceBytes = BoxStream<'static, Result<Bytes, GetError>>;

impl App {
    /// Opens a piece of evidence.
    ///
    /// # Errors
    /// See [`Error`]; [`Error::Redacted`] when it was erased.
    pub async fn download_evidence(
        &self,
        caller: &Caller,
        unverified_verification_id: &str,
        unverified_evidence_id: &str,
    ) -> Result<(Evidence, EvidenceBytes), Error> {
        self.require(caller, Right::Evidence)?;
        let mut faults = Faults::default();
        let verification_id = faults.check("verification_id", VerificationId::parse(unverified_verification_id));
        let evidence_id = faults.check("evidence_id", EvidenceId::parse(unverified_evidence_id));
        let (Some(verification_id), Some(evidence_id)) = (verification_id, evidence_id) else {
            return Err(Error::InvalidFields(faults.into_vec()));
        };
        let (verification_id, evidence_id) = (verification_id.to_string(), evidence_id.to_string());
        self.open(self.store.find(&verification_id).await?.filter(|row| row.created.caller == caller.name))?;
        let rows = self.store.evidence_of(&verification_id).await?;
        let row = rows.into_iter().find(|row| row.id == evidence_id).ok_or(Error::EvidenceNotFound)?;
        let sealed_key = row.sealed_key.as_ref().ok_or(Error::Redacted)?;
        self.audit(&caller.name, AuditAction::EvidenceDownloaded, &verification_id).await?;
        let key = blob_key(&row)?;
        let bytes = self.evidence.get(&self.keyring, place(&key), &key, sealed_key).await?;
        Ok((row.into(), bytes))
    }
}
