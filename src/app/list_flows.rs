//! ListFlows: what a caller may use. Other use cases ask here whether it may.

use super::App;
use crate::domain::{caller::Caller, flow::Flow};

/// How many names an error lists.
const MAX_NAMED: usize = 20;

impl App {
    /// The flows that the caller may use, by name.
    pub fn list_flows(&self, caller: &Caller) -> Vec<Flow> {
        self.terms().flows.values().filter(|flow| caller.may_use(&flow.name)).cloned().collect()
    }

    /// A flow that the caller may use.
    ///
    /// # Errors
    /// For the field that names it; a flow that is not there and one that is another's read alike.
    pub(super) fn flow_of(&self, caller: &Caller, name: &str) -> Result<Flow, String> {
        let terms = self.terms();
        let own = terms.flows.values().filter(|flow| caller.may_use(&flow.name));
        own.clone().find(|flow| flow.name == name).cloned().ok_or_else(|| {
            let names: Vec<&str> = own.map(|flow| flow.name.as_str()).collect();
            let named = names[..names.len().min(MAX_NAMED)].join(", ");
            match names.len() {
                0 => "is not a flow of this caller, which has none: see flows of the caller in the configuration"
                    .to_owned(),
                1..=MAX_NAMED => format!("is not one of this caller's flows: {named}"),
                all => format!("is not one of this caller's flows: {named}, and {} more (ListFlows)", all - MAX_NAMED),
            }
        })
    }
}
