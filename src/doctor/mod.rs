//! Examines what a gateway with this configuration will meet, without changing anything of ours: it may run beside one that
//! serves. What it does at the vendor is free and harmless: see [`crate::tencent::h5::probe`].

mod network;
mod storage;
mod tls;
mod vendor;
mod webhooks;

use crate::{
    config::{Config, ConfigError},
    domain::clock::Clock,
};
use serde::Serialize;
use std::{fmt, iter, sync::Arc};

/// What one check has found. Holds no secrets and no personal data.
#[derive(Debug, Serialize)]
pub struct Finding {
    /// What was checked: config, store, keys, evidence, proxy, dns, tcp, tls, clock, credential, flow, quota, webhook.
    pub check: &'static str,
    /// Which one of them.
    pub subject: String,
    pub status: Status,
    pub finding: String,
    /// What to do; empty when there is nothing to do.
    pub advice: String,
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
}

impl Finding {
    fn ok(check: &'static str, subject: impl Into<String>, finding: impl Into<String>) -> Self {
        Self::new(check, subject, Status::Ok, finding, "")
    }

    fn new(
        check: &'static str,
        subject: impl Into<String>,
        status: Status,
        finding: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self { check, subject: subject.into(), status, finding: finding.into(), advice: advice.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { check, subject, status, finding, advice } = self;
        let status = match status {
            Status::Ok => "ok",
            Status::Warn => "warn",
            Status::Fail => "fail",
        };
        write!(f, "{status:<4}  {check:<10}  {subject}: {finding}")?;
        if advice.is_empty() { Ok(()) } else { write!(f, " → {advice}") }
    }
}

/// Examines everything; `configuration` is what loading it gave, `origin` where it was loaded from.
pub async fn examine(configuration: Result<Config, ConfigError>, origin: &str, clock: Arc<dyn Clock>) -> Vec<Finding> {
    let config = match configuration {
        Ok(config) => config,
        Err(error) => return unusable(error, origin),
    };
    let counts = format!(
        "{} flow(s), {} credential(s), {} caller(s)",
        config.flows.len(),
        config.credentials.len(),
        config.callers.len()
    );
    let mut findings = vec![Finding::ok("config", origin, counts)];
    let keyring = Arc::new(config.keyring);
    let store = storage::check_store(&config.store, &keyring, &mut findings).await;
    storage::check_evidence(&config.evidence_url, &mut findings).await;
    let mut reached = false;
    for endpoint in iter::once(&config.tencent.endpoint).chain(&config.tencent.backup_endpoints) {
        reached |= network::check_endpoint(endpoint, &config.tencent, &*clock, &mut findings).await;
    }
    let subjects = vendor::Subjects {
        tencent: &config.tencent,
        sts: config.sts,
        credentials: &config.credentials,
        flows: &config.flows,
        keyring,
        store,
    };
    vendor::check(subjects, reached, clock, &mut findings).await;
    webhooks::check(&config.callers, &mut findings).await;
    findings
}

fn unusable(error: ConfigError, origin: &str) -> Vec<Finding> {
    const ADVICE: &str = "put it right; `serve --print-defaults` explains every setting";
    let fault = |subject: String, problem: String| Finding::new("config", subject, Status::Fail, problem, ADVICE);
    match error {
        ConfigError::Faults(faults) => faults.into_iter().map(|found| fault(found.field, found.problem)).collect(),
        ConfigError::Unreadable { path, source } => {
            vec![fault(path.display().to_string(), format!("cannot be read: {source}"))]
        }
        ConfigError::NotToml { problem, .. } => vec![fault(origin.to_owned(), format!("not TOML: {problem}"))],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_one_line() {
        let finding = Finding::new("clock", "vendor", Status::Warn, "40 s behind", "set the clock (NTP)");
        assert_eq!(finding.to_string(), "warn  clock       vendor: 40 s behind → set the clock (NTP)");
        assert_eq!(Finding::ok("tcp", "vendor", "3 ms").to_string(), "ok    tcp         vendor: 3 ms");
    }
}
