//! Reads an HTTP answer into memory, up to a limit.

/// A body that was not read to its end.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("it has more than {limit_bytes} bytes")]
    TooLarge { limit_bytes: usize },
    #[error(transparent)]
    Broken(#[from] reqwest::Error),
}

/// Reads a body of at most `limit_bytes`. Nothing is read that its declared length already makes
/// too large.
///
/// # Errors
/// When it is larger, or breaks off.
pub async fn read(mut answer: reqwest::Response, limit_bytes: usize) -> Result<Vec<u8>, ReadError> {
    let fits = |bytes: u64| bytes <= limit_bytes as u64;
    if !answer.content_length().is_none_or(fits) {
        return Err(ReadError::TooLarge { limit_bytes });
    }
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        if body.len() + chunk.len() > limit_bytes {
            return Err(ReadError::TooLarge { limit_bytes });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}
