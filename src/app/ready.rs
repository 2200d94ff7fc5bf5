//! Whether calls can be served.

use super::{App, Error};
use crate::credential::CredentialError;

/// Why calls cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum NotReady {
    /// No service can serve.
    #[error(transparent)]
    Store(#[from] Error),
    /// Verifications cannot be created or settled; the services that mend it serve on.
    #[error("no flow has a credential that can be used: {0}")]
    NoCredential(CredentialError),
}

impl NotReady {
    /// For whoever probes: no path and nothing of the system's own words.
    pub fn public_message(&self) -> String {
        match self {
            Self::Store(error) => error.store_message(),
            Self::NoCredential(_) => self.to_string(),
        }
    }
}

impl App {
    /// The store reads and writes, and some flow has a key pair that the keyring opens. A vendor
    /// that is down, or that refuses a key pair, changes nothing here: all replicas have the same
    /// vendor, and one that is ready answers with the reason, serves what it knows, and notices by
    /// its calls when the vendor is back.
    ///
    /// # Errors
    /// What is missing.
    pub async fn ready(&self) -> Result<(), NotReady> {
        self.store.ping().await.map_err(Error::from)?;
        let mut missing = None;
        for flow in self.terms().flows.values() {
            match self.credentials.check_usable(&flow.credential).await {
                Ok(()) => return Ok(()),
                Err(CredentialError::Store(error)) => return Err(Error::from(error).into()),
                Err(error) => missing = Some(error),
            }
        }
        missing.map_or(Ok(()), |error| Err(NotReady::NoCredential(error)))
    }
}
