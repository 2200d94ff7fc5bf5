//! Opens an encrypted answer. A field that should be encrypted and is not is refused: a flow with
//! encryption is not to learn from a log that there was none.

use super::{super::tree::Tree, Algorithm, CallKey, aes_cbc, sm4_gcm};
use crate::tencent::{
    answer::{Answer, unintelligible},
    error::ErrorKind,
};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::Value;

const BODY: &str = "EncryptedBody";
const LIST: &str = "EncryptList";
/// Where the vendor documents that it encrypts personal data (document 41957). The answer's own
/// list may name more: `LivenessDetail` repeats names and ID numbers.
const DOCUMENTED: [&str; 4] = ["Text.IdCard", "Text.Name", "Text.OcrIdCard", "Text.OcrName"];
/// More than an answer has attempts and fields.
const MAX_LISTED: usize = 1_000;

/// How an answer says that it was encrypted.
struct Envelope {
    list: Vec<String>,
    iv: Option<String>,
    algorithm: Option<String>,
    tags: Vec<String>,
}

impl CallKey {
    /// Puts the clear text in place of the encrypted one.
    ///
    /// # Errors
    /// [`ErrorKind::NotEncrypted`] and [`ErrorKind::Undecipherable`].
    pub(in super::super) fn open(&self, answer: Answer<Tree>) -> Result<Answer<Tree>, ErrorKind> {
        let Answer { mut body, request_id, asked_at, tries } = answer;
        let envelope = Envelope::take(&mut body);
        if self.whole_response {
            let sealed = body.root().text(BODY);
            let mut opened = self.open_body(&envelope, sealed, &request_id)?;
            opened.complete_with(body);
            body = opened;
        } else {
            self.open_fields(&envelope, &mut body, &request_id)?;
        }
        Ok(Answer { body, request_id, asked_at, tries })
    }

    fn open_body(&self, envelope: &Envelope, body: Option<String>, request_id: &str) -> Result<Tree, ErrorKind> {
        let body = body.ok_or_else(|| ErrorKind::NotEncrypted { place: BODY, request_id: request_id.to_owned() })?;
        let undecipherable = |problem| undecipherable(BODY, problem, request_id);
        let clear = self.decrypt(envelope, &body, 0).map_err(undecipherable)?;
        serde_json::from_slice(&clear).map_err(|error| unintelligible(&error, request_id))
    }

    fn open_fields(&self, envelope: &Envelope, body: &mut Tree, request_id: &str) -> Result<(), ErrorKind> {
        if envelope.list.len() > MAX_LISTED {
            return Err(undecipherable(LIST, "is too long", request_id));
        }
        let mut in_the_clear = DOCUMENTED.to_vec();
        for (position, path) in envelope.list.iter().enumerate() {
            let path = path.strip_prefix("Response.").unwrap_or(path);
            let documented = in_the_clear.iter().position(|place| *place == path);
            let place = documented.map_or(LIST, |at| in_the_clear.swap_remove(at));
            let Some(value) = body.at(path) else { continue };
            let sealed = match value {
                Value::Null => continue,
                Value::String(text) if text.is_empty() => continue,
                Value::String(text) => text.clone(),
                _ => return Err(undecipherable(place, "is not a text", request_id)),
            };
            let clear = self.decrypt(envelope, &sealed, position);
            let clear = clear.and_then(|clear| String::from_utf8(clear).map_err(|_| "is not text when decrypted"));
            *value = Value::String(clear.map_err(|problem| undecipherable(place, problem, request_id))?);
        }
        for place in in_the_clear {
            if body.at(place).is_some_and(|value| !value.is_null() && value.as_str() != Some("")) {
                return Err(ErrorKind::NotEncrypted { place, request_id: request_id.to_owned() });
            }
        }
        Ok(())
    }

    /// `position` is that in the list of encrypted fields, and so that of the tag.
    fn decrypt(&self, envelope: &Envelope, value: &str, position: usize) -> Result<Vec<u8>, &'static str> {
        if envelope.algorithm.as_deref().is_some_and(|name| name != self.algorithm.vendor_name()) {
            return Err("is encrypted with another algorithm");
        }
        let decode = |base64: &str| BASE64_STANDARD.decode(base64).map_err(|_| "is not base64");
        let iv = match envelope.iv.as_deref() {
            Some(iv) => decode(iv)?,
            None => self.iv.clone(),
        };
        if iv.len() != self.algorithm.iv_bytes() {
            return Err("has an Iv of the wrong length");
        }
        let ciphertext = decode(value)?;
        match self.algorithm {
            Algorithm::Aes256Cbc => aes_cbc::decrypt(&self.key, &iv, ciphertext).ok_or("has a wrong padding"),
            Algorithm::Sm4Gcm => {
                let tag = envelope.tags.get(position).filter(|tag| !tag.is_empty()).ok_or("has no tag")?;
                sm4_gcm::decrypt(&self.key, &iv, ciphertext, &decode(tag)?).ok_or("has a wrong tag")
            }
        }
    }
}

impl Envelope {
    /// Takes it out of an answer; what is not published of it stays.
    fn take(body: &mut Tree) -> Self {
        let mut root = body.root();
        let mut object = root.object("Encryption");
        object.drop("CiphertextBlob");
        Self {
            list: object.texts_in_place(LIST),
            iv: object.text("Iv"),
            algorithm: object.text("Algorithm"),
            tags: object.texts_in_place("TagList"),
        }
    }
}

fn undecipherable(place: &'static str, problem: &'static str, request_id: &str) -> ErrorKind {
    ErrorKind::Undecipherable { place, problem, request_id: request_id.to_owned() }
}
