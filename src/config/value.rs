//! Values of the configuration, read from text. Each says what is wrong, for a fault.

use super::StoreUrl;
use crate::{
    domain::{
        ids::{VerificationId, check_name},
        redirect::{self, MAC_BYTES, MAX_VENDOR_URL},
    },
    telemetry::LogFormat,
};
use jiff::SignedDuration;
use secrecy::{ExposeSecret, SecretString};
use std::{
    collections::BTreeSet, net::SocketAddr, num::NonZeroU32, ops::RangeInclusive, path::PathBuf, time::Duration,
};
use tracing_subscriber::EnvFilter;
use url::{Host, Url};

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

pub(super) fn store_url(text: &str) -> Result<StoreUrl, String> {
    match text.split_once(':') {
        Some(("sqlite", path)) if !path.is_empty() => Ok(StoreUrl::Sqlite(PathBuf::from(path))),
        Some(("postgres" | "postgresql", _)) => Err("names PostgreSQL; this version stores in SQLite only".into()),
        _ => Err("is not sqlite:<path>".into()),
    }
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

pub(super) fn number(text: &str, allowed: RangeInclusive<u32>) -> Result<u32, String> {
    let problem = || format!("is not a number from {} to {}", allowed.start(), allowed.end());
    text.parse().ok().filter(|number| allowed.contains(number)).ok_or_else(problem)
}

pub(super) fn timeout(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(ms @ 100..=60_000) => Ok(Duration::from_millis(ms)),
        _ => Err("is not a number of milliseconds from 100 to 60000".into()),
    }
}

pub(super) fn days(text: &str) -> Result<SignedDuration, String> {
    match text.parse() {
        Ok(days @ 1..=3650) => Ok(SignedDuration::from_hours(24 * days)),
        _ => Err("is not a number of days from 1 to 3650".into()),
    }
}

pub(super) fn minutes(text: &str) -> Result<SignedDuration, String> {
    text.parse().map(SignedDuration::from_mins).map_err(|_| "is not a number of minutes".into())
}

pub(super) fn concurrency(text: &str) -> Result<usize, String> {
    Ok(number(text, 1..=256)? as usize)
}

pub(super) fn count(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| "is not a number".into())
}

/// 0: no limit.
pub(super) fn per_minute(text: &str) -> Result<Option<NonZeroU32>, String> {
    text.parse().map(NonZeroU32::new).map_err(|_| "is not a number of calls a minute".into())
}

pub(super) fn leeway(text: &str) -> Result<SignedDuration, String> {
    match text.parse() {
        Ok(seconds @ 0..=300) => Ok(SignedDuration::from_secs(seconds)),
        _ => Err("is not a number of seconds from 0 to 300".into()),
    }
}

pub(super) fn refresh_interval(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(seconds @ 10..=86_400) => Ok(Duration::from_secs(seconds)),
        _ => Err("is not a number of seconds from 10 to 86400".into()),
    }
}

pub(super) fn boolean(text: &str) -> Result<bool, String> {
    text.parse().map_err(|_| "is neither true nor false".into())
}

pub(super) fn log_filter(text: &str) -> Result<String, String> {
    EnvFilter::try_new(text).map_err(|error| format!("is not a log level or a list of directives: {error}"))?;
    Ok(text.to_owned())
}

pub(super) fn log_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "json" => Ok(LogFormat::Json),
        "text" => Ok(LogFormat::Text),
        _ => Err("is neither json nor text".into()),
    }
}

pub(super) fn checked_name(text: &str) -> Result<String, String> {
    check_name(text).map(|()| text.to_owned())
}

pub(super) fn unique_name(text: &str, taken: &mut BTreeSet<String>) -> Result<String, String> {
    let name = checked_name(text)?;
    if taken.insert(name.clone()) { Ok(name) } else { Err("is taken or reserved".into()) }
}

/// The vendor's form: letters and digits, at most 32 [31816].
pub(super) fn rule_id(text: &str) -> Result<String, String> {
    let fits = (1..=32).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if fits { Ok(text.to_owned()) } else { Err("is not a RuleId: 1 to 32 letters and digits".into()) }
}

pub(super) fn sha256(text: &str) -> Result<[u8; 32], String> {
    let mut hash = [0; 32];
    hex::decode_to_slice(text, &mut hash).map_err(|_| "is not a SHA-256: 64 characters of hex".to_owned())?;
    Ok(hash)
}
