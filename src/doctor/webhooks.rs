//! Where events are sent: whether the names lead somewhere. Nothing is sent.

use super::finding::{Finding, Status};
use crate::config::CallerConfig;
use std::time::Duration;

const DNS_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) async fn check(callers: &[CallerConfig], findings: &mut Vec<Finding>) {
    for caller in callers {
        let Some(webhook) = &caller.webhook else { continue };
        let target = webhook.target();
        let (host, port) = target.host_and_port();
        let subject = format!("{} at {host}:{port}", caller.known.caller.name);
        let problem = match tokio::time::timeout(DNS_TIMEOUT, target.addresses()).await {
            Ok(Ok(addresses)) if !addresses.is_empty() => {
                let finding = format!("resolves to {} address(es)", addresses.len());
                findings.push(Finding::ok("webhook", subject, finding));
                continue;
            }
            Ok(Ok(_)) => "the name has no address".to_owned(),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer of the resolver within {} s", DNS_TIMEOUT.as_secs()),
        };
        // Events wait and are sent again for a day, so this stops no verification.
        let advice = "check the caller's webhook_url and DNS; a private network needs webhook_allow_private";
        findings.push(Finding::new("webhook", subject, Status::Warn, problem, advice));
    }
}
