//! Enums by the names that files, the store and the contract have for them: each variant's name
//! stands once, at the variant.

use std::str::FromStr;
use strum::VariantNames;

/// Reads a name.
///
/// # Errors
/// The names that there are.
pub fn parse<T: FromStr + VariantNames>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("is not one of: {}", T::VARIANTS.join(", ")))
}
