//! How a sealed value begins: one byte of format, one with the length of a key's id, the id.

/// The format that is written.
pub const FORMAT: u8 = 1;
/// A key's id has at most so many bytes.
const MAX_ID_BYTES: u8 = 64;

/// The id of the key that seals a value, and what follows it. None: it is no sealed value.
pub fn split(sealed: &[u8]) -> Option<(&str, &[u8])> {
    let [FORMAT, id_length @ 1..=MAX_ID_BYTES, rest @ ..] = sealed else { return None };
    let (id, rest) = rest.split_at_checked(usize::from(*id_length))?;
    Some((std::str::from_utf8(id).ok()?, rest))
}

/// The id of the key that seals a value; empty where nothing is sealed.
pub fn key_id(sealed: &[u8]) -> &str {
    split(sealed).map_or("", |(id, _)| id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_value_names_its_key() {
        assert_eq!(key_id(b"\x01\x02k1rest"), "k1");
        for other in [&b""[..], b"\x01", b"\x01\x02k", b"\x02\x02k1", b"\x01\x00", b"\x01\xFF", b"\x01\x01\xFF"] {
            assert_eq!(key_id(other), "", "{other:?}");
        }
    }
}
