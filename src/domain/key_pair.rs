//! The key pair of a Tencent account.

use super::{
    fault::{Fault, Faults},
    secret_text::{check_secret, name_of},
};
use secrecy::{ExposeSecret, SecretString};

/// Code that is noted for a test in which the vendor accepted the key pair.
pub const TEST_OK: &str = "OK";

/// SecretId and SecretKey. The SecretId names the account, so it is kept like the SecretKey.
#[derive(Clone)]
pub struct KeyPair {
    secret_id: SecretString,
    secret_key: SecretString,
    /// Of temporary pairs: is sent with each call.
    session_token: Option<SecretString>,
}

/// A key pair as it came from outside.
pub struct UnverifiedKeyPair {
    pub secret_id: SecretString,
    pub secret_key: SecretString,
    pub session_token: Option<SecretString>,
}

/// The longest SecretId, SecretKey or session token that is taken, in bytes. The vendor's documents
/// promise no length; ids and keys have 32 to 36, tokens up to some KB.
const MAX_BYTES: usize = 4096;

impl UnverifiedKeyPair {
    /// A pair that does not end by itself.
    pub fn new(secret_id: impl Into<SecretString>, secret_key: impl Into<SecretString>) -> Self {
        Self { secret_id: secret_id.into(), secret_key: secret_key.into(), session_token: None }
    }

    /// The one check that every pair from outside passes: its parts are sent in headers. Says
    /// nothing of them.
    ///
    /// # Errors
    /// Every bad part: `secret_id`, `secret_key`, `session_token`. Never empty.
    pub fn check(self) -> Result<KeyPair, Vec<Fault>> {
        let Self { secret_id, secret_key, session_token } = self;
        let mut faults = Faults::default();
        faults.check("secret_id", check_part(secret_id.expose_secret()));
        faults.check("secret_key", check_part(secret_key.expose_secret()));
        if let Some(token) = &session_token {
            faults.check("session_token", check_part(token.expose_secret()));
        }
        faults.finish(|| KeyPair { secret_id, secret_key, session_token })
    }
}

impl KeyPair {
    /// A pair of the vault, which was checked before it was sealed.
    pub fn sealed_before(secret_id: impl Into<SecretString>, secret_key: impl Into<SecretString>) -> Self {
        Self { secret_id: secret_id.into(), secret_key: secret_key.into(), session_token: None }
    }

    /// Names the pair to the vendor.
    pub fn secret_id(&self) -> &SecretString {
        &self.secret_id
    }

    /// Signs.
    pub fn secret_key(&self) -> &SecretString {
        &self.secret_key
    }

    /// Goes with a temporary pair.
    pub fn session_token(&self) -> Option<&SecretString> {
        self.session_token.as_ref()
    }

    /// Head and tail of the SecretId: enough to recognise it in the vendor's console.
    pub fn masked_id(&self) -> String {
        let id: Vec<char> = self.secret_id.expose_secret().chars().collect();
        // A short one would be told whole.
        if id.len() < 12 {
            return "…".into();
        }
        let (head, tail): (String, String) = (id[..4].iter().collect(), id[id.len() - 4..].iter().collect());
        format!("{head}…{tail}")
    }
}

fn check_part(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err("is missing".into());
    }
    if text.len() > MAX_BYTES {
        return Err(format!("is over {MAX_BYTES} bytes"));
    }
    check_secret(text)?;
    match text.chars().enumerate().find(|(_, char)| !char.is_ascii_graphic()) {
        None => Ok(()),
        Some((i, char)) => Err(format!(
            "has {} as character {} of {}; only visible ASCII is allowed",
            name_of(char),
            i + 1,
            text.chars().count()
        )),
    }
}

impl PartialEq for KeyPair {
    fn eq(&self, other: &Self) -> bool {
        self.secret_id.expose_secret() == other.secret_id.expose_secret()
            && self.secret_key.expose_secret() == other.secret_key.expose_secret()
            && self.session_token.as_ref().map(ExposeSecret::expose_secret)
                == other.session_token.as_ref().map(ExposeSecret::expose_secret)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_masked_id_tells_head_and_tail_and_of_a_short_one_nothing() {
        assert_eq!(KeyPair::sealed_before("AKIDexample00000000001a2b", "k").masked_id(), "AKID…1a2b");
        assert_eq!(KeyPair::sealed_before("AKID1234567", "k").masked_id(), "…");
    }

    #[test]
    fn parts_are_visible_ascii_of_bounded_length() {
        assert!(UnverifiedKeyPair::new("AKID1", "k").check().is_ok());
        for bad in ["", "a b", "a\n", "密钥", "\"a\"", "\u{FEFF}a", &"x".repeat(MAX_BYTES + 1)] {
            let pair = UnverifiedKeyPair { session_token: Some(bad.into()), ..UnverifiedKeyPair::new(bad, bad) };
            let faults = pair.check().err().unwrap_or_default();
            let fields: Vec<&str> = faults.iter().map(|fault| fault.field.as_str()).collect();
            assert_eq!(fields, ["secret_id", "secret_key", "session_token"], "{bad}");
        }
    }
}
