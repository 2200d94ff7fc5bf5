//! The credentials file of the vendor's tools (`~/.tencentcloud/credentials`): INI, a section for
//! each profile.

use crate::domain::key_pair::{KeyPair, UnverifiedKeyPair};
use std::{fs, path::Path};
use zeroize::Zeroizing;

/// Reads a profile's key pair.
///
/// # Errors
/// The fault, with the file's name and nothing of its content.
pub fn read(file: &Path, profile: &str) -> Result<KeyPair, String> {
    let text = fs::read_to_string(file).map(Zeroizing::new);
    let text = text.map_err(|error| format!("{} cannot be read: {error}", file.display()))?;
    parse(&text, profile).map_err(|problem| format!("{}, profile {profile}: {problem}", file.display()))
}

fn parse(text: &str, profile: &str) -> Result<KeyPair, String> {
    let (mut secret_id, mut secret_key) = (None, None);
    let (mut found, mut in_profile) = (false, false);
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(section) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            in_profile = section.trim() == profile;
            found |= in_profile;
        } else if in_profile && let Some((key, value)) = line.split_once('=') {
            match key.trim() {
                "secret_id" => secret_id = Some(value.trim()),
                "secret_key" => secret_key = Some(value.trim()),
                _ => {}
            }
        }
    }
    if !found {
        return Err(format!("there is no section [{profile}]"));
    }
    let pair = UnverifiedKeyPair::new(secret_id.unwrap_or_default(), secret_key.unwrap_or_default());
    pair.check().map_err(|faults| format!("{} {}", faults[0].field, faults[0].problem))
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret;

    const FILE: &str =
        "# made by hand\n[default]\nsecret_id = AKID1\nsecret_key=KEY=1\n; old\n\n[ other ]\nsecret_id=AKID2\n";

    #[test]
    fn a_profile_is_its_section() {
        let pair = parse(FILE, "default").unwrap_or_else(|problem| panic!("{problem}"));
        assert_eq!((pair.secret_id().expose_secret(), pair.secret_key().expose_secret()), ("AKID1", "KEY=1"));
        assert_eq!(parse(FILE, "other").err().unwrap(), "secret_key is missing");
        assert_eq!(parse(FILE, "none").err().unwrap(), "there is no section [none]");
        assert_eq!(
            parse("[default]\nsecret_id = 密", "default").err().unwrap(),
            "secret_id has U+5BC6 as character 1 of 1; only visible ASCII is allowed"
        );
    }
}
