//! Values of the configuration, read from text: each says what is wrong, for a fault.

use crate::domain::{
    fault::Faults,
    ids::{VerificationId, check_name},
    redirect::{self, MAC_BYTES, MAX_VENDOR_URL},
};
use secrecy::{ExposeSecret, SecretString};
use std::{collections::BTreeSet, net::SocketAddr};
use url::{Host, Url};

/// A setting that may be left out; an empty text is as good as none, so that a variable can unset
/// what the file sets.
pub(super) fn given(text: Option<&str>) -> Option<&str> {
    text.filter(|text| !text.is_empty())
}

/// A setting that must be there.
pub(super) fn required<T>(path: &str, value: Option<T>, faults: &mut Faults) -> Option<T> {
    if value.is_none() {
        faults.add(path, "is missing");
    }
    value
}

/// A text that must be there, read as something else.
pub(super) fn checked<T>(
    path: &str,
    text: Option<&str>,
    faults: &mut Faults,
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> Option<T> {
    let text = required(path, given(text), faults)?;
    faults.check(path, parse(text))
}

/// Texts of a list, each read as something else.
pub(super) fn each<T>(
    path: &str,
    texts: &[String],
    faults: &mut Faults,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Vec<T> {
    texts.iter().enumerate().filter_map(|(i, text)| faults.check(&format!("{path}[{i}]"), parse(text))).collect()
}

/// A name that no other entry of its list has.
pub(super) fn unique_name(
    path: &str,
    text: Option<&str>,
    taken: &mut BTreeSet<String>,
    faults: &mut Faults,
) -> Option<String> {
    let name = checked(path, text, faults, checked_name)?;
    if !taken.insert(name.clone()) {
        faults.add(path, "is taken or reserved");
        return None;
    }
    Some(name)
}

pub(super) fn socket_addr(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "is not <IP address>:<port>".into())
}

pub(super) fn own_callback(text: &str) -> Result<Url, String> {
    let mut url = Url::parse(text).map_err(|error| format!("is not a URL: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("does not start with http:// or https://".into());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("has a query or a fragment".into());
    }
    url.path_segments_mut().map_err(|()| "cannot have a path")?.pop_if_empty().push("callback");
    let bound = redirect::bind(url.clone(), VerificationId::generate(jiff::Timestamp::UNIX_EPOCH), &[0; MAC_BYTES]);
    if bound.as_str().len() > MAX_VENDOR_URL {
        return Err(format!("is too long: with /callback and its parameters the limit is {MAX_VENDOR_URL} characters"));
    }
    Ok(url)
}

pub(super) fn endpoint(text: &str) -> Result<Url, String> {
    let url = https_url(text)?;
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() || !url.username().is_empty() {
        return Err("has more than scheme, host and port".into());
    }
    Ok(url)
}

/// https, or plain http to this machine.
pub(super) fn https_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("is not a URL: {error}"))?;
    let loopback = match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    };
    match url.scheme() {
        "https" => Ok(url),
        "http" if loopback => Ok(url),
        "http" => Err("is plain http to another machine; use https".into()),
        _ => Err("does not start with https://".into()),
    }
}

/// Never quotes what it was given: a proxy may have a password.
pub(super) fn proxy(secret: &SecretString) -> Result<(), String> {
    let url = Url::parse(secret.expose_secret()).map_err(|_| "is not a URL")?;
    if matches!(url.scheme(), "http" | "https") && url.has_host() && url.path() == "/" {
        Ok(())
    } else {
        Err("is not http(s)://[user:password@]host:port".into())
    }
}

pub(super) fn checked_name(text: &str) -> Result<String, String> {
    check_name(text).map(|()| text.to_owned())
}

/// The vendor's form: letters and digits, at most 32 (document 31816).
pub(super) fn rule_id(text: &str) -> Result<String, String> {
    let fits = (1..=32).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if fits { Ok(text.to_owned()) } else { Err("is not a RuleId: 1 to 32 letters and digits".into()) }
}

pub(super) fn sha256(text: &str) -> Result<[u8; 32], String> {
    let mut hash = [0; 32];
    hex::decode_to_slice(text, &mut hash).map_err(|_| "is not a SHA-256: 64 characters of hex".to_owned())?;
    Ok(hash)
}

/// A collector of traces.
pub(super) fn otlp_endpoint(text: &str) -> Result<String, String> {
    let url = Url::parse(text).map_err(|_| "is not http:// or https:// with a host")?;
    if matches!(url.scheme(), "http" | "https") && url.has_host() {
        Ok(text.to_owned())
    } else {
        Err("is not http:// or https:// with a host".into())
    }
}
