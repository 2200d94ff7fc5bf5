//! Opens an encrypted answer. What should have been encrypted and was not is refused: who asked for encryption is not to
//! learn from a log that there was none.

use super::{
    super::wire::{DetectInfoText, Encryption, GetDetectInfoEnhancedResponse},
    Algorithm, CallKey, aes_cbc, sm4_gcm,
};
use crate::tencent::{
    answer::{Answer, unintelligible},
    error::ErrorKind,
};
use base64::{Engine, prelude::BASE64_STANDARD};

const BODY: &str = "EncryptedBody";
/// Where the vendor encrypts personal data [41957]. `LivenessDetail` repeats names and ID numbers and is not among them:
/// only answers that are encrypted as a whole hide it.
const PLACES: [(&str, Field); 4] = [
    ("Text.IdCard", |text| &mut text.id_card),
    ("Text.Name", |text| &mut text.name),
    ("Text.OcrIdCard", |text| &mut text.ocr_id_card),
    ("Text.OcrName", |text| &mut text.ocr_name),
];

type Field = fn(&mut DetectInfoText) -> &mut Option<String>;

impl CallKey {
    /// Puts the clear text in place of the encrypted one.
    ///
    /// # Errors
    /// [`ErrorKind::NotEncrypted`] and [`ErrorKind::Undecipherable`].
    pub(in super::super) fn open(
        &self,
        answer: Answer<GetDetectInfoEnhancedResponse>,
    ) -> Result<Answer<GetDetectInfoEnhancedResponse>, ErrorKind> {
        let Answer { mut body, request_id, asked_at, tries } = answer;
        let encryption = body.encryption.take().unwrap_or_default();
        let opened = if self.whole_response {
            self.open_body(&encryption, body.encrypted_body.take(), &request_id).map(|mut opened| {
                opened.unknown.append(&mut body.unknown);
                opened
            })
        } else {
            self.open_fields(&encryption, body.text.as_mut(), &request_id).map(|()| body)
        };
        let mut body = opened?;
        // What is not published of it is still to be kept.
        body.encryption = Some(Encryption { unknown: encryption.unknown, ..Encryption::default() });
        Ok(Answer { body, request_id, asked_at, tries })
    }

    fn open_body(
        &self,
        encryption: &Encryption,
        body: Option<String>,
        request_id: &str,
    ) -> Result<GetDetectInfoEnhancedResponse, ErrorKind> {
        let body = body.filter(|body| !body.is_empty());
        let body = body.ok_or_else(|| ErrorKind::NotEncrypted { place: BODY, request_id: request_id.to_owned() })?;
        let undecipherable = |problem| undecipherable(BODY, problem, request_id);
        let clear = self.decrypt(encryption, &body, 0).map_err(undecipherable)?;
        serde_json::from_slice(&clear).map_err(|error| unintelligible(&error, request_id))
    }

    fn open_fields(
        &self,
        encryption: &Encryption,
        mut text: Option<&mut DetectInfoText>,
        request_id: &str,
    ) -> Result<(), ErrorKind> {
        let mut in_the_clear = PLACES.to_vec();
        let listed = encryption.encrypt_list.as_deref().unwrap_or_default();
        for (position, path) in listed.iter().enumerate() {
            let path = path.strip_prefix("Response.").unwrap_or(path);
            let Some(at) = in_the_clear.iter().position(|(place, _)| *place == path) else {
                // One of ours twice, or another: not to be passed on as if it were clear.
                return Err(undecipherable("EncryptList", "names an unexpected field", request_id));
            };
            let (place, field) = in_the_clear.swap_remove(at);
            let Some(value) = text.as_deref_mut().and_then(|text| field(text).as_mut()) else { continue };
            let clear = self.decrypt(encryption, value, position);
            let clear = clear.and_then(|clear| String::from_utf8(clear).map_err(|_| "is not text when decrypted"));
            *value = clear.map_err(|problem| undecipherable(place, problem, request_id))?;
        }
        for (place, field) in in_the_clear {
            let value = text.as_deref_mut().and_then(|text| field(text).as_deref());
            if value.is_some_and(|value| !value.is_empty()) {
                return Err(ErrorKind::NotEncrypted { place, request_id: request_id.to_owned() });
            }
        }
        Ok(())
    }

    /// `position` is that in the list of encrypted fields, and so that of the tag.
    fn decrypt(&self, encryption: &Encryption, value: &str, position: usize) -> Result<Vec<u8>, &'static str> {
        if encryption.algorithm.as_deref().is_some_and(|name| name != self.algorithm.vendor_name()) {
            return Err("is encrypted with another algorithm");
        }
        let decode = |base64: &str| BASE64_STANDARD.decode(base64).map_err(|_| "is not base64");
        let iv = match encryption.iv.as_deref().filter(|iv| !iv.is_empty()) {
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
                let tag = encryption.tag_list.as_ref().and_then(|tags| tags.get(position)).ok_or("has no tag")?;
                sm4_gcm::decrypt(&self.key, &iv, ciphertext, &decode(tag)?).ok_or("has a wrong tag")
            }
        }
    }
}

fn undecipherable(place: &'static str, problem: &'static str, request_id: &str) -> ErrorKind {
    ErrorKind::Undecipherable { place, problem, request_id: request_id.to_owned() }
}
