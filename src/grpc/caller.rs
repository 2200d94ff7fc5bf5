//! Who calls: bearer tokens, known by their SHA-256.

use super::status::unauthenticated;
use crate::domain::caller::Caller;
use sha2::{Digest, Sha256};
use std::sync::Arc;
use subtle::ConstantTimeEq;
use tonic::{Request, Status, service::Interceptor};

/// Finds out who calls, and puts the [`Caller`] into the request's extensions.
#[derive(Clone)]
pub enum Authenticator {
    /// Everyone is the anonymous caller. Only for loopback: the configuration sees to that.
    Off,
    /// A caller shows one of its tokens.
    Tokens(Arc<[TokenHolder]>),
}

/// A caller and the SHA-256 of each of its tokens.
pub struct TokenHolder {
    pub caller: Arc<Caller>,
    pub token_sha256: Vec<[u8; 32]>,
}

impl Interceptor for Authenticator {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let caller = match self {
            Self::Off => Arc::new(Caller::anonymous()),
            Self::Tokens(holders) => holder_of(&request, holders)?,
        };
        request.extensions_mut().insert(caller);
        Ok(request)
    }
}

fn holder_of(request: &Request<()>, holders: &[TokenHolder]) -> Result<Arc<Caller>, Status> {
    let header = request
        .metadata()
        .get("authorization")
        .ok_or_else(|| unauthenticated("no authorization metadata: send \"authorization: Bearer <token>\""))?;
    let token = header
        .to_str()
        .ok()
        .and_then(|text| text.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim())
        .ok_or_else(|| unauthenticated("authorization metadata is not \"Bearer <token>\""))?;
    let hash = Sha256::digest(token.as_bytes());
    // All are compared, so that the time taken does not tell which came close.
    let mut found = None;
    for holder in holders {
        for known in &holder.token_sha256 {
            if bool::from(known.ct_eq(hash.as_slice())) {
                found = Some(&holder.caller);
            }
        }
    }
    found.cloned().ok_or_else(|| unauthenticated("no caller has this token"))
}

/// The caller that the [`Authenticator`] found.
pub(super) fn caller_of<T>(request: &Request<T>) -> Result<Arc<Caller>, Status> {
    request.extensions().get::<Arc<Caller>>().cloned().ok_or_else(|| unauthenticated("the call was not authenticated"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::caller::FlowGrant;
    use std::collections::BTreeSet;

    fn holder(name: &str, tokens: &[&str]) -> TokenHolder {
        let caller = Caller { name: name.into(), flows: FlowGrant::All, rights: BTreeSet::new() };
        let token_sha256 = tokens.iter().map(|token| Sha256::digest(token.as_bytes()).into()).collect();
        TokenHolder { caller: Arc::new(caller), token_sha256 }
    }

    fn call(header: Option<&str>) -> Result<String, String> {
        let holders = [holder("orders", &["old", "new"]), holder("loans", &["loans"])];
        let mut request = Request::new(());
        if let Some(header) = header {
            request.metadata_mut().insert("authorization", header.parse().unwrap());
        }
        let request =
            Authenticator::Tokens(holders.into()).call(request).map_err(|status| status.message().to_owned())?;
        Ok(caller_of(&request).unwrap().name.clone())
    }

    #[test]
    fn every_live_token_names_its_caller() {
        assert_eq!(call(Some("Bearer old")).unwrap(), "orders");
        assert_eq!(call(Some("bearer new")).unwrap(), "orders");
        assert_eq!(call(Some("Bearer loans")).unwrap(), "loans");
    }

    #[test]
    fn anything_else_is_refused_with_what_to_do() {
        assert!(call(None).unwrap_err().contains("send"));
        assert!(call(Some("Basic b2xk")).unwrap_err().contains("Bearer <token>"));
        assert!(call(Some("old")).unwrap_err().contains("Bearer <token>"));
        assert!(call(Some("Bearer ")).unwrap_err().contains("no caller"));
        assert!(call(Some("Bearer wrong")).unwrap_err().contains("no caller"));
    }
}
