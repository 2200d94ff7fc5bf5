//! The use cases, one file each, named as their RPC.

mod audit;
mod cancel_verification;
mod claim_error;
mod create_verification;
mod credentials;
mod deliver_due;
mod download_evidence;
mod erase_evidence;
mod error;
mod event;
mod evidence;
mod fetch_evidence;
mod flight;
mod get_result;
mod handle_callback;
mod id_card;
mod key_use;
mod list_verifications;
mod record;
mod redact_verification;
mod rewrap_vault;
mod settle;
mod settle_due;
mod sweep_evidence;
mod usage;
mod visits;
mod watch_verifications;

pub use audit::{AuditEvent, AuditPage, AuditRequest};
pub use claim_error::ClaimError;
pub use create_verification::CreatedVerification;
pub use credentials::{Credential, CredentialKeyPair, CredentialOrigin, KeyPairTest};
pub use download_evidence::EvidenceBytes;
pub use error::{Error, VendorFailure};
pub use event::Event;
pub use evidence::Evidence;
pub use get_result::{ResultKey, ResultView, VerificationWithResult};
pub use handle_callback::{CallbackOutcome, CallbackSource, Visitor};
pub use key_use::{KeyFault, KeyUse, key_faults, key_use, remember_keys};
pub use list_verifications::{ListRequest, Page};
pub use rewrap_vault::VaultKeys;
pub use sweep_evidence::{Orphans, Sweep, claim_evidence};
pub use usage::{Reconciliation, UsageDifference, UsagePage, UsageRequest, UsageRow};
pub use visits::Visits;
pub use watch_verifications::Watched;

pub use flight::Flights;

use crate::{
    credential::Credentials,
    domain::{
        clock::Clock, flow::Flows, id_card_limits::IdCardLimits, schedule::PollSchedule, store_identity::StoreIdentity,
    },
    evidence::EvidenceStore,
    store::Store,
    tencent::Products,
    vault::Keyring,
    webhook::{self, Endpoint},
};
use std::{collections::BTreeMap, sync::Arc};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use url::Url;

/// The gateway without its front doors.
pub struct App {
    pub clock: Arc<dyn Clock>,
    pub store: Arc<dyn Store>,
    /// Of the store.
    pub identity: StoreIdentity,
    pub keyring: Arc<Keyring>,
    pub credentials: Credentials,
    pub evidence: EvidenceStore,
    pub tencent: Products,
    pub flows: Flows,
    /// The gateway's own callback as browsers reach it.
    pub own_callback: Option<Url>,
    /// Where callers want their events, by caller.
    pub webhooks: BTreeMap<String, Endpoint>,
    pub webhook_sender: webhook::Sender,
    pub webhook_receivers: Arc<webhook::Receivers>,
    /// Limits the vendor calls that browsers cause.
    pub visits: Visits,
    /// How often one ID card may be used.
    pub id_card_limits: IdCardLimits,
    /// When to look at verifications that nobody asks for.
    pub poll_schedule: PollSchedule,
    /// Questions to the vendor about a verification that are under way, by its id.
    pub checks: Flights<Result<(), Arc<Error>>>,
    /// What the sweep of the evidence found last time.
    pub orphans: Orphans,
    /// Work that goes on when its caller hangs up.
    pub detached: TaskTracker,
    /// Set when the process is about to stop: what waits or streams ends.
    pub stopping: CancellationToken,
}

impl App {
    /// Whether calls can be served: the store reads and writes.
    ///
    /// # Errors
    /// When it does not.
    pub async fn ready(&self) -> Result<(), Error> {
        Ok(self.store.ping().await?)
    }

    /// Lets detached work finish. No new work may come in any more.
    pub async fn drain(&self) {
        self.detached.close();
        self.detached.wait().await;
    }
}
