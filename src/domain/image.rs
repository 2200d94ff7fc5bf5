//! Reference photos.

use super::evidence::{JPEG, PNG, sniff};

/// The vendor's limit: 3 MB after base64 (document 31816), and base64 makes 4 characters of 3
/// bytes.
const MAX_BYTES: usize = 3 * 1024 * 1024 / 4 * 3;

/// Checks a photo by its content; what a caller says about it is not asked.
///
/// # Errors
/// The fault.
pub fn check_photo(bytes: &[u8]) -> Result<(), String> {
    if bytes.len() > MAX_BYTES {
        return Err(format!("has {} bytes; the limit is {MAX_BYTES} (3 MiB as base64)", bytes.len()));
    }
    match sniff(bytes) {
        JPEG | PNG => Ok(()),
        _ => Err("is neither JPEG nor PNG".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_jpeg_and_png_up_to_the_limit() {
        let jpeg = |length: usize| [&[0xFF, 0xD8, 0xFF][..], &vec![0; length - 3]].concat();
        assert!(check_photo(&jpeg(MAX_BYTES)).is_ok());
        assert!(check_photo(&jpeg(MAX_BYTES + 1)).unwrap_err().contains("2359296"));
        assert!(check_photo(b"\x89PNG\r\n\x1a\n....").is_ok());
        assert!(check_photo(b"GIF89a").is_err());
        assert!(check_photo(b"").is_err());
    }
}
