//! The account's API keys: the permanent ones of the console, and the temporary ones that STS and
//! the metadata hand out.

use subtle::ConstantTimeEq;

use super::verify::KeyPair;

#[derive(Default)]
pub(super) struct Keys {
    entries: Vec<Entry>,
    /// STS and metadata hand out nothing.
    pub(super) sts_is_down: bool,
}

struct Entry {
    pair: KeyPair,
    disabled: bool,
    /// Of a temporary key.
    temporary: Option<Temporary>,
}

struct Temporary {
    token: String,
    expires_ms: i64,
}

/// A temporary key, as it is handed out.
pub(super) struct IssuedKey {
    pub(super) secret_id: String,
    pub(super) secret_key: String,
    pub(super) token: String,
    pub(super) expires_ms: i64,
}

impl Keys {
    pub(super) fn new(pair: KeyPair) -> Self {
        Self { entries: vec![Entry { pair, disabled: false, temporary: None }], sts_is_down: false }
    }

    /// Adds a permanent key, in place of one with its SecretId.
    pub(super) fn add(&mut self, pair: KeyPair) {
        self.entries.retain(|entry| entry.pair.secret_id != pair.secret_id);
        self.entries.push(Entry { pair, disabled: false, temporary: None });
    }

    /// Disables a key as the console does, or enables it; `false` when there is none.
    pub(super) fn set_disabled(&mut self, secret_id: &str, disabled: bool) -> bool {
        let entry = self.entries.iter_mut().find(|entry| entry.pair.secret_id == secret_id);
        entry.map(|entry| entry.disabled = disabled).is_some()
    }

    /// Disables every temporary key that was handed out, as when a role's sessions are revoked.
    pub(super) fn revoke_temporary(&mut self) {
        for entry in self.entries.iter_mut().filter(|entry| entry.temporary.is_some()) {
            entry.disabled = true;
        }
    }

    /// Makes a temporary key.
    pub(super) fn issue(&mut self, expires_ms: i64) -> IssuedKey {
        let issued = IssuedKey {
            secret_id: format!("AKID{}", super::random::random_text(60)),
            secret_key: super::random::random_text(44),
            token: super::random::random_text(400),
            expires_ms,
        };
        self.entries.push(Entry {
            pair: KeyPair { secret_id: issued.secret_id.clone(), secret_key: issued.secret_key.clone() },
            disabled: false,
            temporary: Some(Temporary { token: issued.token.clone(), expires_ms }),
        });
        issued
    }

    /// The keys whose signatures are looked at. The vendor does not know a disabled one any more.
    pub(super) fn live(&self) -> Vec<KeyPair> {
        self.entries.iter().filter(|entry| !entry.disabled).map(|entry| entry.pair.clone()).collect()
    }

    /// Whether `X-TC-Token` is what belongs to the key: the right one of a temporary key that has
    /// not ended, none of another.
    pub(super) fn admits_token(&self, secret_id: &str, token: Option<&str>, now_ms: i64) -> bool {
        let entry = self.entries.iter().find(|entry| entry.pair.secret_id == secret_id);
        match (entry.and_then(|entry| entry.temporary.as_ref()), token) {
            (Some(temporary), Some(token)) => {
                now_ms < temporary.expires_ms && bool::from(temporary.token.as_bytes().ct_eq(token.as_bytes()))
            }
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_goes_with_its_key_until_it_ends() {
        let mut keys = Keys::new(KeyPair { secret_id: "id".into(), secret_key: "key".into() });
        assert!(keys.admits_token("id", None, 0));
        assert!(!keys.admits_token("id", Some("t"), 0));
        let (first, second) = (keys.issue(1000), keys.issue(1000));
        assert!(keys.admits_token(&first.secret_id, Some(&first.token), 999));
        assert!(!keys.admits_token(&first.secret_id, Some(&first.token), 1000));
        assert!(!keys.admits_token(&first.secret_id, Some(&second.token), 999));
        assert!(!keys.admits_token(&first.secret_id, None, 999));
        assert_eq!(keys.live().len(), 3);
        assert!(keys.set_disabled("id", true) && !keys.set_disabled("other", true));
        assert_eq!(keys.live().len(), 2);
    }
}
