//! From rows to verifications and back: this is where values are sealed and opened.

use super::{
    Error,
    binding::Binding,
    cell::{Cell, RESULT, SESSION, SUBJECT},
};
use crate::{
    domain::{
        flow::{AccessMode, Flow, Product},
        ids::{BizToken, VerificationId},
        intention::IntentionMode,
        new_verification::{FinalTargets, NewVerification},
        outcome::Attempt,
        result::VerificationResult,
        verification::{State, Verification},
    },
    store::row::{NewRow, ProgressRow, RowMac, VerificationRow},
    vault::Keyring,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::collections::BTreeMap;
use url::Url;
use zeroize::Zeroizing;

/// A stored verification, opened.
#[derive(Clone)]
pub(super) struct Record {
    pub verification: Verification,
    /// None after redaction.
    pub session: Option<Session>,
    pub request_fingerprint: Vec<u8>,
    pub result: Option<VerificationResult>,
    /// The vendor's id of the last call that asked for the result.
    pub check_request_id: Option<String>,
    /// The columns that the MAC of the row covers.
    pub binding: Binding,
}

/// The URLs that the user's browser follows.
#[derive(Clone)]
pub(super) struct Session {
    pub token: BizToken,
    pub url: Url,
    pub targets: Option<FinalTargets>,
    /// None in rows of the first versions.
    pub access_mode: Option<AccessMode>,
}

/// The vendor's answer to opening a flow.
pub(super) struct VendorSession {
    pub token: BizToken,
    pub url: Url,
    pub request_id: String,
    pub created_at: Timestamp,
    /// Until when the vendor takes attempts.
    pub expires_at: Timestamp,
    /// Until when the vendor knows the result.
    pub result_until: Timestamp,
}

/// Of a row that has just been created.
const FIRST_VERSION: i64 = 1;

/// Column `sealed_session`.
#[derive(Serialize, Deserialize)]
struct SealedSession {
    biz_token: String,
    url: Url,
    targets: Option<FinalTargets>,
    access_mode: Option<AccessMode>,
}

/// Column `sealed_subject`.
#[derive(Serialize, Deserialize)]
struct SealedSubject {
    name: Option<String>,
    id_number: Option<String>,
    extra: Option<String>,
    labels: BTreeMap<String, String>,
}

impl Record {
    /// Opens a row that is bound to its owner and its verdict.
    pub(super) fn open(keyring: &Keyring, row: VerificationRow) -> Result<Self, Error> {
        Self::open_uncounted(keyring, row)
            .inspect_err(|_| metrics::counter!("faceid_unreadable_rows_total").increment(1))
    }

    fn open_uncounted(keyring: &Keyring, row: VerificationRow) -> Result<Self, Error> {
        let binding = Binding::of(&row.created);
        binding.verify(keyring, &row)?;
        let VerificationRow {
            created, version, progress, charged_attempts, result_fetched_at_ms, redacted_at_ms, ..
        } = row;
        let cell = |column| Cell::of(&created, version, column);
        let session = open_session(keyring, cell(SESSION), &created.sealed_session)?;
        let subject: Option<SealedSubject> = open_unless_erased(keyring, cell(SUBJECT), &created.sealed_subject)?;
        let result = progress.sealed_result.as_ref().map(|sealed| open(keyring, cell(RESULT), sealed)).transpose()?;
        let corrupt = |column, problem: String| Error::UnreadableRow { id: created.id.clone(), column, problem };
        let verification = Verification {
            id: VerificationId::parse(&created.id).map_err(|problem| corrupt("id", problem))?,
            version,
            created_at: time(created.created_at_ms).map_err(|problem| corrupt("created_at_ms", problem))?,
            expires_at: time(created.expires_at_ms).map_err(|problem| corrupt("expires_at_ms", problem))?,
            result_until: time(created.result_until_ms).map_err(|problem| corrupt("result_until_ms", problem))?,
            state: state(&progress).map_err(|problem| corrupt("state", problem))?,
            checked_at: optional_time(progress.checked_at_ms).map_err(|problem| corrupt("checked_at_ms", problem))?,
            last_attempt: last_attempt(&progress).map_err(|problem| corrupt("last_attempt_at_ms", problem))?,
            intention: intention(created.intention.as_deref()).map_err(|problem| corrupt("intention", problem))?,
            fetched_at: optional_time(result_fetched_at_ms)
                .map_err(|problem| corrupt("result_fetched_at_ms", problem))?,
            attempts_exhausted: progress.attempts_exhausted,
            result_lost: progress.result_lost,
            evidence_lost: progress.evidence_lost,
            charged_attempts,
            redacted_at: optional_time(redacted_at_ms).map_err(|problem| corrupt("redacted_at_ms", problem))?,
            labels: subject.map(|subject| subject.labels).unwrap_or_default(),
            caller: created.caller,
            flow: created.flow,
            // Rows of the first versions, which did not keep the access mode, are of the product
            // that there was.
            product: session.as_ref().and_then(|it| it.access_mode).map_or(Product::H5, AccessMode::product),
            rule_id: created.rule_id,
            credential: created.credential,
            reference: created.reference,
        };
        Ok(Self {
            verification,
            session,
            request_fingerprint: created.request_fingerprint,
            result,
            check_request_id: progress.check_request_id,
            binding,
        })
    }

    /// The session, which is there until the verification is redacted.
    pub(super) fn session(&self) -> Result<&Session, Error> {
        self.session.as_ref().ok_or(Error::Redacted)
    }

    /// The part of the row that changes, sealed, and the MAC of the row with it, for the version
    /// after the one that was read. Of a redacted verification nothing personal is kept.
    pub(super) fn progress(&self, keyring: &Keyring) -> (ProgressRow, RowMac) {
        let verification = &self.verification;
        let id = verification.id.to_string();
        let next_version = verification.version + 1;
        let cell = Cell {
            id: &id,
            caller: &verification.caller,
            flow: &verification.flow,
            version: next_version,
            column: RESULT,
        };
        let kept = self.result.as_ref().filter(|_| verification.redacted_at.is_none());
        let progress =
            ProgressRow { sealed_result: kept.map(|result| seal(keyring, cell, result)), ..self.unsealed_progress() };
        let redacted_at_ms = verification.redacted_at.map(Timestamp::as_millisecond);
        let mac = self.binding.mac(keyring, next_version, &progress, redacted_at_ms);
        (progress, mac)
    }

    /// The MAC of the row when it has been redacted at a time, if it was not before.
    pub(super) fn mac_when_redacted(&self, keyring: &Keyring, at: Timestamp) -> RowMac {
        let redacted_at = self.verification.redacted_at.unwrap_or(at).as_millisecond();
        self.binding.mac(keyring, self.verification.version + 1, &self.unsealed_progress(), Some(redacted_at))
    }

    fn unsealed_progress(&self) -> ProgressRow {
        let verification = &self.verification;
        ProgressRow {
            state: verification.state.name().as_str().to_owned(),
            settled_at_ms: verification.state.settled_at().map(Timestamp::as_millisecond),
            checked_at_ms: verification.checked_at.map(Timestamp::as_millisecond),
            check_request_id: self.check_request_id.clone(),
            last_attempt_code: verification.last_attempt.map(|attempt| attempt.code),
            last_attempt_at_ms: verification.last_attempt.and_then(|attempt| attempt.at).map(Timestamp::as_millisecond),
            attempts_exhausted: verification.attempts_exhausted,
            result_lost: verification.result_lost,
            evidence_lost: verification.evidence_lost,
            sealed_result: None,
        }
    }
}

/// The row of a new verification, sealed, and its MAC.
pub(super) fn new_row(
    keyring: &Keyring,
    caller: &str,
    flow: &Flow,
    new: &NewVerification,
    request_fingerprint: Vec<u8>,
    id_card_hash: Option<Vec<u8>>,
    session: &VendorSession,
) -> (NewRow, RowMac) {
    let id = new.id.to_string();
    let sealed_session = SealedSession {
        biz_token: session.token.expose().to_owned(),
        url: session.url.clone(),
        targets: new.targets.clone(),
        access_mode: Some(flow.access_mode),
    };
    let sealed_subject = SealedSubject {
        name: new.name.as_ref().map(|name| name.expose().to_owned()),
        id_number: new.id_number.as_ref().map(|number| number.expose().to_owned()),
        extra: new.extra.clone(),
        labels: new.labels.clone(),
    };
    let cell = |column| Cell { id: &id, caller, flow: &flow.name, version: FIRST_VERSION, column };
    let created = NewRow {
        sealed_session: seal(keyring, cell(SESSION), &sealed_session),
        sealed_subject: seal(keyring, cell(SUBJECT), &sealed_subject),
        id: id.clone(),
        caller: caller.to_owned(),
        flow: flow.name.clone(),
        rule_id: flow.rule_id.clone(),
        credential: flow.credential.clone(),
        reference: new.reference.clone(),
        intention: new.intention.as_ref().map(|script| script.mode().name().to_owned()),
        request_id: new.request_id.clone(),
        key_id: keyring.first_id().to_owned(),
        request_fingerprint,
        token_hash: keyring.token_hash(&session.token),
        id_card_hash,
        vendor_request_id: session.request_id.clone(),
        created_at_ms: session.created_at.as_millisecond(),
        expires_at_ms: session.expires_at.as_millisecond(),
        result_until_ms: session.result_until.as_millisecond(),
    };
    let mac = Binding::of(&created).mac(keyring, FIRST_VERSION, &ProgressRow::pending(), None);
    (created, mac)
}

fn open_session(keyring: &Keyring, cell: Cell<'_>, sealed: &[u8]) -> Result<Option<Session>, Error> {
    let sealed: Option<SealedSession> = open_unless_erased(keyring, cell, sealed)?;
    let session = |session: SealedSession| {
        let token = stored_token(cell.id, &session.biz_token)?;
        let SealedSession { url, targets, access_mode, .. } = session;
        Ok(Session { token, url, targets, access_mode })
    };
    sealed.map(session).transpose()
}

/// The token in an opened session.
pub(super) fn token_of_session(id: &str, json: &[u8]) -> Result<BizToken, Error> {
    let session: SealedSession = parse(id, SESSION, json)?;
    stored_token(id, &session.biz_token)
}

fn stored_token(id: &str, token: &str) -> Result<BizToken, Error> {
    BizToken::parse(token).map_err(|problem| Error::UnreadableRow { id: id.to_owned(), column: SESSION, problem })
}

/// A column that redaction has emptied holds nothing.
fn open_unless_erased<T: DeserializeOwned>(
    keyring: &Keyring,
    cell: Cell<'_>,
    sealed: &[u8],
) -> Result<Option<T>, Error> {
    if sealed.is_empty() { Ok(None) } else { open(keyring, cell, sealed).map(Some) }
}

fn seal(keyring: &Keyring, cell: Cell<'_>, value: &impl Serialize) -> Vec<u8> {
    let json = Zeroizing::new(serde_json::to_vec(value).expect("sealed values are plain data"));
    cell.seal(keyring, &json)
}

fn open<T: DeserializeOwned>(keyring: &Keyring, cell: Cell<'_>, sealed: &[u8]) -> Result<T, Error> {
    parse(cell.id, cell.column, &cell.open(keyring, sealed)?)
}

fn parse<T: DeserializeOwned>(id: &str, column: &'static str, json: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(json).map_err(|_| Error::UnreadableRow {
        id: id.to_owned(),
        column,
        problem: "what was sealed is of another shape".into(),
    })
}

fn state(progress: &ProgressRow) -> Result<State, String> {
    State::of(&progress.state, optional_time(progress.settled_at_ms)?)
}

fn intention(name: Option<&str>) -> Result<Option<IntentionMode>, String> {
    name.map(|name| IntentionMode::parse(name).map_err(|_| format!("{name:?} is no mode"))).transpose()
}

fn last_attempt(progress: &ProgressRow) -> Result<Option<Attempt>, String> {
    let at = optional_time(progress.last_attempt_at_ms)?;
    Ok(progress.last_attempt_code.map(|code| Attempt { code, at }))
}

fn optional_time(ms: Option<i64>) -> Result<Option<Timestamp>, String> {
    ms.map(time).transpose()
}

fn time(ms: i64) -> Result<Timestamp, String> {
    Timestamp::from_millisecond(ms).map_err(|_| format!("{ms} ms is no time"))
}
