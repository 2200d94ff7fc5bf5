//! Sources of key pairs outside the vault, as the vendor's SDKs have them. What they give stays in memory.

use super::{Credentials, profile};
use crate::{
    domain::{clock::Clock, key_pair::KeyPair},
    tencent::{
        self, ErrorClass,
        sts::{Role, StsClient, TemporaryPair, WebIdentity},
    },
};
use jiff::{SignedDuration, Timestamp};
use secrecy::SecretString;
use std::{
    fs,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};
use zeroize::Zeroizing;

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
    /// One asks, the others wait for what comes of it, or go on with what there is.
    asking: tokio::sync::Mutex<()>,
}

/// The key pairs that an assumed role is based on.
pub(super) enum Base<'a> {
    /// This one.
    Pair(Result<Arc<KeyPair>, String>),
    /// Those of a credential, one after the other while the vendor refuses them.
    Of(&'a Credentials),
}

#[derive(Default)]
struct Held {
    session: Option<Session>,
    /// When to ask again.
    renew_at: Option<Timestamp>,
    /// How often the source was asked, and why it gave nothing the last time.
    asked: u64,
    failure: Option<SourceError>,
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
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum SourceError {
    #[error("{0}")]
    File(String),
    #[error(transparent)]
    Vendor(Arc<tencent::Error>),
    #[error("its base credential: {0}")]
    Base(String),
    #[error("the pair that came has ended already: is the clock right?")]
    Ended,
}

impl SourceError {
    /// Whether an operator must act: the vendor refuses the base's key pair, the role or the account.
    pub(super) fn is_permanent(&self) -> bool {
        let Self::Vendor(error) = self else { return false };
        matches!(error.kind.class(), ErrorClass::Credential | ErrorClass::Account | ErrorClass::Request)
    }
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

    /// Asks, unless somebody else has just done so: who waited for that shares what came of it, be it a failure.
    pub(super) async fn renew(
        &self,
        name: &str,
        sts: &StsClient,
        clock: &dyn Clock,
        base: Base<'_>,
    ) -> Result<(), SourceError> {
        let asked_before = self.asked();
        let _turn = self.asking.lock().await;
        let now = clock.now();
        if !self.is_due(now) && self.session(now).is_some() {
            return Ok(());
        }
        if self.asked() != asked_before
            && let Some(failure) = self.failure()
        {
            return Err(failure);
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
        held.asked += 1;
        held.failure = fetched.as_ref().err().cloned();
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

    fn asked(&self) -> u64 {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).asked
    }

    fn failure(&self) -> Option<SourceError> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).failure.clone()
    }

    async fn fetch(&self, sts: &StsClient, now: Timestamp, base: Base<'_>) -> Result<Session, SourceError> {
        let lasting = |pair: KeyPair| Session { pair: Arc::new(pair), got_at: now, expires_at: None };
        let temporary = match &self.kind {
            SourceKind::Environment(pair) => return Ok(lasting(pair.clone())),
            SourceKind::Profile { file, profile } => {
                return profile::read(file, profile).map(lasting).map_err(SourceError::File);
            }
            SourceKind::TkeOidc { region, provider_id, token_file, role } => {
                let token = fs::read_to_string(token_file)
                    .map(Zeroizing::new)
                    .map_err(|error| SourceError::File(format!("{}: {error}", token_file.display())))?;
                let identity = WebIdentity {
                    region: region.clone(),
                    provider_id: provider_id.clone(),
                    token: SecretString::from(token.trim()),
                };
                sts.assume_role_with_web_identity(&identity, role).await
            }
            SourceKind::AssumeRole { role, based_on } => match base {
                Base::Pair(pair) => sts.assume_role(&*pair.map_err(SourceError::Base)?, role).await,
                Base::Of(credentials) => assume_with_any(credentials, based_on, sts, role).await?,
            },
            SourceKind::CvmRole { role } => sts.cvm_role(role.as_deref()).await,
        };
        let temporary = temporary.map_err(|error| SourceError::Vendor(Arc::new(error)))?;
        Ok(Session { pair: Arc::new(temporary.pair), got_at: now, expires_at: Some(temporary.expires_at) })
    }
}

/// The role, by the first key pair of a credential that the vendor does not refuse.
async fn assume_with_any(
    credentials: &Credentials,
    based_on: &str,
    sts: &StsClient,
    role: &Role,
) -> Result<Result<TemporaryPair, tencent::Error>, SourceError> {
    let mut refusal = None;
    for live in credentials.base_pairs(based_on).await.map_err(|error| SourceError::Base(error.to_string()))? {
        match sts.assume_role(&live.pair, role).await {
            Err(error) if error.kind.class() == ErrorClass::Credential => {
                credentials.note_refused(&live.id);
                tracing::warn!(credential = based_on, key_pair = %live.id, error = %error, "the vendor refuses a key pair");
                // An operator mends the pair that should be used.
                if live.is_first || refusal.is_none() {
                    refusal = Some(error);
                }
            }
            answered => {
                if answered.is_ok() {
                    credentials.note_used(&live.id).await;
                }
                return Ok(answered);
            }
        }
    }
    refusal.map(Err).ok_or_else(|| SourceError::Base("it has no key pair".to_owned()))
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
