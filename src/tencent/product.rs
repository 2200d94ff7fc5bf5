//! The calls that every product of the vendor has, in the domain's words. The next product is a
//! folder beside [`super::h5`] and a variant of [`Product`]: the compiler then asks for it here.

use super::{
    client::Client,
    error::Error,
    h5::{H5, encryption::FieldEncryption, media::MediaStream, probe::KeyVerdict},
    options::{ActionQuotas, Urgency},
    terms::{Charge, MediaQuery, Opened},
};
use crate::domain::{
    bill_day::BillDay,
    flow::{Flow, Flows, Product},
    ids::BizToken,
    key_pair::KeyPair,
    new_verification::NewVerification,
    outcome::Report,
    verification::Verification,
};
use std::{collections::BTreeMap, sync::Arc};

/// The vendor's products behind one door.
pub struct Products {
    client: Arc<Client>,
    h5: H5,
}

impl Products {
    /// `field_encryption`: how the calls of flows are encrypted, by flow; the others are not.
    pub fn new(client: Client, field_encryption: BTreeMap<String, FieldEncryption>) -> Self {
        let client = Arc::new(client);
        Self { h5: H5::new(Arc::clone(&client), field_encryption), client }
    }

    /// Whether people are verified by Tencent Cloud itself, and not by a simulator or through a
    /// proxy.
    pub fn asks_tencent_cloud(&self) -> bool {
        self.client.asks_tencent_cloud()
    }

    /// Splits the vendor's quotas between so many replicas. 0: it is not known between how many.
    pub fn share_quotas_with(&self, replicas: u32) {
        self.client.share_quotas_with(replicas);
    }

    /// How the calls of `flows` are encrypted from now on, by flow.
    pub fn encrypt_fields(&self, flows: &Flows, field_encryption: BTreeMap<String, FieldEncryption>) {
        self.h5.encrypt_fields(flows, field_encryption);
    }

    /// The account's quotas from now on.
    pub fn set_quotas(&self, quotas: ActionQuotas) {
        self.client.set_quotas(quotas);
    }

    /// Opens a verification.
    ///
    /// # Errors
    /// See [`super::ErrorKind`].
    pub async fn open(
        &self,
        pair: &KeyPair,
        flow: &Flow,
        new: &NewVerification,
        urgency: Urgency,
    ) -> Result<Opened, Error> {
        match flow.product() {
            Product::H5 => self.h5.open(pair, flow, new, urgency).await,
        }
    }

    /// Asks what became of a verification.
    ///
    /// # Errors
    /// See [`super::ErrorKind`].
    pub async fn ask(
        &self,
        pair: &KeyPair,
        verification: &Verification,
        token: &BizToken,
        urgency: Urgency,
    ) -> Result<Report, Error> {
        match verification.product {
            Product::H5 => self.h5.ask(pair, verification, token, urgency).await,
        }
    }

    /// Asks for the media of a verification. Waits for the first event, so that a refusal comes
    /// from here.
    ///
    /// # Errors
    /// See [`super::ErrorKind`].
    pub async fn fetch_media(
        &self,
        pair: &KeyPair,
        verification: &Verification,
        token: &BizToken,
        query: MediaQuery,
    ) -> Result<MediaStream, Error> {
        match verification.product {
            Product::H5 => self.h5.fetch_media(pair, verification, token, query).await,
        }
    }

    /// Lists what the vendor charged for a flow on a day, token by token.
    ///
    /// # Errors
    /// See [`super::ErrorKind`].
    pub async fn bill(
        &self,
        pair: &KeyPair,
        flow: &Flow,
        day: BillDay,
        urgency: Urgency,
    ) -> Result<Vec<Charge>, Error> {
        match flow.product() {
            Product::H5 => self.h5.bill(pair, flow, day, urgency).await,
        }
    }

    /// Asks, for free, whether the vendor takes a key pair. With the refusal that led to the
    /// verdict.
    pub async fn check_key(&self, credential: &str, pair: &KeyPair) -> (KeyVerdict, Option<Error>) {
        self.client.check_key(credential, pair).await
    }

    /// Opens connections ahead of the first call. A vendor that is down is no error.
    pub async fn warm(&self) {
        self.client.warm().await;
    }

    /// Whether the circuit of every endpoint is open, so that a call would be refused without being
    /// sent.
    pub fn is_down(&self) -> bool {
        self.client.is_down()
    }
}
