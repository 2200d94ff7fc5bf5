//! The key pair of a Tencent account.

use secrecy::{ExposeSecret, SecretString};

/// SecretId and SecretKey. The SecretId names the account, so it is kept like the SecretKey.
#[derive(Clone)]
pub struct KeyPair {
    pub secret_id: SecretString,
    pub secret_key: SecretString,
}

impl PartialEq for KeyPair {
    fn eq(&self, other: &Self) -> bool {
        self.secret_id.expose_secret() == other.secret_id.expose_secret()
            && self.secret_key.expose_secret() == other.secret_key.expose_secret()
    }
}
