//! Findings of the checks.

use serde::Serialize;
use std::fmt;

/// Finding of one check. Holds no secrets and no personal data.
#[derive(Debug, Serialize)]
pub struct Finding {
    /// What was checked: config, store, keys, evidence, proxy, dns, tcp, tls, clock, credential,
    /// flow, quota, webhook; or what cannot be: console, wechat, callback, account.
    pub check: &'static str,
    /// Which one of them.
    pub subject: String,
    pub status: Status,
    pub finding: String,
    /// The hint; empty when there is nothing to do.
    pub advice: String,
    /// The section of the manual about it; empty when there is nothing to do, or no section.
    pub manual: &'static str,
}

/// How grave it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Ok,
    /// The gateway serves, but somebody should look.
    Warn,
    /// The gateway, or this part of it, cannot serve.
    Fail,
    /// Cannot be seen from here: somebody must look elsewhere.
    Note,
}

impl Finding {
    pub(super) fn ok(check: &'static str, subject: impl Into<String>, finding: impl Into<String>) -> Self {
        Self::new(check, subject, Status::Ok, finding, "")
    }

    pub(super) fn new(
        check: &'static str,
        subject: impl Into<String>,
        status: Status,
        finding: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        let manual = if status == Status::Ok { "" } else { manual(check) };
        Self { check, subject: subject.into(), status, finding: finding.into(), advice: advice.into(), manual }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { check, subject, status, finding, advice, manual } = self;
        let status = match status {
            Status::Ok => "ok",
            Status::Warn => "warn",
            Status::Fail => "fail",
            Status::Note => "note",
        };
        write!(f, "{status:<4}  {check:<10}  {subject}: {finding}")?;
        if !advice.is_empty() {
            write!(f, " → {advice}")?;
        }
        if manual.is_empty() { Ok(()) } else { write!(f, " ({manual})") }
    }
}

/// The section of docs/GOING_LIVE.md on what a check is about.
fn manual(check: &str) -> &'static str {
    match check {
        "config" | "store" | "keys" | "evidence" => "docs/GOING_LIVE.md#keys-and-configuration",
        "proxy" | "dns" | "tcp" | "tls" | "clock" => "docs/GOING_LIVE.md#egress-and-clock",
        "credential" => "docs/GOING_LIVE.md#api-key",
        "flow" | "console" => "docs/GOING_LIVE.md#the-business-flow",
        "wechat" => "docs/GOING_LIVE.md#official-account",
        "callback" => "docs/GOING_LIVE.md#where-browsers-return",
        "quota" | "account" => "docs/GOING_LIVE.md#before-real-traffic",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_one_line() {
        let finding = Finding::new("clock", "vendor", Status::Warn, "40 s behind", "set the clock (NTP)");
        let line = "warn  clock       vendor: 40 s behind → set the clock (NTP) (docs/GOING_LIVE.md#egress-and-clock)";
        assert_eq!(finding.to_string(), line);
        assert_eq!(Finding::ok("tcp", "vendor", "3 ms").to_string(), "ok    tcp         vendor: 3 ms");
        let without_section = Finding::new("webhook", "orders", Status::Warn, "is silent", "look at it");
        assert_eq!(without_section.to_string(), "warn  webhook     orders: is silent → look at it");
    }

    #[test]
    fn every_section_that_is_named_is_in_the_manual() {
        let text = include_str!("../../docs/GOING_LIVE.md");
        let headings = text.lines().filter_map(|line| line.trim_start_matches('#').strip_prefix(' '));
        let anchors: Vec<String> = headings.map(|heading| heading.to_lowercase().replace(' ', "-")).collect();
        for check in ["config", "tls", "credential", "flow", "wechat", "callback", "account"] {
            let (file, anchor) = manual(check).split_once('#').unwrap_or_else(|| panic!("{check} has no section"));
            assert_eq!(file, "docs/GOING_LIVE.md");
            assert!(anchors.iter().any(|known| known == anchor), "{anchor} is not among {anchors:?}");
        }
    }
}
