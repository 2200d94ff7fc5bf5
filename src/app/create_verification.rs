//! CreateVerification: open a flow with the vendor, and keep what comes of it.

use super::{
    App, Error,
    record::{Record, Session, VendorSession, new_row},
};
use crate::{
    domain::{
        audit::AuditAction,
        caller::Caller,
        event::EventKind,
        flow::{AccessMode, Flow},
        ids::{BizToken, VerificationId},
        key_pair::KeyPair,
        new_verification::{NewVerification, UnverifiedRequest},
        verification::{RESULT_LIFETIME, TOKEN_LIFETIME, Verification},
    },
    store::{
        Creation, ErrorKind,
        row::{Effects, VerificationRow},
    },
    tencent::{self, Opened, Urgency},
};
use std::sync::Arc;
use tracing::Instrument;
use url::Url;
use zeroize::Zeroizing;

/// A verification that was opened, and what the user's browser needs.
pub struct CreatedVerification {
    pub verification: Verification,
    pub url: Url,
    pub token: BizToken,
    pub access_mode: AccessMode,
}

impl App {
    /// Opens a verification, or finds the one that this caller opened with the same request id.
    ///
    /// The work goes on when the caller hangs up: a token that the vendor gave is stored, and found
    /// again by the request id.
    ///
    /// # Errors
    /// See [`Error`]. After an error nothing is stored; a token that the vendor may have made is
    /// never used and costs nothing.
    pub async fn create_verification(
        self: &Arc<Self>,
        caller: &Caller,
        request: UnverifiedRequest,
        urgency: Urgency,
    ) -> Result<CreatedVerification, Error> {
        let flow = self.flow_of(caller, &request.flow);
        // Only a request id asks for the fingerprint: else no photo is copied for it.
        let body = if request.request_id.is_empty() { Zeroizing::default() } else { request.body_bytes() };
        if !request.request_id.is_empty()
            && let Some(row) = self.store.find_by_request_id(&caller.name, &request.request_id).await?
        {
            return self.answer_again(Record::open(&self.keyring, row)?, &body);
        }
        let id = VerificationId::generate(self.clock.now());
        let mac = self.keyring.redirect_mac(id);
        let new = NewVerification::check(
            request,
            flow.as_ref().map_err(String::as_str),
            id,
            &mac,
            self.own_callback.as_ref(),
        )
        .map_err(Error::InvalidFields)?;
        self.check_id_card(caller, new.id_number.as_ref()).await?;
        let flow = flow.expect("a request without a flow does not pass its check");

        let (app, caller) = (Arc::clone(self), caller.name.clone());
        let work = async move { app.open_flow(caller, flow, new, &body, urgency).await };
        self.detached.spawn(work.in_current_span()).await?
    }

    async fn open_flow(
        &self,
        caller: String,
        flow: Flow,
        new: NewVerification,
        body: &[u8],
        urgency: Urgency,
    ) -> Result<CreatedVerification, Error> {
        let session = self.open_at_vendor(&flow, &new, urgency).await?;
        let id = new.id.to_string();
        let fingerprint = self.keyring.fingerprint(body);
        let id_card_hash = self.id_card_hash(new.id_number.as_ref());
        let (made, mac) = new_row(&self.keyring, &caller, &flow, &new, fingerprint, id_card_hash, &session);
        // Opened before it is stored: a row that could not be read again is not one to store.
        let record = Record::open(&self.keyring, VerificationRow::new(made.clone(), mac.clone()))?;
        let mut effects = Effects {
            audit: vec![self.audit_event(&caller, AuditAction::Created, &id)],
            jobs: vec![self.settle_job(&id, session.created_at, session.expires_at)],
            ..Effects::default()
        };
        self.announce(&mut effects, &record.verification, EventKind::Created, session.created_at);
        let created = match self.store.create_or_find(made, mac, effects).await {
            Err(error) if error.kind == ErrorKind::Conflict && self.knows_token(&session.token).await? => {
                return Err(tencent::Error::repeated_token(&session.request_id).into());
            }
            created => created?,
        };
        match created {
            Creation::Created => {
                tracing::info!(verification_id = %id, flow = %flow.name, caller = %caller, "created");
                metrics::counter!("faceid_verifications_created_total", "flow" => flow.name.clone()).increment(1);
                opened(record, None)
            }
            // Another call with the same request id was quicker. Our token is spare; tokens are
            // free.
            Creation::Found(row) => self.answer_again(Record::open(&self.keyring, *row)?, body),
        }
    }

    async fn knows_token(&self, token: &BizToken) -> Result<bool, Error> {
        Ok(self.store.find_by_token_hash(self.keyring.token_hashes(token)).await?.is_some())
    }

    /// The answer to a request id that was used before.
    fn answer_again(&self, record: Record, body: &[u8]) -> Result<CreatedVerification, Error> {
        // Also the fingerprint is erased then: it must not tell whether a guess of the erased data
        // is right.
        if record.verification.redacted_at.is_some() {
            return Err(Error::Redacted);
        }
        if !self.keyring.matches_fingerprint(body, &record.request_fingerprint) {
            return Err(Error::RequestIdReused);
        }
        let todays = self.terms().flows.get(&record.verification.flow).map(|flow| flow.access_mode);
        opened(record, todays)
    }

    async fn open_at_vendor(
        &self,
        flow: &Flow,
        new: &NewVerification,
        urgency: Urgency,
    ) -> Result<VendorSession, Error> {
        let open = |pair: Arc<KeyPair>| async move { self.tencent.open(&pair, flow, new, urgency).await };
        let Opened { token, url, request_id } = self.credentials.with_key_pair(&flow.credential, open).await?;
        // Taken after the answer: the vendor's 7,200 s began before, so by our clock they never end
        // too early for the user.
        let created_at = self.clock.now();
        Ok(VendorSession {
            token,
            url,
            request_id,
            created_at,
            expires_at: created_at + TOKEN_LIFETIME,
            result_until: created_at + RESULT_LIFETIME,
        })
    }
}

/// `todays`: the access mode for a row of the first versions, which did not keep it.
pub(super) fn opened(record: Record, todays: Option<AccessMode>) -> Result<CreatedVerification, Error> {
    let Session { token, url, access_mode, .. } = record.session.ok_or(Error::Redacted)?;
    let access_mode = access_mode.or(todays).unwrap_or(AccessMode::WechatH5Normal);
    Ok(CreatedVerification { verification: record.verification, url, token, access_mode })
}
