//! The use cases, one file each, named as their RPC.

mod audit;
mod batch_get_results;
mod bind_rows;
mod binding;
mod cancel_verification;
mod cell;
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
mod jobs;
mod key_use;
mod list_flows;
mod list_verifications;
mod orphans;
mod page;
mod ready;
mod record;
mod redact_verification;
mod reopen_verification;
mod rewrap_vault;
mod scrub;
mod settle;
mod settle_due;
mod sweep_evidence;
mod terms;
mod usage;
mod visits;
mod watch_verifications;

pub use audit::{AuditEvent, AuditPage, AuditRequest};
pub use batch_get_results::BatchOutcome;
pub use bind_rows::{BoundRows, bind_rows};
pub use claim_error::ClaimError;
pub use create_verification::CreatedVerification;
pub use credentials::{Credential, CredentialKeyPair, CredentialOrigin, KeyPairTest};
pub use download_evidence::EvidenceBytes;
pub use error::{Error, VendorFailure};
pub use event::Event;
pub use evidence::Evidence;
pub use fetch_evidence::blob_path;
pub use get_result::{Freshness, ResultKey, ResultRequest, ResultView, VerificationWithResult};
pub use handle_callback::{CallbackOutcome, CallbackSource, Visitor};
pub use jobs::Backlog;
pub use key_use::{KeyFault, KeyUse, key_faults, key_use, remember_keys};
pub use list_verifications::{ListRequest, Page};
pub use ready::NotReady;
pub use rewrap_vault::VaultKeys;
pub use sweep_evidence::{Sweep, claim_evidence};
pub use terms::{Terms, unservable_flows};
pub use usage::{Reconciliation, UsageDifference, UsagePage, UsageRequest, UsageRow};
pub use watch_verifications::Watched;

use self::{flight::Flights, orphans::Orphans, visits::Visits};
use crate::{
    credential::Credentials,
    domain::{clock::Clock, schedule::PollSchedule, store_identity::StoreIdentity},
    evidence::EvidenceStore,
    store::Store,
    tencent::Products,
    vault::Keyring,
    webhook,
};
use arc_swap::ArcSwap;
use std::{sync::Arc, time::Duration};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use url::Url;

/// The gateway without its front doors.
pub struct App {
    clock: Arc<dyn Clock>,
    store: Arc<dyn Store>,
    /// Of the store.
    identity: StoreIdentity,
    keyring: Arc<Keyring>,
    credentials: Credentials,
    evidence: EvidenceStore,
    tencent: Products,
    terms: ArcSwap<Terms>,
    own_callback: Option<Url>,
    webhook_sender: webhook::Sender,
    webhook_receivers: Arc<webhook::Receivers>,
    /// Limits the vendor calls that browsers cause.
    visits: Visits,
    poll_schedule: PollSchedule,
    /// Questions to the vendor about a verification that are under way, by its id.
    checks: Flights<Result<(), Arc<Error>>>,
    /// Found by the last sweep of the evidence.
    orphans: Orphans,
    /// Work that goes on when its caller hangs up.
    detached: TaskTracker,
    stopping: CancellationToken,
    giving_up: CancellationToken,
}

/// The adapters and settings that an [`App`] is built of.
pub struct Parts {
    pub clock: Arc<dyn Clock>,
    pub store: Arc<dyn Store>,
    pub keyring: Arc<Keyring>,
    pub credentials: Credentials,
    pub evidence: EvidenceStore,
    pub tencent: Products,
    /// The settings that can be replaced later.
    pub terms: Terms,
    /// The gateway's own callback as browsers reach it.
    pub own_callback: Option<Url>,
    pub webhook_sender: webhook::Sender,
    /// When to look at verifications that nobody asks for.
    pub poll_schedule: PollSchedule,
    /// Set when the process is about to stop: long waits and streams end.
    pub stopping: CancellationToken,
}

impl App {
    /// Builds it.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn new(parts: Parts) -> Result<Self, Error> {
        Ok(Self {
            clock: parts.clock,
            identity: parts.store.identity().await?,
            store: parts.store,
            keyring: parts.keyring,
            credentials: parts.credentials,
            evidence: parts.evidence,
            tencent: parts.tencent,
            terms: ArcSwap::from_pointee(parts.terms),
            own_callback: parts.own_callback,
            webhook_sender: parts.webhook_sender,
            webhook_receivers: Arc::default(),
            visits: Visits::default(),
            poll_schedule: parts.poll_schedule,
            checks: Flights::default(),
            orphans: Orphans::default(),
            detached: TaskTracker::new(),
            stopping: parts.stopping,
            giving_up: CancellationToken::new(),
        })
    }

    /// Cancelled when the process is about to stop: long waits and streams end.
    pub fn stopping(&self) -> &CancellationToken {
        &self.stopping
    }

    /// Cancelled when a stop waits no longer for work that another replica, or the next start, can
    /// do as well: jobs, and questions to the vendor.
    pub fn giving_up(&self) -> &CancellationToken {
        &self.giving_up
    }

    /// Whether no endpoint of the vendor is asked at present, as all have failed.
    pub fn vendor_is_down(&self) -> bool {
        self.tencent.is_down()
    }

    /// Whether people are verified by Tencent Cloud itself.
    pub fn asks_tencent_cloud(&self) -> bool {
        self.tencent.asks_tencent_cloud()
    }

    /// Tells the other replicas that this one lives. Gives how many do.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn beat(&self, replica: &str, within: Duration) -> Result<u32, Error> {
        Ok(self.store.beat(replica, within).await?)
    }

    /// Tells the other replicas that this one stops.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn leave(&self, replica: &str) -> Result<(), Error> {
        Ok(self.store.leave(replica).await?)
    }

    /// Splits the vendor's quotas between so many replicas. 0: it is not known between how many, and
    /// the vendor is not asked.
    pub fn share_quotas_with(&self, replicas: u32) {
        self.tencent.share_quotas_with(replicas);
    }

    /// The engine of the store.
    pub fn store_engine(&self) -> &'static str {
        self.store.engine()
    }

    /// Opens connections to the vendor ahead of the first call.
    pub async fn warm_vendor(&self) {
        self.tencent.warm().await;
    }

    /// Renews the temporary key pairs that end soon.
    pub async fn renew_key_pairs(&self) {
        self.credentials.renew_due().await;
    }

    /// Lets detached work finish. No new work may come in any more.
    pub async fn drain(&self) {
        self.detached.close();
        self.detached.wait().await;
    }
}
