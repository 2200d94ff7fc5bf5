//! Sources of key pairs outside the vault, as the vendor's SDKs have them. What they give stays in memory.

use super::profile;
use crate::{
    domain::{clock::Clock, key_pair::KeyPair},
    tencent::{
        self,
        sts::{Role, StsClient, WebIdentity},
    },
};
use jiff::{SignedDuration, Timestamp};
use secrecy::SecretString;
use std::{
    fs,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

/// A pair is renewed when a third of its life is left, or this much if that is less.
const RENEW_AHEAD: SignedDuration = SignedDuration::from_mins(20);
/// A file has no end of its own: it is looked at this often.
const REREAD_FILE: SignedDuration = SignedDuration::from_secs(60);
/// Between two tries after one that failed, and after a pair that was refused before its time.
const RETRY: SignedDuration = SignedDuration::from_secs(15);

/// Where a credential's key pair comes from, if not from the vault.
#[derive(Clone)]
pub enum SourceKind {
    /// `TENCENTCLOUD_SECRET_ID`, `_SECRET_KEY` and `_TOKEN`, as the process got them.
    Environment(KeyPair),
    /// A file of the vendor's tools: INI with `secret_id` and `secret_key`.
    Profile { file: PathBuf, profile: String },
    /// The role of a pod in TKE, by the token that Kubernetes keeps fresh in a file.
    TkeOidc { region: String, provider_id: String, token_file: PathBuf, role: Role },
    /// A role that another credential may take on.
    AssumeRole { based_on: String, role: Role },
    /// The role that is bound to the machine; None: the one that its metadata names.
    CvmRole { role: Option<String> },
}

/// A source with what it gave last.
pub(super) struct Source {
    pub(super) kind: SourceKind,
    held: Mutex<Held>,
    /// One asks, the others wait or go on with what there is.
    asking: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Held {
    session: Option<Session>,
    /// When to ask again.
    renew_at: Option<Timestamp>,
    used_at: Option<Timestamp>,
    tested: Option<(Timestamp, String)>,
}

/// A key pair for a while.
#[derive(Clone)]
pub(super) struct Session {
    pub(super) pair: Arc<KeyPair>,
    pub(super) got_at: Timestamp,
    pub(super) expires_at: Option<Timestamp>,
}

/// Why a source gives no key pair. Says nothing of it.
#[derive(Debug, thiserror::Error)]
pub(super) enum SourceError {
    #[error("{0}")]
    File(String),
    #[error(transparent)]
    Vendor(#[from] tencent::Error),
    #[error("its base credential: {0}")]
    Base(String),
    #[error("the pair that came has ended already: is the clock right?")]
    Ended,
}

impl Source {
    pub(super) fn new(kind: SourceKind) -> Self {
        Self { kind, held: Mutex::default(), asking: tokio::sync::Mutex::default() }
    }

    /// What was given last, unless it has ended.
    pub(super) fn session(&self, now: Timestamp) -> Option<Session> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.session.clone().filter(|session| session.expires_at.is_none_or(|end| now < end))
    }

    /// When a pair of this source was last used, and what came of the last test.
    pub(super) fn notes(&self) -> (Option<Timestamp>, Option<(Timestamp, String)>) {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        (held.used_at, held.tested.clone())
    }

    pub(super) fn note_used(&self, now: Timestamp) {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).used_at = Some(now);
    }

    pub(super) fn note_tested(&self, now: Timestamp, code: &str) {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).tested = Some((now, code.to_owned()));
    }

    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.renew_at.is_none_or(|at| at <= now)
    }

    /// The vendor refused what was given: asks anew soon, but not with each call.
    pub(super) fn note_refused(&self, now: Timestamp) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let soon = held.session.as_ref().map_or(now, |session| now.max(session.got_at + RETRY));
        held.renew_at = Some(held.renew_at.map_or(soon, |at| at.min(soon)));
    }

    /// Asks, unless somebody else has just done so. `base` gives the key pair of an assumed role's base.
    pub(super) async fn renew(
        &self,
        name: &str,
        sts: &StsClient,
        clock: &dyn Clock,
        base: impl Future<Output = Result<Arc<KeyPair>, String>>,
    ) -> Result<(), SourceError> {
        let _turn = self.asking.lock().await;
        let now = clock.now();
        if !self.is_due(now) && self.session(now).is_some() {
            return Ok(());
        }
        let fetched = self.fetch(sts, now, base).await;
        let now = clock.now();
        let fetched = fetched.and_then(|session| match session.expires_at {
            Some(end) if end <= now => Err(SourceError::Ended),
            _ => Ok(session),
        });
        let outcome = if fetched.is_ok() { "ok" } else { "failed" };
        let labels = [("credential", name.to_owned()), ("outcome", outcome.to_owned())];
        metrics::counter!("faceid_credential_renewals_total", &labels).increment(1);
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        match fetched {
            Ok(session) => {
                held.renew_at = renew_at(&self.kind, &session);
                if let Some(end) = session.expires_at {
                    #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 fit")]
                    metrics::gauge!("faceid_credential_expiry_timestamp_seconds", "credential" => name.to_owned())
                        .set(end.as_second() as f64);
                }
                held.session = Some(session);
                Ok(())
            }
            Err(error) => {
                held.renew_at = Some(now + RETRY);
                Err(error)
            }
        }
    }

    async fn fetch(
        &self,
        sts: &StsClient,
        now: Timestamp,
        base: impl Future<Output = Result<Arc<KeyPair>, String>>,
    ) -> Result<Session, SourceError> {
        let lasting = |pair: KeyPair| Session { pair: Arc::new(pair), got_at: now, expires_at: None };
        let temporary = match &self.kind {
            SourceKind::Environment(pair) => return Ok(lasting(pair.clone())),
            SourceKind::Profile { file, profile } => {
                return profile::read(file, profile).map(lasting).map_err(SourceError::File);
            }
            SourceKind::TkeOidc { region, provider_id, token_file, role } => {
                let token = fs::read_to_string(token_file)
                    .map_err(|error| SourceError::File(format!("{}: {error}", token_file.display())))?;
                let identity = WebIdentity {
                    region: region.clone(),
                    provider_id: provider_id.clone(),
                    token: SecretString::from(token.trim()),
                };
                sts.assume_role_with_web_identity(&identity, role).await?
            }
            SourceKind::AssumeRole { role, .. } => {
                let pair = base.await.map_err(SourceError::Base)?;
                sts.assume_role(&pair, role).await?
            }
            SourceKind::CvmRole { role } => sts.cvm_role(role.as_deref()).await?,
        };
        Ok(Session { pair: Arc::new(temporary.pair), got_at: now, expires_at: Some(temporary.expires_at) })
    }
}

fn renew_at(kind: &SourceKind, session: &Session) -> Option<Timestamp> {
    match (kind, session.expires_at) {
        // What the process got stays as it is.
        (SourceKind::Environment(_), _) => Some(Timestamp::MAX),
        (_, None) => Some(session.got_at + REREAD_FILE),
        (_, Some(end)) => {
            let ahead = RENEW_AHEAD.min(end.duration_since(session.got_at) / 3);
            Some(end - ahead)
        }
    }
}
