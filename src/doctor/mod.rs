//! Examines what a gateway with this configuration will meet, without changing anything of ours: it
//! may run beside one that serves. What it does at the vendor is free and harmless: see
//! [`crate::tencent::h5::probe`].

mod finding;
mod network;
mod storage;
mod tls;
mod unseen;
mod vendor;
mod webhooks;

pub use finding::{Finding, Status};

use crate::{
    config::{Config, ConfigError},
    domain::clock::Clock,
};
use std::{iter, sync::Arc};

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
    storage::check_evidence(&config.evidence_url, store.as_deref(), &mut findings).await;
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
    unseen::note(&config.flows, config.own_callback.as_ref(), &mut findings);
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
        ConfigError::NotToml { line, column, problem, .. } => {
            vec![fault(format!("{origin}:{line}:{column}"), format!("not TOML: {problem}"))]
        }
    }
}
