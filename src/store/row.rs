//! Rows as they are stored. Times are milliseconds since the UNIX epoch.

use crate::domain::{job::JobKind, verification::StateName};

/// The columns of a new verification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRow {
    pub id: String,
    pub caller: String,
    pub flow: String,
    pub rule_id: String,
    pub credential: String,
    pub reference: String,
    /// `questions`, `nods` or `read_aloud`.
    pub intention: Option<String>,
    pub request_id: Option<String>,
    /// The key of the keyring that both hashes below are made with.
    pub key_id: String,
    /// Keyed hash of the request's body.
    pub request_fingerprint: Vec<u8>,
    /// Keyed hash of the vendor's token.
    pub token_hash: Vec<u8>,
    /// Keyed hash of the ID number, where there is one: forgotten when no attempt of it counts any
    /// more, or when redacted.
    pub id_card_hash: Option<Vec<u8>>,
    /// The vendor's id of the call that made the token.
    pub vendor_request_id: String,
    pub created_at_ms: i64,
    /// Until when the vendor takes attempts.
    pub expires_at_ms: i64,
    /// Until when the vendor knows the result.
    pub result_until_ms: i64,
    /// Token, URL and final targets.
    pub sealed_session: Vec<u8>,
    /// Name, ID number, extra and labels.
    pub sealed_subject: Vec<u8>,
}

/// The columns that change in the life of a verification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgressRow {
    /// Name of a [`StateName`].
    pub state: String,
    pub settled_at_ms: Option<i64>,
    pub checked_at_ms: Option<i64>,
    /// The vendor's id of the last call that asked for the result.
    pub check_request_id: Option<String>,
    pub last_attempt_code: Option<i64>,
    pub last_attempt_at_ms: Option<i64>,
    pub attempts_exhausted: bool,
    pub result_lost: bool,
    pub evidence_lost: bool,
    /// The vendor's findings.
    pub sealed_result: Option<Vec<u8>>,
}

impl ProgressRow {
    /// How every verification begins.
    pub fn pending() -> Self {
        Self {
            state: StateName::Pending.as_str().to_owned(),
            settled_at_ms: None,
            checked_at_ms: None,
            check_request_id: None,
            last_attempt_code: None,
            last_attempt_at_ms: None,
            attempts_exhausted: false,
            result_lost: false,
            evidence_lost: false,
            sealed_result: None,
        }
    }
}

/// Binds a verification's row to its owner and its verdict. The store keeps it beside them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RowMac {
    /// The key of the keyring that it is made with. Empty in rows of the first versions, and so is
    /// the MAC.
    pub key_id: String,
    pub mac: Vec<u8>,
}

/// A stored verification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerificationRow {
    pub created: NewRow,
    /// 1 at first, and one more with each change.
    pub version: i64,
    pub progress: ProgressRow,
    /// Of the row as it stands.
    pub mac: RowMac,
    /// How many of its attempts in the ledger are charged.
    pub charged_attempts: u32,
    /// When a final state was first told to the caller.
    pub result_fetched_at_ms: Option<i64>,
    /// When the sealed columns were emptied.
    pub redacted_at_ms: Option<i64>,
}

impl VerificationRow {
    /// A row as it is right after it was stored.
    pub fn new(created: NewRow, mac: RowMac) -> Self {
        Self {
            created,
            version: 1,
            progress: ProgressRow::pending(),
            mac,
            charged_attempts: 0,
            result_fetched_at_ms: None,
            redacted_at_ms: None,
        }
    }
}

/// Side effects of a write, in the same transaction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    pub audit: Vec<AuditRow>,
    pub events: Vec<NewEvent>,
    /// As by [`super::Store::add_job`].
    pub jobs: Vec<NewJob>,
    /// An attempt that is in the ledger already learns what was not known of it.
    pub attempts: Vec<AttemptRow>,
}

/// An entry of the audit trail. No personal data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditRow {
    pub at_ms: i64,
    /// A caller's name; `browser` for the public callback, `retention` and `configuration` for the
    /// gateway itself.
    pub actor: String,
    pub action: String,
    /// Empty: it is not about a verification.
    pub verification_id: String,
    /// Empty: it is not about a credential.
    pub credential: String,
}

/// Which audit events. Empty texts mean all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditFilter {
    pub verification_id: String,
    pub credential: String,
    pub actor: String,
    pub action: String,
    pub from_ms: Option<i64>,
    pub before_ms: Option<i64>,
    /// The place of the last one of the page before.
    pub before_seq: Option<i64>,
    pub limit: u32,
}

/// Something that happened to a verification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEvent {
    pub at_ms: i64,
    pub caller: String,
    pub verification_id: String,
    pub flow: String,
    pub kind: String,
    pub state: String,
    pub last_attempt_code: Option<i64>,
}

/// An event with its place in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventRow {
    /// Rises in the order of commits.
    pub seq: i64,
    pub event: NewEvent,
}

/// An attempt in the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptRow {
    pub verification_id: String,
    /// The vendor's id of it, unique within the verification.
    pub seq: String,
    pub at_ms: Option<i64>,
    pub code: Option<i64>,
    pub charged: Option<bool>,
}

/// Work to be done at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewJob {
    pub kind: JobKind,
    /// Its subject: there is one job of a kind for each.
    pub subject: String,
    pub due_at_ms: i64,
    /// Of the jobs that are due, the one with the lowest rank goes first.
    pub rank_ms: i64,
}

/// Work that was claimed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobRow {
    pub kind: JobKind,
    pub subject: String,
    /// How often it has failed.
    pub failures: u32,
    /// Shows that the holder still holds it.
    pub lease_token: String,
}

/// Which verifications to list. Empty lists and texts mean all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListFilter {
    pub caller: String,
    pub states: Vec<String>,
    pub flow: String,
    pub reference: String,
    pub created_from_ms: Option<i64>,
    pub created_before_ms: Option<i64>,
    pub never_fetched: bool,
    pub oldest_first: bool,
    /// Creation time and id of the last one of the page before.
    pub after: Option<(i64, String)>,
    pub limit: u32,
}

/// Usage of one caller and flow on one day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageDay {
    /// Of the vendor's bill, counted from 1970-01-01.
    pub day: i64,
    pub caller: String,
    pub flow: String,
    pub verifications: u64,
    pub attempts: u64,
    pub charged_attempts: u64,
}

/// Which usage. Days are the vendor's bill's, counted from 1970-01-01.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsageFilter {
    pub first_day: i64,
    pub last_day: i64,
    /// Empty: all.
    pub caller: String,
    /// Empty: all.
    pub flow: String,
}

/// A use of an ID card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CardUse {
    pub at_ms: i64,
    /// Whether it was in a verification of the asking caller.
    pub is_own: bool,
}

/// Charged attempts of a verification in a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChargeRow {
    pub verification_id: String,
    pub token_hash: Vec<u8>,
    /// The ledger's names of the attempts, in order.
    pub seqs: Vec<String>,
}

/// How much is not settled yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unsettled {
    /// How many settle jobs there are, by the age of their verification: under 2 hours, under a
    /// day, under 2 days, older.
    pub by_age: [u64; 4],
    /// When the oldest of them was created, and until when the vendor knows its result.
    pub oldest: Option<(i64, i64)>,
}

/// A photo, video or sound. Its content is in a blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EvidenceRow {
    pub id: String,
    pub verification_id: String,
    pub kind: String,
    /// Among those of its kind, from 0.
    pub position: u32,
    /// The attempt that it is of.
    pub attempt_seq: Option<String>,
    pub content_type: String,
    pub size_bytes: u64,
    /// None when erased.
    pub sha256: Option<Vec<u8>>,
    /// Opens the blob. None when erased.
    pub sealed_key: Option<Vec<u8>>,
    pub stored_at_ms: i64,
    pub erased_at_ms: Option<i64>,
    /// Whether the blob is gone too.
    pub blob_deleted: bool,
}

/// A credential with its key pairs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialRow {
    pub name: String,
    /// 1 at first, and one more with each change.
    pub version: i64,
    /// `configuration` or `api`.
    pub origin: String,
    pub disabled_at_ms: Option<i64>,
    /// In the order of their use.
    pub key_pairs: Vec<KeyPairRow>,
}

/// A key pair of a Tencent account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPairRow {
    pub id: String,
    pub sealed_key_pair: Vec<u8>,
    pub created_at_ms: i64,
    pub used_at_ms: Option<i64>,
    /// When it was last tested against the vendor, and what came of it.
    pub tested: Option<(i64, String)>,
}

/// Uses of one key of the keyring.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyUseRow {
    pub key_id: String,
    /// Sealed values, by what they are.
    pub sessions: u64,
    pub subjects: u64,
    pub results: u64,
    pub evidence_keys: u64,
    pub key_pairs: u64,
    /// Verifications whose row is bound by a MAC with this key.
    pub rows: u64,
    /// Verifications that are found by their token through a hash with this key.
    pub token_hashes: u64,
    /// When the newest verification was made whose request id and redirect are recognised with this
    /// key.
    pub newest_made_at_ms: Option<i64>,
}

/// A sealed value that is to be sealed anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SealedValue {
    /// A column of a verification: `sealed_session`, `sealed_subject` or `sealed_result`, and what
    /// it is bound to.
    Verification {
        id: String,
        caller: String,
        flow: String,
        version: i64,
        column: &'static str,
        sealed: Vec<u8>,
    },
    /// The MAC of a verification's row.
    Row(Box<VerificationRow>),
    /// The key of a blob.
    Evidence(EvidenceRow),
    KeyPair {
        id: String,
        sealed: Vec<u8>,
    },
}

/// The replacement of a sealed value, if it is still the one that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resealed {
    pub was: SealedValue,
    /// The value, or the MAC of a row.
    pub sealed: Vec<u8>,
    /// The key that it is sealed, or made, with.
    pub key_id: String,
    /// Of a session: its token's hash, and the key that it is made with.
    pub token_hash: Option<(Vec<u8>, String)>,
}
