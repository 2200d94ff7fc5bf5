//! The part of the configuration that may change while the gateway serves.

use super::App;
use crate::{
    credential::{CredentialError, Credentials},
    domain::{flow::Flows, id_card_limits::IdCardLimits},
    tencent::{ActionQuotas, FieldEncryption},
    webhook::Endpoint,
};
use std::{collections::BTreeMap, sync::Arc};

/// Settings that use cases go by. They may be replaced between two looks of one use case: what must
/// hold to its end, as the flow of a create, is copied at its beginning.
pub struct Terms {
    pub flows: Flows,
    /// Where callers want their events, by caller.
    pub webhooks: BTreeMap<String, Endpoint>,
    /// How often one ID card may be used.
    pub id_card_limits: IdCardLimits,
}

impl App {
    pub(super) fn terms(&self) -> Arc<Terms> {
        self.terms.load_full()
    }

    /// Goes by other settings from now on, all of them or none. Verifications of a flow that is
    /// gone are settled as before; nothing more is fetched for them.
    ///
    /// # Errors
    /// The flows that cannot be served.
    pub async fn replace_terms(
        &self,
        terms: Terms,
        field_encryption: BTreeMap<String, FieldEncryption>,
        quotas: ActionQuotas,
    ) -> Result<(), Vec<String>> {
        let faults = unservable_flows(&self.credentials, &terms.flows).await;
        if !faults.is_empty() {
            return Err(faults);
        }
        // First: nothing of a new flow may travel in the clear.
        self.tencent.encrypt_fields(&terms.flows, field_encryption);
        self.tencent.set_quotas(quotas);
        let terms = Arc::new(terms);
        let before = self.terms.swap(Arc::clone(&terms));
        for (caller, endpoint) in &terms.webhooks {
            if !before.webhooks.get(caller).is_some_and(|old| old.leads_where(endpoint)) {
                self.webhook_receivers.forget(caller);
            }
        }
        Ok(())
    }
}

/// The flows without a credential that can be read, with the reason. A credential that is disabled
/// or refused may be mended later, and its flow is logged only.
pub async fn unservable_flows(credentials: &Credentials, flows: &Flows) -> Vec<String> {
    let mut faults = Vec::new();
    for flow in flows.values() {
        match credentials.live_pairs(&flow.credential).await {
            Ok(_) => {}
            Err(
                error @ (CredentialError::Disabled(_)
                | CredentialError::Refused { .. }
                | CredentialError::Unavailable { .. }),
            ) => {
                tracing::error!(flow = %flow.name, error = %error, "the flow cannot be served now");
            }
            Err(error) => faults.push(format!("flow {} cannot be served: {error}", flow.name)),
        }
    }
    faults
}
