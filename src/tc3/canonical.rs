//! Step 1: the canonical request.

use sha2::{Digest, Sha256};

/// A canonical request, and the list of the headers in it.
pub(super) struct CanonicalRequest {
    pub text: String,
    pub signed_headers: String,
}

/// Writes the canonical request of a POST to `/` without a query.
///
/// Header names and values are trimmed and in lower case (the vendor lower-cases values too, unlike
/// AWS), sorted by name; each line, the last one too, ends in a newline.
pub(super) fn canonical_request(headers: &[(&str, &str)], body: &[u8]) -> CanonicalRequest {
    let mut lines: Vec<(String, String)> =
        headers.iter().map(|(name, value)| (name.trim().to_lowercase(), value.trim().to_lowercase())).collect();
    lines.sort();
    let signed_headers = lines.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(";");
    let canonical_headers: String = lines.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
    let body_hash = hex::encode(Sha256::digest(body));
    let text = format!("POST\n/\n\n{canonical_headers}\n{signed_headers}\n{body_hash}");
    CanonicalRequest { text, signed_headers }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sorts_trims_and_lower_cases() {
        let canonical = canonical_request(
            &[("X-TC-Action", "DetectAuth"), ("Host", " FaceID.example.com "), ("Content-Type", "application/json")],
            b"{}",
        );
        assert_eq!(
            canonical.text,
            "POST\n/\n\ncontent-type:application/json\nhost:faceid.example.com\nx-tc-action:detectauth\n\n\
             content-type;host;x-tc-action\n44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
        );
        assert_eq!(canonical.signed_headers, "content-type;host;x-tc-action");
    }
}
