//! Envelope encryption and keyed hashes.
//!
//! Each sealed value has a data key of its own, which is wrapped by a key of the keyring. Both
//! layers are AES-256-GCM and bind the place that the value belongs to (table, row, column, and
//! what else its owner binds it to): a sealed value that was moved elsewhere does not open.
//!
//! ```text
//! sealed = version 1 | length of key id | key id | nonce, wrapped data key | nonce, ciphertext
//! ```

use crate::domain::{
    identity::IdDocument,
    ids::{BizToken, VerificationId},
    redirect::MAC_BYTES,
    sealed,
};
use aes_gcm::{
    Aes256Gcm, KeyInit,
    aead::{Aead, Payload},
};
use base64::{
    Engine,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use std::collections::BTreeSet;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 12;
const TAG_BYTES: usize = 16;
const MAX_KEY_ID: usize = 64;
const CHECK: &[u8] = b"this key opens what it sealed";

/// The keys of the vault. The first encrypts; all decrypt.
pub struct Keyring {
    keys: Vec<Key>,
}

/// One key of the keyring, as the keys derived from it for each purpose.
struct Key {
    id: String,
    wrapping: Zeroizing<[u8; KEY_BYTES]>,
    redirect: Zeroizing<[u8; KEY_BYTES]>,
    lookup: Zeroizing<[u8; KEY_BYTES]>,
    fingerprint: Zeroizing<[u8; KEY_BYTES]>,
    cursor: Zeroizing<[u8; KEY_BYTES]>,
    id_card: Zeroizing<[u8; KEY_BYTES]>,
    row: Zeroizing<[u8; KEY_BYTES]>,
}

/// Where a sealed value belongs.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    pub table: &'static str,
    pub row: &'a str,
    pub column: &'static str,
    /// Other columns of its row that the value is bound to.
    pub bound: &'a [&'a str],
}

/// A value that did not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("sealed with key {0:?}, which is not in the keyring (vault.keys): add that key again")]
    UnknownKey(String),
    #[error("not a sealed value of this version")]
    Malformed,
    #[error("does not open: altered, moved from another row, or the keyring has another key under this id")]
    Refused,
}

impl Keyring {
    /// Reads a keyring: lines of `<key id>:<base64 of 32 bytes>`; blank lines and lines that begin
    /// with `#` are skipped.
    ///
    /// # Errors
    /// The fault and its line, without key material.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut ids = BTreeSet::new();
        let mut keys = Vec::new();
        for (i, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let number = i + 1;
            let (id, encoded) =
                line.split_once(':').ok_or_else(|| format!("line {number} is not <key id>:<base64 of 32 bytes>"))?;
            let is_id = (1..=MAX_KEY_ID).contains(&id.len())
                && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
            if !is_id {
                return Err(format!(
                    "line {number}: a key id is 1 to {MAX_KEY_ID} characters of A-Z, a-z, 0-9, -, _, ."
                ));
            }
            if !ids.insert(id.to_owned()) {
                return Err(format!("line {number}: its key id is there twice"));
            }
            let bytes = Zeroizing::new(
                BASE64_STANDARD.decode(encoded.trim()).map_err(|_| format!("line {number}: the key is not base64"))?,
            );
            if bytes.len() != KEY_BYTES {
                return Err(format!("line {number}: the key has {} bytes; it must have {KEY_BYTES}", bytes.len()));
            }
            keys.push(Key::derive(id, &bytes));
        }
        if keys.is_empty() {
            return Err("has no key: write one with `echo \"k1:$(head -c 32 /dev/urandom | base64)\"`".into());
        }
        Ok(Self { keys })
    }

    /// Makes the text of a keyring with one new key.
    pub fn generate(key_id: &str) -> Zeroizing<String> {
        let key = Zeroizing::new(rand::random::<[u8; KEY_BYTES]>());
        Zeroizing::new(format!("{key_id}:{}\n", BASE64_STANDARD.encode(key.as_slice())))
    }

    /// Whether the ring has a key of this id.
    pub fn has(&self, key_id: &str) -> bool {
        self.keys.iter().any(|key| key.id == key_id)
    }

    /// The ids of the keys, the one that encrypts first.
    pub fn key_ids(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().map(|key| key.id.as_str())
    }

    /// The id of the key that encrypts.
    pub fn first_id(&self) -> &str {
        &self.first().id
    }

    /// Seals a value for its place.
    pub fn seal(&self, place: Place<'_>, plain: &[u8]) -> Vec<u8> {
        self.first().seal(place, plain)
    }

    /// Something known, sealed with the key of this id: [`Keyring::is_same_key`] tells later
    /// whether it is still the same key.
    pub fn seal_check(&self, key_id: &str) -> Option<Vec<u8>> {
        self.keys.iter().find(|key| key.id == key_id).map(|key| key.seal(check_place(key_id), CHECK))
    }

    /// Whether the key of this id is the one that [`Keyring::seal_check`] sealed with.
    pub fn is_same_key(&self, key_id: &str, sealed_check: &[u8]) -> bool {
        self.open(check_place(key_id), sealed_check).is_ok_and(|plain| plain.as_slice() == CHECK)
    }

    /// Opens a value that was sealed for the same place.
    ///
    /// # Errors
    /// When the key is missing, or the value was altered or moved.
    pub fn open(&self, place: Place<'_>, sealed_value: &[u8]) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let (id, rest) = sealed::split(sealed_value).ok_or(OpenError::Malformed)?;
        let (wrapped, ciphertext) =
            rest.split_at_checked(NONCE_BYTES + KEY_BYTES + TAG_BYTES).ok_or(OpenError::Malformed)?;
        let key = self.keys.iter().find(|key| key.id == id).ok_or_else(|| OpenError::UnknownKey(id.to_owned()))?;
        let aad = place.aad(id);
        let data_key: Zeroizing<[u8; KEY_BYTES]> = Zeroizing::new(
            decrypt(&key.wrapping, &aad, wrapped)?.as_slice().try_into().map_err(|_| OpenError::Malformed)?,
        );
        decrypt(&data_key, &aad, ciphertext)
    }

    /// The MAC that binds a verification to the browser's return.
    pub fn redirect_mac(&self, id: VerificationId) -> [u8; MAC_BYTES] {
        self.first().redirect_mac(id)
    }

    /// Whether `mac` was made for `id` with any key of the ring. Takes the same time wherever a
    /// wrong one differs.
    pub fn verifies_redirect(&self, id: VerificationId, mac: &[u8]) -> bool {
        self.keys.iter().fold(false, |found, key| found | bool::from(key.redirect_mac(id).ct_eq(mac)))
    }

    /// The hash under which a token is stored and found.
    pub fn token_hash(&self, token: &BizToken) -> Vec<u8> {
        hmac(&self.first().lookup, token.expose().as_bytes())
    }

    /// The hashes under which a token may have been stored, by any key of the ring.
    pub fn token_hashes(&self, token: &BizToken) -> Vec<Vec<u8>> {
        self.keys.iter().map(|key| hmac(&key.lookup, token.expose().as_bytes())).collect()
    }

    /// Recognises a request without keeping it: a plain hash of an ID number could be found by
    /// trying all numbers.
    pub fn fingerprint(&self, request: &[u8]) -> Vec<u8> {
        hmac(&self.first().fingerprint, request)
    }

    /// Whether `fingerprint` is that of `request` under any key of the ring.
    pub fn matches_fingerprint(&self, request: &[u8], fingerprint: &[u8]) -> bool {
        self.keys
            .iter()
            .fold(false, |found, key| found | bool::from(hmac(&key.fingerprint, request).as_slice().ct_eq(fingerprint)))
    }

    /// The hash by which the uses of an ID card are counted.
    pub fn id_card_hash(&self, number: &IdDocument) -> Vec<u8> {
        hmac(&self.first().id_card, number.expose().as_bytes())
    }

    /// The hashes under which an ID card may have been counted, by any key of the ring.
    pub fn id_card_hashes(&self, number: &IdDocument) -> Vec<Vec<u8>> {
        self.keys.iter().map(|key| hmac(&key.id_card, number.expose().as_bytes())).collect()
    }

    /// Writes a place in a list or a log as text that a caller can only give back, and only in the
    /// same `context`.
    pub fn write_cursor(&self, context: &str, place: &[u8]) -> String {
        let mac = self.first().cursor_mac(context, place);
        BASE64_URL_SAFE_NO_PAD.encode([place, &mac].concat())
    }

    /// Reads what [`Keyring::write_cursor`] wrote in the same context, with any key of the ring.
    pub fn read_cursor(&self, context: &str, text: &str) -> Option<Vec<u8>> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).ok()?;
        let (place, mac) = bytes.split_at_checked(bytes.len().checked_sub(MAC_BYTES)?)?;
        let genuine = self
            .keys
            .iter()
            .fold(false, |found, key| found | bool::from(key.cursor_mac(context, place).as_slice().ct_eq(mac)));
        genuine.then(|| place.to_vec())
    }

    /// The MAC of what is bound together in a row, and the id of the key that it is made with.
    pub fn row_mac(&self, message: &[u8]) -> (&str, Vec<u8>) {
        (self.first_id(), hmac(&self.first().row, message))
    }

    /// Whether `mac` was made for `message` with the key of this id.
    pub fn verifies_row(&self, key_id: &str, message: &[u8], mac: &[u8]) -> bool {
        let key = self.keys.iter().find(|key| key.id == key_id);
        key.is_some_and(|key| hmac(&key.row, message).as_slice().ct_eq(mac).into())
    }

    fn first(&self) -> &Key {
        &self.keys[0]
    }
}

impl Key {
    fn derive(id: &str, bytes: &[u8]) -> Self {
        let hkdf = Hkdf::<Sha256>::new(None, bytes);
        let for_purpose = |purpose: &str| {
            let mut key = Zeroizing::new([0; KEY_BYTES]);
            hkdf.expand(format!("faceid-gateway v1 {purpose}").as_bytes(), key.as_mut_slice())
                .expect("HKDF-SHA256 gives 32 bytes");
            key
        };
        Self {
            id: id.to_owned(),
            wrapping: for_purpose("wrapping"),
            redirect: for_purpose("redirect"),
            lookup: for_purpose("lookup"),
            fingerprint: for_purpose("fingerprint"),
            cursor: for_purpose("cursor"),
            id_card: for_purpose("id card"),
            row: for_purpose("row"),
        }
    }

    fn seal(&self, place: Place<'_>, plain: &[u8]) -> Vec<u8> {
        let aad = place.aad(&self.id);
        let data_key = Zeroizing::new(rand::random::<[u8; KEY_BYTES]>());
        let mut sealed = vec![sealed::FORMAT, u8::try_from(self.id.len()).expect("a key id has at most 64 bytes")];
        sealed.extend_from_slice(self.id.as_bytes());
        encrypt_onto(&mut sealed, &self.wrapping, &aad, data_key.as_slice());
        encrypt_onto(&mut sealed, &data_key, &aad, plain);
        sealed
    }

    fn cursor_mac(&self, context: &str, place: &[u8]) -> Vec<u8> {
        let length = (context.len() as u64).to_be_bytes();
        let mut mac = hmac(&self.cursor, &[&length[..], context.as_bytes(), place].concat());
        mac.truncate(MAC_BYTES);
        mac
    }

    fn redirect_mac(&self, id: VerificationId) -> [u8; MAC_BYTES] {
        let mut mac = [0; MAC_BYTES];
        mac.copy_from_slice(&hmac(&self.redirect, id.to_string().as_bytes())[..MAC_BYTES]);
        mac
    }
}

impl Place<'_> {
    /// Lengths before the parts, so that no two places have the same bytes.
    fn aad(self, key_id: &str) -> Vec<u8> {
        let mut aad = Vec::new();
        for part in ["faceid-gateway", key_id, self.table, self.row, self.column].iter().chain(self.bound) {
            aad.extend_from_slice(&(part.len() as u64).to_be_bytes());
            aad.extend_from_slice(part.as_bytes());
        }
        aad
    }
}

fn check_place(key_id: &str) -> Place<'_> {
    Place { table: "vault_keys", row: key_id, column: "sealed_check", bound: &[] }
}

fn encrypt_onto(sealed: &mut Vec<u8>, key: &[u8; KEY_BYTES], aad: &[u8], plain: &[u8]) {
    let nonce: [u8; NONCE_BYTES] = rand::random();
    let ciphertext = Aes256Gcm::new(key.into())
        .encrypt(&nonce.into(), Payload { msg: plain, aad })
        .expect("AES-GCM encrypts up to 64 GiB");
    sealed.extend_from_slice(&nonce);
    sealed.extend_from_slice(&ciphertext);
}

fn decrypt(key: &[u8; KEY_BYTES], aad: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, OpenError> {
    let (nonce, ciphertext) = sealed.split_first_chunk::<NONCE_BYTES>().ok_or(OpenError::Malformed)?;
    Aes256Gcm::new(key.into())
        .decrypt(nonce.into(), Payload { msg: ciphertext, aad })
        .map(Zeroizing::new)
        .map_err(|_| OpenError::Refused)
}

fn hmac(key: &[u8; KEY_BYTES], message: &[u8]) -> Vec<u8> {
    let mut mac = <Hmac<Sha256> as hmac::KeyInit>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.update(message);
    mac.finalize().into_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PLACE: Place<'_> =
        Place { table: "verifications", row: "r1", column: "sealed_result", bound: &["orders", "7"] };

    fn ring(ids: &[(&str, u8)]) -> Keyring {
        let lines: Vec<String> =
            ids.iter().map(|(id, byte)| format!("{id}:{}", BASE64_STANDARD.encode([*byte; 32]))).collect();
        Keyring::parse(&lines.join("\n")).unwrap()
    }

    #[test]
    fn opens_what_it_sealed_also_after_a_new_first_key() {
        let sealed = ring(&[("k1", 1)]).seal(PLACE, b"secret");
        assert_eq!(ring(&[("k2", 2), ("k1", 1)]).open(PLACE, &sealed).unwrap().as_slice(), b"secret");
        let error = ring(&[("k2", 2)]).open(PLACE, &sealed).unwrap_err().to_string();
        assert!(error.contains("\"k1\""), "{error}");
        assert!(matches!(ring(&[("k1", 9)]).open(PLACE, &sealed), Err(OpenError::Refused)));
    }

    #[test]
    fn a_moved_value_does_not_open() {
        let ring = ring(&[("k1", 1)]);
        let sealed = ring.seal(PLACE, b"secret");
        for place in [
            Place { row: "r2", ..PLACE },
            Place { column: "sealed_subject", ..PLACE },
            Place { table: "credentials", ..PLACE },
            Place { bound: &["loans", "7"], ..PLACE },
            Place { bound: &["orders7"], ..PLACE },
            Place { bound: &[], ..PLACE },
        ] {
            assert!(matches!(ring.open(place, &sealed), Err(OpenError::Refused)));
        }
    }

    proptest! {
        #[test]
        fn no_altered_or_cut_value_opens(position in 0usize..200, flip in 1u8..=255) {
            let ring = ring(&[("k1", 1)]);
            let sealed = ring.seal(PLACE, &[7; 100]);
            let position = position % sealed.len();
            let mut altered = sealed.clone();
            altered[position] ^= flip;
            prop_assert!(ring.open(PLACE, &altered).is_err());
            prop_assert!(ring.open(PLACE, &sealed[..position]).is_err());
        }
    }

    #[test]
    fn hashes_and_macs_hold_across_rotation_and_differ_by_purpose() {
        let (old, new) = (ring(&[("k1", 1)]), ring(&[("k2", 2), ("k1", 1)]));
        let id = VerificationId::generate(jiff::Timestamp::UNIX_EPOCH);
        assert!(new.verifies_redirect(id, &old.redirect_mac(id)));
        assert!(!old.verifies_redirect(id, &new.redirect_mac(id)));
        assert!(!old.verifies_redirect(id, &[]));
        let token = BizToken::parse("CE661F1A").unwrap();
        assert!(new.token_hashes(&token).contains(&old.token_hash(&token)));
        assert!(new.matches_fingerprint(b"body", &old.fingerprint(b"body")));
        assert!(!new.matches_fingerprint(b"other", &old.fingerprint(b"body")));
        assert_ne!(old.fingerprint(b"CE661F1A"), old.token_hash(&token));
        let (key_id, mac) = old.row_mac(b"row");
        assert!(new.verifies_row(key_id, b"row", &mac) && !new.verifies_row("k2", b"row", &mac));
        assert!(!old.verifies_row(key_id, b"other", &mac) && !old.verifies_row(key_id, b"row", b""));
    }

    #[test]
    fn a_cursor_reads_back_only_in_its_context() {
        let (old, new) = (ring(&[("k1", 1)]), ring(&[("k2", 2), ("k1", 1)]));
        let text = old.write_cursor("list:orders", b"place");
        assert_eq!(new.read_cursor("list:orders", &text).as_deref(), Some(&b"place"[..]));
        assert_eq!(new.read_cursor("list:loans", &text), None);
        for edited in [text.to_uppercase(), text[1..].to_owned(), String::new(), "漢".into()] {
            assert_eq!(old.read_cursor("list:orders", &edited), None, "{edited}");
        }
    }

    #[test]
    fn a_bad_keyring_names_its_line_and_no_key() {
        let problem = |text: &str| Keyring::parse(text).err().unwrap();
        assert!(problem("").contains("no key"));
        assert!(problem("# only a comment\n\n").contains("no key"));
        assert_eq!(problem("k1"), "line 1 is not <key id>:<base64 of 32 bytes>");
        assert_eq!(problem("\nk1:c2hvcnQ="), "line 2: the key has 5 bytes; it must have 32");
        assert_eq!(problem("k1:***"), "line 1: the key is not base64");
        let twice = format!("k1:{0}\nk1:{0}", BASE64_STANDARD.encode([1; 32]));
        assert_eq!(problem(&twice), "line 2: its key id is there twice");
        let swapped = format!("{}:k1", BASE64_STANDARD.encode([1; 32]));
        assert!(!problem(&swapped).contains(&swapped[..20]), "a swapped line shows its key: {}", problem(&swapped));
        assert!(Keyring::parse(&Keyring::generate("k1")).is_ok());
    }
}
