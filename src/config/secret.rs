//! Secrets, each given as a value or in a file: one check for both.

use super::types::Secret;
use crate::domain::{
    fault::Faults,
    secret_text::{check_secret, without_line_break},
};
use secrecy::SecretString;
use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::MetadataExt,
};
use zeroize::Zeroizing;

/// No secret is longer, and a path that leads to something endless is found.
const MAX_BYTES: u64 = 1024 * 1024;
/// The permission bit by which users other than the file's owner and group may read it.
const OTHERS_READ: u32 = 0o004;

/// A secret that was found.
pub(super) struct Found {
    pub(super) text: SecretString,
    /// The setting that it is from, for faults: that of the value or that of the file.
    pub(super) path: String,
}

/// A secret that must be there. `path` is the setting with the value; the one with the file has
/// `_file` after it.
pub(super) fn read(path: &str, value: Option<&Secret>, file: Option<&str>, faults: &mut Faults) -> Option<Found> {
    if value.is_none() && file.is_none() {
        faults.add(path, format!("is missing; set it or {path}_file"));
        return None;
    }
    read_optional(path, value, file, faults)
}

/// A secret that may be left out.
pub(super) fn read_optional(
    path: &str,
    value: Option<&Secret>,
    file: Option<&str>,
    faults: &mut Faults,
) -> Option<Found> {
    let file_path = format!("{path}_file");
    let (path, text) = match (value, file) {
        (None, None) => return None,
        (Some(_), Some(_)) => {
            faults.add(path, format!("is given twice: as a value and as {file_path}; take one of them out"));
            return None;
        }
        (Some(value), None) => (path.to_owned(), Zeroizing::new(value.expose().to_owned())),
        (None, Some(file)) => {
            let text = read_file(file, &file_path, faults)?;
            (file_path, text)
        }
    };
    let text = without_line_break(&text);
    faults.check(&path, check_secret(text))?;
    Some(Found { text: SecretString::from(text), path })
}

fn read_file(file: &str, path: &str, faults: &mut Faults) -> Option<Zeroizing<String>> {
    let (text, mode) = match open(file) {
        Ok(opened) => opened,
        Err(error) => {
            faults.add(path, format!("{file} cannot be read: {error}"));
            return None;
        }
    };
    if mode & OTHERS_READ != 0 {
        let problem = format!(
            "{file} can be read by every user of this machine (mode {:04o}); run `chmod o= {file}`",
            mode & 0o7777
        );
        faults.add(path, problem);
    }
    Some(text)
}

fn open(file: &str) -> io::Result<(Zeroizing<String>, u32)> {
    let file = File::open(file)?;
    let mode = file.metadata()?.mode();
    let mut text = Zeroizing::new(String::new());
    if file.take(MAX_BYTES + 1).read_to_string(&mut text)? as u64 > MAX_BYTES {
        return Err(io::Error::other(format!("it is over {MAX_BYTES} bytes")));
    }
    Ok((text, mode))
}
