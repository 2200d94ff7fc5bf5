//! Callers and their rights.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use strum::{EnumIter, IntoEnumIterator, IntoStaticStr};

/// An authenticated internal service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    pub name: String,
    pub flows: FlowGrant,
    pub rights: BTreeSet<Right>,
}

impl Caller {
    /// The name that every caller has when authentication is off.
    pub const ANONYMOUS: &'static str = "anonymous";

    /// The caller when authentication is off: may do everything.
    pub fn anonymous() -> Self {
        Self { name: Self::ANONYMOUS.into(), flows: FlowGrant::All, rights: Right::iter().collect() }
    }

    /// Whether the caller has a right.
    pub fn has(&self, right: Right) -> bool {
        self.rights.contains(&right)
    }

    /// Whether the caller may use a flow.
    pub fn may_use(&self, flow: &str) -> bool {
        match &self.flows {
            FlowGrant::All => true,
            FlowGrant::Named(flows) => flows.contains(flow),
        }
    }
}

/// Which flows a caller may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FlowGrant {
    All,
    Named(BTreeSet<String>),
}

/// Rights of a caller beyond using its flows.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema, EnumIter, IntoStaticStr,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Right {
    /// See results with personal data.
    FullView,
    /// Download photos, videos and sounds.
    Evidence,
    /// See everyone's usage and compare it with the vendor's; manage credentials and the vault's
    /// keys.
    Admin,
    /// Read the audit trail.
    Audit,
}

impl Right {
    /// The name in the configuration and in error messages.
    pub fn name(self) -> &'static str {
        self.into()
    }
}
