//! Key pairs by the name of their credential: those of the vault, and temporary ones of other
//! sources.

mod error;
mod fallback;
mod profile;
mod sealed;
mod source;

pub use error::{CallError, CredentialError};
pub use profile::read as read_profile;
pub use sealed::{CredentialVault, FROM_API, Put, place};
pub use source::SourceKind;

use crate::{
    domain::{clock::Clock, key_pair::KeyPair},
    store::Store,
    tencent::sts::StsClient,
};
use futures_util::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use source::{Session, Source, SourceError};
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

/// How long a key pair that was refused stands behind the others.
const REFUSED_FOR: SignedDuration = SignedDuration::from_secs(60);
/// How often it is noted that a key pair is used.
const NOTE_USE_EVERY: SignedDuration = SignedDuration::from_secs(60);

/// All credentials.
pub struct Credentials {
    pub vault: CredentialVault,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    sts: StsClient,
    /// By the name of their credential. The vault is not asked about these.
    sources: BTreeMap<String, Source>,
    seen: Mutex<HashMap<String, Seen>>,
}

/// A key pair to call the vendor with.
pub struct LivePair {
    pub id: String,
    pub pair: Arc<KeyPair>,
    /// Whether it is the one that should be used.
    pub is_first: bool,
}

/// A source's key pair, without its secrets.
pub struct ExternalPair {
    pub masked_secret_id: String,
    pub got_at: Timestamp,
    pub expires_at: Option<Timestamp>,
    pub used_at: Option<Timestamp>,
    /// When it was last tested, and what came of it.
    pub tested: Option<(Timestamp, String)>,
}

/// This process's observations of a key pair.
#[derive(Clone, Copy, Default)]
struct Seen {
    refused_at: Option<Timestamp>,
    use_noted_at: Option<Timestamp>,
}

impl Credentials {
    /// Key pairs of the vault, and of the sources of the configuration by name.
    pub fn new(
        vault: CredentialVault,
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        sts: StsClient,
        sources: impl IntoIterator<Item = (String, SourceKind)>,
    ) -> Self {
        let sources = sources.into_iter().map(|(name, kind)| (name, Source::new(kind))).collect();
        Self { vault, store, clock, sts, sources, seen: Mutex::default() }
    }

    /// The key pairs of a credential, in the order in which to try them: one that was refused
    /// within the last minute goes last. There is at least one.
    ///
    /// # Errors
    /// When there is no such credential, it is disabled, or it cannot be read.
    pub async fn live_pairs(&self, name: &str) -> Result<Vec<LivePair>, CredentialError> {
        if let Some(source) = self.sources.get(name) {
            let session = self.session(name, source).await?;
            return Ok(vec![LivePair { id: name.to_owned(), pair: session.pair, is_first: true }]);
        }
        let row = self.vault.find(name).await?;
        if row.disabled_at_ms.is_some() || row.key_pairs.is_empty() {
            return Err(CredentialError::Disabled(name.to_owned()));
        }
        let mut pairs = Vec::new();
        for (i, sealed) in row.key_pairs.iter().enumerate() {
            let pair = Arc::new(self.vault.open(name, sealed)?);
            pairs.push(LivePair { id: sealed.id.clone(), pair, is_first: i == 0 });
        }
        let now = self.clock.now();
        // Stable: their order stays but for this.
        pairs.sort_by_key(|pair| self.was_refused(&pair.id, now));
        Ok(pairs)
    }

    /// Whether the vault has a key pair of this name that opens. A source is not asked: what it
    /// gives depends on the vendor.
    ///
    /// # Errors
    /// When there is no such credential, it is disabled, or none of its pairs can be read.
    pub async fn check_usable(&self, name: &str) -> Result<(), CredentialError> {
        if self.is_external(name) {
            return Ok(());
        }
        let row = self.vault.find(name).await?;
        if row.disabled_at_ms.is_some() {
            return Err(CredentialError::Disabled(name.to_owned()));
        }
        let mut unusable = CredentialError::Disabled(name.to_owned());
        for sealed in &row.key_pairs {
            match self.vault.open(name, sealed) {
                Ok(_) => return Ok(()),
                Err(error) => unusable = error,
            }
        }
        Err(unusable)
    }

    /// The vendor took a call with this key pair.
    pub async fn note_used(&self, id: &str) {
        let now = self.clock.now();
        if let Some(source) = self.sources.get(id) {
            source.note_used(now);
            return;
        }
        let is_noted = self.with_seen(id, |seen| {
            seen.refused_at = None;
            let is_recent = seen.use_noted_at.is_some_and(|at| is_within(at, now, NOTE_USE_EVERY));
            if !is_recent {
                seen.use_noted_at = Some(now);
            }
            is_recent
        });
        if !is_noted && let Err(error) = self.store.note_key_pair_used(id, now.as_millisecond()).await {
            tracing::warn!(error = %error, "the use of a key pair could not be noted");
        }
    }

    /// The vendor refused this key pair.
    pub fn note_refused(&self, id: &str) {
        let now = self.clock.now();
        if let Some(source) = self.sources.get(id) {
            source.note_refused(now);
            return;
        }
        self.with_seen(id, |seen| seen.refused_at = Some(now));
    }

    /// Names of the credentials whose key pairs come from a source.
    pub fn external(&self) -> impl Iterator<Item = &str> {
        self.sources.keys().map(String::as_str)
    }

    /// Names of the roles that are taken on with a credential.
    pub fn roles_based_on(&self, name: &str) -> impl Iterator<Item = &str> {
        let is_base =
            move |source: &Source| matches!(&source.kind, SourceKind::AssumeRole { based_on, .. } if based_on == name);
        self.sources.iter().filter(move |(_, source)| is_base(source)).map(|(role, _)| role.as_str())
    }

    /// Whether a source of the configuration gives the credential, and not the vault.
    pub fn is_external(&self, name: &str) -> bool {
        self.sources.contains_key(name)
    }

    /// The known state of a source's key pair, without asking the source.
    pub fn external_pair(&self, name: &str) -> Option<ExternalPair> {
        let source = self.sources.get(name)?;
        let session = source.session(self.clock.now())?;
        let (used_at, tested) = source.notes();
        Some(ExternalPair {
            masked_secret_id: session.pair.masked_id(),
            got_at: session.got_at,
            expires_at: session.expires_at,
            used_at,
            tested,
        })
    }

    /// Notes the result of testing a source's key pair.
    pub fn note_external_tested(&self, name: &str, code: &str) {
        if let Some(source) = self.sources.get(name) {
            source.note_tested(self.clock.now(), code);
        }
    }

    /// Asks every source whose key pair ends soon. Where that fails, what there is serves until it
    /// really ends.
    pub async fn renew_due(&self) {
        for (name, source) in &self.sources {
            let now = self.clock.now();
            if source.is_due(now)
                && let Err(error) = source.renew(name, &*self.clock, self.ask(&source.kind)).await
            {
                let left_s =
                    source.session(now).and_then(|it| it.expires_at).map(|end| end.duration_since(now).as_secs());
                tracing::warn!(credential = %name, left_s, error = %error, "a credential could not be renewed yet");
            }
        }
    }

    /// The source's key pair. Only where there is none that has not ended is the source waited for.
    async fn session(&self, name: &str, source: &Source) -> Result<Session, CredentialError> {
        if let Some(session) = source.session(self.clock.now()) {
            return Ok(session);
        }
        let unavailable = |problem: String| CredentialError::Unavailable { name: name.to_owned(), problem };
        let renewed = source.renew(name, &*self.clock, self.ask(&source.kind)).await;
        renewed.map_err(|error| {
            let problem = error.to_string();
            if error.is_permanent() {
                CredentialError::Refused { name: name.to_owned(), problem }
            } else {
                unavailable(problem)
            }
        })?;
        source.session(self.clock.now()).ok_or_else(|| unavailable("its source gave a key pair that has ended".into()))
    }

    /// Asks a source, once. Boxed: the base of a role may be a source itself.
    fn ask<'a>(&'a self, kind: &'a SourceKind) -> BoxFuture<'a, Result<Session, SourceError>> {
        Box::pin(async move {
            let now = self.clock.now();
            let SourceKind::AssumeRole { based_on, role } = kind else { return kind.ask(&self.sts, now).await };
            let assume = |pair: Arc<KeyPair>| async move { self.sts.assume_role(&pair, role).await };
            Ok(Session::temporary(self.with_key_pair(based_on, assume).await?, now))
        })
    }

    fn was_refused(&self, id: &str, now: Timestamp) -> bool {
        self.with_seen(id, |seen| seen.refused_at.is_some_and(|at| is_within(at, now, REFUSED_FOR)))
    }

    fn with_seen<T>(&self, id: &str, look: impl FnOnce(&mut Seen) -> T) -> T {
        look(self.seen.lock().entry(id.to_owned()).or_default())
    }
}

/// Asks a source for a key pair, once. `base`: the key pair of the credential that an assumed role
/// is based on.
///
/// # Errors
/// The fault, and nothing of the pair.
pub async fn ask_source(
    kind: &SourceKind,
    base: Option<Arc<KeyPair>>,
    sts: &StsClient,
    clock: &dyn Clock,
) -> Result<Arc<KeyPair>, String> {
    let now = clock.now();
    let session = match (kind, base) {
        (SourceKind::AssumeRole { .. }, None) => return Err("its base credential has no key pair".into()),
        (SourceKind::AssumeRole { role, .. }, Some(base)) => {
            let temporary = sts.assume_role(&base, role).await.map_err(|error| error.to_string())?;
            Session::temporary(temporary, now)
        }
        (kind, _) => kind.ask(sts, now).await.map_err(|error| error.to_string())?,
    };
    if session.has_ended(clock.now()) { Err(SourceError::Ended.to_string()) } else { Ok(session.pair) }
}

/// A negative age, after the clock was set back, is not recent.
fn is_within(at: Timestamp, now: Timestamp, limit: SignedDuration) -> bool {
    (SignedDuration::ZERO..limit).contains(&now.duration_since(at))
}
