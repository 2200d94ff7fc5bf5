//! A signature's parts as the vendor reads them, and the texts that a signature is made of.

use aws_lc_rs::{digest, hmac};
use http::HeaderMap;
use subtle::ConstantTimeEq;

const ALGORITHM: &str = "TC3-HMAC-SHA256";
/// In `X-TC-Content-SHA256`: the hash of this text is signed in place of the body's.
const UNSIGNED_PAYLOAD: &str = "UNSIGNED-PAYLOAD";

/// A request as it arrived; nothing about it has been checked.
pub struct UnverifiedRequest<'a> {
    pub method: &'a str,
    /// As on the request line, without the query.
    pub path: &'a str,
    /// Without the question mark; empty when there is none.
    pub query: &'a str,
    pub headers: &'a HeaderMap,
    pub body: &'a [u8],
}

/// Headers that no signature can be read from.
#[derive(Debug)]
pub(super) enum Malformed {
    Timestamp,
    /// With the reason.
    Authorization(String),
}

/// The parts of an `Authorization` header.
pub(super) struct Authorization<'a> {
    pub(super) secret_id: &'a str,
    pub(super) date: &'a str,
    pub(super) service: &'a str,
    pub(super) terminator: &'a str,
    pub(super) signed_headers: Vec<&'a str>,
    pub(super) signature: &'a str,
}

impl<'a> Authorization<'a> {
    pub(super) fn parse(headers: &'a HeaderMap) -> Result<Self, Malformed> {
        let header = text(headers, "authorization").ok_or_else(|| invalid("it is missing"))?;
        let fields = header.strip_prefix(ALGORITHM).ok_or_else(|| invalid("it must begin with TC3-HMAC-SHA256"))?;

        let (mut credential, mut signed_headers, mut signature) = (None, None, None);
        for field in fields.split(',') {
            match field.trim().split_once('=') {
                Some(("Credential", value)) => credential = Some(value),
                Some(("SignedHeaders", value)) => signed_headers = Some(value),
                Some(("Signature", value)) => signature = Some(value),
                _ => {
                    return Err(invalid("it must hold Credential, SignedHeaders and Signature, separated by commas"));
                }
            }
        }
        let credential = credential.ok_or_else(|| invalid("Credential is missing"))?;
        let signed_headers = signed_headers.ok_or_else(|| invalid("SignedHeaders is missing"))?;
        let signature = signature.ok_or_else(|| invalid("Signature is missing"))?;

        let [secret_id, date, service, terminator] = credential.split('/').collect::<Vec<_>>()[..] else {
            return Err(invalid("Credential must be <SecretId>/<date>/faceid/tc3_request"));
        };
        let signed_headers: Vec<&str> = signed_headers.split(';').collect();
        for required in ["content-type", "host"] {
            if !signed_headers.contains(&required) {
                return Err(invalid(&format!("SignedHeaders must contain {required}, in lower case")));
            }
        }
        Ok(Self { secret_id, date, service, terminator, signed_headers, signature })
    }

    pub(super) fn check_scope(&self, service: &str, timestamp_s: i64) -> Result<(), Malformed> {
        if self.service != service || self.terminator != "tc3_request" {
            return Err(invalid(&format!("the scope must end with /{service}/tc3_request")));
        }
        let date = utc_date(timestamp_s)?;
        if self.date == date {
            return Ok(());
        }
        let hint = if self.date == utc_date(timestamp_s + BEIJING_OFFSET_S)? {
            "; it is the local date (+08:00) of that instant"
        } else {
            ""
        };
        Err(invalid(&format!("the date of the scope must be the UTC date of x-tc-timestamp, {date}{hint}")))
    }
}

/// Everything that goes into a signature. A mistake is an edit of it.
#[derive(Clone)]
pub(super) struct SigningInput {
    pub(super) service: &'static str,
    pub(super) method: String,
    pub(super) path: String,
    pub(super) query: String,
    /// Name and value of each signed header, in the order in which they are written.
    pub(super) headers: Vec<(String, String)>,
    pub(super) colon: &'static str,
    pub(super) blank_line: &'static str,
    pub(super) signed_names: String,
    pub(super) body_hash: String,
    pub(super) end: &'static str,
    pub(super) timestamp_s: i64,
    pub(super) date: String,
    pub(super) date_in_key: String,
    pub(super) upper_case_request_hash: bool,
    pub(super) key_prefix: &'static str,
    pub(super) keys_in_hex: bool,
}

impl SigningInput {
    /// The input that the vendor expects to have been signed.
    pub(super) fn expected(
        service: &'static str,
        request: &UnverifiedRequest<'_>,
        authorization: &Authorization<'_>,
        timestamp_s: i64,
    ) -> Result<Self, Malformed> {
        let mut headers = Vec::new();
        for name in &authorization.signed_headers {
            let value = text(request.headers, name)
                .ok_or_else(|| invalid(&format!("SignedHeaders names {name}, which the request does not carry")))?;
            headers.push((name.to_ascii_lowercase(), value.trim().to_lowercase()));
        }
        headers.sort();
        let date = utc_date(timestamp_s)?;
        Ok(Self {
            service,
            method: request.method.to_owned(),
            path: request.path.to_owned(),
            query: request.query.to_owned(),
            signed_names: joined_names(&headers),
            headers,
            colon: ":",
            blank_line: "\n",
            body_hash: sha256_hex(match text(request.headers, "x-tc-content-sha256") {
                Some(UNSIGNED_PAYLOAD) => UNSIGNED_PAYLOAD.as_bytes(),
                _ => request.body,
            }),
            end: "",
            timestamp_s,
            date_in_key: date.clone(),
            date,
            upper_case_request_hash: false,
            key_prefix: "TC3",
            keys_in_hex: false,
        })
    }

    /// The same for a client that leaves the port out of the Host it signs, as the official SDK for
    /// Node.js does. The vendor's own address has no port, so there it makes no difference.
    pub(super) fn without_port(&self) -> Self {
        let mut input = self.clone();
        for (_, host) in input.headers.iter_mut().filter(|(name, _)| name == "host") {
            host.truncate(bare_host(host).len());
        }
        input
    }

    pub(super) fn canonical_request(&self) -> String {
        let headers: Vec<String> =
            self.headers.iter().map(|(name, value)| format!("{name}{}{value}\n", self.colon)).collect();
        format!(
            "{}\n{}\n{}\n{}{}{}\n{}{}",
            self.method,
            self.path,
            self.query,
            headers.concat(),
            self.blank_line,
            self.signed_names,
            self.body_hash,
            self.end
        )
    }

    pub(super) fn string_to_sign(&self) -> String {
        let mut hash = sha256_hex(self.canonical_request().as_bytes());
        if self.upper_case_request_hash {
            hash = hash.to_uppercase();
        }
        format!("{ALGORITHM}\n{}\n{}/{}/tc3_request\n{hash}", self.timestamp_s, self.date, self.service)
    }

    pub(super) fn signature(&self, secret_key: &str) -> String {
        let mut key = format!("{}{secret_key}", self.key_prefix).into_bytes();
        for part in [self.date_in_key.as_str(), self.service, "tc3_request"] {
            key = hmac_sha256(&key, part);
            if self.keys_in_hex {
                key = hex::encode(key).into_bytes();
            }
        }
        hex::encode(hmac_sha256(&key, &self.string_to_sign()))
    }
}

pub(super) const BEIJING_OFFSET_S: i64 = 8 * 3600;

pub(super) fn utc_date(unix_s: i64) -> Result<String, Malformed> {
    let instant = jiff::Timestamp::from_second(unix_s).map_err(|_| Malformed::Timestamp)?;
    Ok(instant.strftime("%Y-%m-%d").to_string())
}

pub(super) fn joined_names(headers: &[(String, String)]) -> String {
    headers.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(";")
}

pub(super) fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    // Not `to_str`: a header may carry UTF-8, and the bytes are what was signed.
    headers.get(name).and_then(|value| std::str::from_utf8(value.as_bytes()).ok())
}

fn invalid(reason: &str) -> Malformed {
    Malformed::Authorization(reason.to_owned())
}

/// A host without its port. The part after the last colon is a port only outside the brackets of an
/// IPv6 address.
pub(super) fn bare_host(host: &str) -> &str {
    host.rsplit_once(':').filter(|(_, port)| !port.contains(']')).map_or(host, |(name, _)| name)
}

pub(super) fn same_signature(expected: &str, given: &str) -> bool {
    expected.as_bytes().ct_eq(given.as_bytes()).into()
}

pub(super) fn sha256_hex(bytes: &[u8]) -> String {
    hex::encode(digest::digest(&digest::SHA256, bytes))
}

fn hmac_sha256(key: &[u8], message: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message.as_bytes()).as_ref().to_vec()
}
