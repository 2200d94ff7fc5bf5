//! Sources of key pairs outside the vault, as the vendor's SDKs have them. What they give stays in
//! memory.

use super::{error::CallError, profile};
use crate::{
    domain::{clock::Clock, key_pair::KeyPair},
    tencent::{
        self, ErrorClass,
        sts::{Role, StsClient, TemporaryPair, WebIdentity},
    },
};
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use secrecy::SecretString;
use std::{fs, path::PathBuf, sync::Arc};
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
    #[error("a role is assumed with the key pair of its base credential")]
    NoBase,
    #[error("the pair that came has ended already: is the clock right?")]
    Ended,
}

impl From<CallError> for SourceError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Credential(error) => Self::Base(error.to_string()),
            CallError::Vendor(error) => Self::Vendor(Arc::new(error)),
        }
    }
}

impl SourceError {
    /// Whether an operator must act: the vendor refuses the base's key pair, the role or the
    /// account.
    pub(super) fn is_permanent(&self) -> bool {
        let Self::Vendor(error) = self else { return false };
        matches!(error.kind.class(), ErrorClass::Credential | ErrorClass::Account | ErrorClass::Request)
    }
}

impl Source {
    pub(super) fn new(kind: SourceKind) -> Self {
        Self { kind, held: Mutex::default(), asking: tokio::sync::Mutex::default() }
    }

    /// The pair that was given last, unless it has ended.
    pub(super) fn session(&self, now: Timestamp) -> Option<Session> {
        let held = self.held.lock();
        held.session.clone().filter(|session| !session.has_ended(now))
    }

    /// When a pair of this source was last used, and what came of the last test.
    pub(super) fn notes(&self) -> (Option<Timestamp>, Option<(Timestamp, String)>) {
        let held = self.held.lock();
        (held.used_at, held.tested.clone())
    }

    pub(super) fn note_used(&self, now: Timestamp) {
        self.held.lock().used_at = Some(now);
    }

    pub(super) fn note_tested(&self, now: Timestamp, code: &str) {
        self.held.lock().tested = Some((now, code.to_owned()));
    }

    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        let held = self.held.lock();
        held.renew_at.is_none_or(|at| at <= now)
    }

    /// The vendor refused what was given: asks anew soon, but not with each call.
    pub(super) fn note_refused(&self, now: Timestamp) {
        let mut held = self.held.lock();
        let soon = held.session.as_ref().map_or(now, |session| now.max(session.got_at + RETRY));
        held.renew_at = Some(held.renew_at.map_or(soon, |at| at.min(soon)));
    }

    /// Takes what `ask` gives. Single-flight: waiters share the result, including an error, and
    /// their own `ask` is never begun.
    pub(super) async fn renew(
        &self,
        name: &str,
        clock: &dyn Clock,
        ask: impl Future<Output = Result<Session, SourceError>>,
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
        let fetched = ask.await;
        let now = clock.now();
        let fetched =
            fetched.and_then(|session| if session.has_ended(now) { Err(SourceError::Ended) } else { Ok(session) });
        let outcome = if fetched.is_ok() { "ok" } else { "failed" };
        let labels = [("credential", name.to_owned()), ("outcome", outcome.to_owned())];
        metrics::counter!("faceid_credential_renewals_total", &labels).increment(1);
        let mut held = self.held.lock();
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
        self.held.lock().asked
    }

    fn failure(&self) -> Option<SourceError> {
        self.held.lock().failure.clone()
    }
}

impl SourceKind {
    /// Asks the source, once. A role is assumed with the key pairs of another credential, which a
    /// source does not know.
    pub(super) async fn ask(&self, sts: &StsClient, now: Timestamp) -> Result<Session, SourceError> {
        let temporary = match self {
            Self::Environment(pair) => return Ok(Session::lasting(pair.clone(), now)),
            Self::Profile { file, profile } => {
                let pair = profile::read(file, profile).map_err(SourceError::File)?;
                return Ok(Session::lasting(pair, now));
            }
            Self::TkeOidc { region, provider_id, token_file, role } => {
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
            Self::AssumeRole { .. } => return Err(SourceError::NoBase),
            Self::CvmRole { role } => sts.cvm_role(role.as_deref()).await,
        };
        let temporary = temporary.map_err(|error| SourceError::Vendor(Arc::new(error)))?;
        Ok(Session::temporary(temporary, now))
    }
}

impl Session {
    pub(super) fn temporary(TemporaryPair { pair, expires_at }: TemporaryPair, got_at: Timestamp) -> Self {
        Self { pair: Arc::new(pair), got_at, expires_at: Some(expires_at) }
    }

    fn lasting(pair: KeyPair, got_at: Timestamp) -> Self {
        Self { pair: Arc::new(pair), got_at, expires_at: None }
    }

    pub(super) fn has_ended(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|end| end <= now)
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
