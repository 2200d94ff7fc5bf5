//! Authentication: each mode that is on looks for its credential in the call.
//!
//! - A bearer token (mode `tokens`), known by its SHA-256: `token.rs`.
//! - A JWT as the bearer token (mode `jwt`), verified with the issuer's keys: [`jwt`], [`jwks`].
//! - The certificate of the connection, or what a trusted proxy says of its own client's (mode
//!   `mtls`): [`identity`], [`xfcc`].
//!
//! A call that shows a bearer token is judged by that alone: one that is wrong is refused, whatever
//! the connection's certificate says. So nobody is taken for somebody else by accident.

pub mod identity;
pub mod jwks;
pub mod jwt;
pub mod quota;
mod refused;
mod token;
pub mod xfcc;

pub use refused::Refused;

use crate::domain::{caller::Caller, clock::Clock};
use arc_swap::ArcSwap;
use http::{HeaderMap, header::AUTHORIZATION};
use identity::{FORWARDED_CERTIFICATE, Identity, Peer, TrustedProxies};
use jwt::{JwtConfig, JwtVerifier};
use quota::{CallerQuota, QuotaConfig};
use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};
use token::TokenHashes;
use tokio_util::sync::CancellationToken;

/// Modes of authentication. At least one is on.
#[derive(Clone, Debug, Default)]
pub struct AuthModes {
    pub tokens: bool,
    pub jwt: Option<JwtConfig>,
    pub mtls: Option<TrustedProxies>,
}

/// A caller with its credentials and its quota.
#[derive(Clone, Debug)]
pub struct KnownCaller {
    pub caller: Caller,
    /// The SHA-256 of each of its live tokens.
    pub token_sha256: Vec<[u8; 32]>,
    /// The `sub` of its JWTs.
    pub jwt_subjects: Vec<String>,
    /// Identities that its certificates may carry.
    pub identities: Vec<Identity>,
    pub quota: QuotaConfig,
}

/// A caller that was found, and what is left of its quota.
#[derive(Clone)]
pub struct Authenticated {
    pub caller: Arc<Caller>,
    pub quota: Arc<CallerQuota>,
    /// Set when what the call showed counts no more.
    pub revoked: CancellationToken,
}

/// Finds the caller of a call.
pub struct Authenticator {
    /// None: authentication is off, and everyone is the anonymous caller. The configuration allows
    /// that on loopback only.
    modes: Option<Modes>,
    roster: ArcSwap<Roster>,
    anonymous: Authenticated,
}

struct Modes {
    tokens: bool,
    jwt: Option<Arc<JwtVerifier>>,
    mtls: Option<TrustedProxies>,
}

impl Authenticator {
    /// Takes the callers, and the issuer's keys where there are JWTs; the keys are kept fresh until
    /// `stop`. `modes` None: everyone is the anonymous caller.
    ///
    /// # Errors
    /// When the issuer's keys are in a file that cannot be used. An issuer that does not answer is
    /// asked again.
    pub async fn start(
        modes: Option<AuthModes>,
        callers: Vec<KnownCaller>,
        clock: Arc<dyn Clock>,
        stop: &CancellationToken,
    ) -> Result<Self, jwks::Error> {
        let modes = match modes {
            None => None,
            Some(AuthModes { tokens, jwt, mtls }) => {
                let jwt = match jwt {
                    None => None,
                    Some(config) => Some(Arc::new(JwtVerifier::start(config, clock, stop.clone()).await?)),
                };
                Some(Modes { tokens, jwt, mtls })
            }
        };
        let anonymous = Authenticated {
            caller: Arc::new(Caller::anonymous()),
            quota: Arc::new(CallerQuota::new(Caller::ANONYMOUS, QuotaConfig::default())),
            revoked: CancellationToken::new(),
        };
        Ok(Self { modes, roster: ArcSwap::from_pointee(Roster::new(callers, None)), anonymous })
    }

    /// Takes other callers in place of those that are known. Quotas that did not change go on
    /// counting; what was shown by a call and counts no more is revoked.
    pub fn replace_callers(&self, callers: Vec<KnownCaller>) {
        let before = self.roster.load_full();
        let after = Roster::new(callers, Some(&before));
        let revoked: Vec<CancellationToken> = before
            .shown
            .iter()
            .filter(|(shown, _)| !after.shown.contains_key(*shown))
            .map(|(_, token)| token.clone())
            .collect();
        // First nobody is let in by it, and then those that were are told.
        self.roster.store(Arc::new(after));
        revoked.iter().for_each(CancellationToken::cancel);
    }

    /// Finds the caller by a call's headers and its connection.
    ///
    /// # Errors
    /// When the call shows no caller that is known.
    pub async fn authenticate(&self, headers: &HeaderMap, peer: Option<&Peer>) -> Result<Authenticated, Refused> {
        let Some(modes) = &self.modes else { return Ok(self.anonymous.clone()) };
        if (modes.tokens || modes.jwt.is_some())
            && let Some(header) = headers.get(AUTHORIZATION)
        {
            // With two of them, a proxy in front may have checked the other one.
            if headers.get_all(AUTHORIZATION).iter().count() > 1 {
                return Err(Refused::because("authorization metadata is given more than once"));
            }
            let token = header
                .to_str()
                .ok()
                .and_then(|text| text.split_once(' '))
                .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
                .map(|(_, token)| token.trim())
                .ok_or_else(|| Refused::because("authorization metadata is not \"Bearer <token>\""))?;
            return match &modes.jwt {
                Some(verifier) if !modes.tokens || jwt::looks_like_one(token) => {
                    let subject = verifier.verify(token).await?;
                    self.roster.load().of_subject(&subject)
                }
                _ => self.roster.load().of_token(token),
            };
        }
        if let Some(proxies) = &modes.mtls
            && let Some(identities) = proxies.identities_of_client(headers, peer)?
        {
            return self.roster.load().of_identities(&identities);
        }
        Err(Refused::Nothing(modes.what_to_show(headers)))
    }
}

impl Modes {
    fn what_to_show(&self, headers: &HeaderMap) -> String {
        let mut ways = Vec::new();
        if self.tokens || self.jwt.is_some() {
            let what = if self.tokens { "token" } else { "JWT" };
            ways.push(format!("send \"authorization: Bearer <{what}>\""));
        }
        if self.mtls.is_some() {
            ways.push("connect with a client certificate".to_owned());
        }
        let mut text = format!("the call shows no caller: {}", ways.join(", or "));
        if self.mtls.is_some() && headers.contains_key(FORWARDED_CERTIFICATE) {
            text.push_str("; x-forwarded-client-cert counts only from a peer in auth.mtls.trusted_proxies");
        }
        text
    }
}

/// The callers, by what they show.
struct Roster {
    tokens: TokenHashes<Authenticated>,
    by_subject: HashMap<String, Authenticated>,
    by_identity: HashMap<Identity, Authenticated>,
    quotas: HashMap<String, Arc<CallerQuota>>,
    shown: HashMap<Shown, CancellationToken>,
}

/// A credential as configured, together with its caller: moved to another caller, it is a different
/// one.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Shown {
    caller: String,
    by: ShownBy,
}

#[derive(Clone, PartialEq, Eq, Hash)]
enum ShownBy {
    Token([u8; 32]),
    Subject(String),
    Identity(Identity),
}

impl Roster {
    fn new(callers: Vec<KnownCaller>, before: Option<&Self>) -> Self {
        let mut roster = Self {
            tokens: TokenHashes::default(),
            by_subject: HashMap::new(),
            by_identity: HashMap::new(),
            quotas: HashMap::new(),
            shown: HashMap::new(),
        };
        for known in callers {
            let KnownCaller { caller, token_sha256, jwt_subjects, identities, quota } = known;
            let quota = match before.and_then(|before| before.quotas.get(&caller.name)) {
                Some(kept) if kept.config() == quota => Arc::clone(kept),
                _ => Arc::new(CallerQuota::new(&caller.name, quota)),
            };
            roster.quotas.insert(caller.name.clone(), Arc::clone(&quota));
            let caller = Arc::new(caller);
            let mut found = |by: ShownBy| {
                let shown = Shown { caller: caller.name.clone(), by };
                let revoked = before.and_then(|before| before.shown.get(&shown)).cloned().unwrap_or_default();
                roster.shown.insert(shown, revoked.clone());
                Authenticated { caller: Arc::clone(&caller), quota: Arc::clone(&quota), revoked }
            };
            for hash in token_sha256 {
                roster.tokens.add(hash, found(ShownBy::Token(hash)));
            }
            for subject in jwt_subjects {
                roster.by_subject.insert(subject.clone(), found(ShownBy::Subject(subject)));
            }
            for identity in identities {
                roster.by_identity.insert(identity.clone(), found(ShownBy::Identity(identity)));
            }
        }
        roster
    }

    fn of_token(&self, token: &str) -> Result<Authenticated, Refused> {
        self.tokens.find(token).cloned().ok_or(Refused::Unknown("no caller has this token"))
    }

    fn of_subject(&self, subject: &str) -> Result<Authenticated, Refused> {
        let found = self.by_subject.get(subject).cloned();
        found.ok_or(Refused::Unknown("no caller has the subject (sub) of this JWT"))
    }

    /// A certificate may have several names; they must not be of several callers.
    fn of_identities(&self, identities: &[Identity]) -> Result<Authenticated, Refused> {
        let found: Vec<&Authenticated> =
            identities.iter().filter_map(|identity| self.by_identity.get(identity)).collect();
        let names: BTreeSet<&str> = found.iter().map(|found| found.caller.name.as_str()).collect();
        match found.as_slice() {
            [] => Err(Refused::Unknown("no caller has a name (URI or DNS) of the client's certificate")),
            [first, ..] if names.len() == 1 => Ok((*first).clone()),
            _ => Err(Refused::because("the client's certificate has the names of several callers")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{caller::FlowGrant, clock::SystemClock};
    use sha2::{Digest, Sha256};
    use std::net::Ipv4Addr;

    fn known(name: &str, tokens: &[&str], identities: &[&str]) -> KnownCaller {
        KnownCaller {
            caller: Caller { name: name.into(), flows: FlowGrant::All, rights: BTreeSet::new() },
            token_sha256: tokens.iter().map(|token| Sha256::digest(token.as_bytes()).into()).collect(),
            jwt_subjects: vec![],
            identities: identities.iter().map(|text| Identity::parse(text).unwrap()).collect(),
            quota: QuotaConfig::default(),
        }
    }

    async fn authenticator(modes: AuthModes) -> Authenticator {
        let callers = vec![
            known("orders", &["old", "new"], &["spiffe://mesh/ns/shop/sa/orders", "dns:orders.internal"]),
            known("loans", &["loans"], &["spiffe://mesh/ns/shop/sa/loans"]),
        ];
        let stop = CancellationToken::new();
        Authenticator::start(Some(modes), callers, Arc::new(SystemClock), &stop).await.unwrap()
    }

    async fn by_header(header: Option<&str>) -> Result<String, String> {
        let mut headers = HeaderMap::new();
        if let Some(header) = header {
            headers.insert(AUTHORIZATION, header.parse().unwrap());
        }
        let authenticator = authenticator(AuthModes { tokens: true, ..AuthModes::default() }).await;
        let found = authenticator.authenticate(&headers, None).await;
        found.map(|found| found.caller.name.clone()).map_err(|refused| refused.to_string())
    }

    #[tokio::test]
    async fn every_live_token_names_its_caller() {
        assert_eq!(by_header(Some("Bearer old")).await.unwrap(), "orders");
        assert_eq!(by_header(Some("bearer new")).await.unwrap(), "orders");
        assert_eq!(by_header(Some("Bearer loans")).await.unwrap(), "loans");
    }

    #[tokio::test]
    async fn anything_else_is_refused_with_what_to_do() {
        assert!(by_header(None).await.unwrap_err().contains("send"));
        assert!(by_header(Some("Basic b2xk")).await.unwrap_err().contains("Bearer <token>"));
        assert!(by_header(Some("old")).await.unwrap_err().contains("Bearer <token>"));
        assert!(by_header(Some("Bearer ")).await.unwrap_err().contains("no caller"));
        assert!(by_header(Some("Bearer wrong")).await.unwrap_err().contains("no caller"));
    }

    fn peer(identities: &[&str]) -> Peer {
        let identities = identities.iter().map(|text| Identity::parse(text).unwrap()).collect();
        Peer { ip: Ipv4Addr::LOCALHOST.into(), identities }
    }

    #[tokio::test]
    async fn a_certificate_names_one_caller() {
        let modes = AuthModes { tokens: true, jwt: None, mtls: Some(TrustedProxies::default()) };
        let authenticator = authenticator(modes).await;
        let find = async |identities: &[&str]| {
            let found = authenticator.authenticate(&HeaderMap::new(), Some(&peer(identities))).await;
            found.map(|found| found.caller.name.clone()).map_err(|refused| refused.to_string())
        };
        assert_eq!(find(&["spiffe://mesh/ns/shop/sa/orders"]).await.unwrap(), "orders");
        assert_eq!(find(&["dns:orders.internal", "spiffe://mesh/ns/shop/sa/orders"]).await.unwrap(), "orders");
        assert!(find(&["dns:orders.internal.evil"]).await.unwrap_err().contains("no caller"));
        let both = find(&["dns:orders.internal", "spiffe://mesh/ns/shop/sa/loans"]).await;
        assert!(both.unwrap_err().contains("several callers"));
        assert!(find(&[]).await.unwrap_err().contains("client certificate"));
    }

    #[tokio::test]
    async fn a_wrong_token_is_not_made_good_by_a_certificate() {
        let modes = AuthModes { tokens: true, jwt: None, mtls: Some(TrustedProxies::default()) };
        let authenticator = authenticator(modes).await;
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, "Bearer wrong".parse().unwrap());
        let orders = peer(&["dns:orders.internal"]);
        assert!(authenticator.authenticate(&headers, Some(&orders)).await.is_err());
        headers.insert(AUTHORIZATION, "Bearer loans".parse().unwrap());
        let found = authenticator.authenticate(&headers, Some(&orders)).await.ok().unwrap();
        assert_eq!(found.caller.name, "loans");
    }

    #[tokio::test]
    async fn what_counts_no_more_is_revoked_and_nothing_else() {
        let authenticator = authenticator(AuthModes { tokens: true, ..AuthModes::default() }).await;
        let find = async |token: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, format!("Bearer {token}").parse().unwrap());
            authenticator.authenticate(&headers, None).await.ok().unwrap()
        };
        let (old, new, loans) = (find("old").await, find("new").await, find("loans").await);
        authenticator.replace_callers(vec![known("orders", &["new"], &[]), known("loans", &["other"], &[])]);
        assert!(old.revoked.is_cancelled() && loans.revoked.is_cancelled() && !new.revoked.is_cancelled());
        authenticator.replace_callers(vec![known("loans", &["new"], &[])]);
        assert!(new.revoked.is_cancelled(), "the token is another caller's now");
        assert!(!find("new").await.revoked.is_cancelled());
    }

    #[tokio::test]
    async fn two_authorization_headers_are_refused() {
        let authenticator = authenticator(AuthModes { tokens: true, ..AuthModes::default() }).await;
        let mut headers = HeaderMap::new();
        headers.append(AUTHORIZATION, "Bearer old".parse().unwrap());
        headers.append(AUTHORIZATION, "Bearer old".parse().unwrap());
        assert!(authenticator.authenticate(&headers, None).await.is_err());
    }

    #[tokio::test]
    async fn replaced_callers_keep_the_quota_that_did_not_change() {
        let authenticator = authenticator(AuthModes { tokens: true, ..AuthModes::default() }).await;
        let find = async |token: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, format!("Bearer {token}").parse().unwrap());
            authenticator.authenticate(&headers, None).await.ok()
        };
        let before = find("old").await.unwrap();
        authenticator.replace_callers(vec![known("orders", &["new", "newest"], &[])]);
        assert!(find("old").await.is_none() && find("loans").await.is_none());
        let after = find("newest").await.unwrap();
        assert!(Arc::ptr_eq(&before.quota, &after.quota));
        let mut limited = known("orders", &["new"], &[]);
        limited.quota.requests_per_minute = Some(std::num::NonZeroU32::MIN);
        authenticator.replace_callers(vec![limited]);
        assert!(!Arc::ptr_eq(&before.quota, &find("new").await.unwrap().quota));
    }
}
