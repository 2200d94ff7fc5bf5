//! Rows as they are stored. Times are milliseconds since the UNIX epoch.

/// What a new verification stores.
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
    /// Keyed hash of the request's body.
    pub request_fingerprint: Vec<u8>,
    /// Keyed hash of the vendor's token.
    pub token_hash: Vec<u8>,
    /// The vendor's id of the call that made the token.
    pub vendor_request_id: String,
    pub created_at_ms: i64,
    /// Token, URL and final targets.
    pub sealed_session: Vec<u8>,
    /// Name, ID number, extra and labels.
    pub sealed_subject: Vec<u8>,
}

/// What changes in the life of a verification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgressRow {
    /// `pending`, `passed`, `failed`, `expired` or `canceled`.
    pub state: String,
    pub settled_at_ms: Option<i64>,
    pub checked_at_ms: Option<i64>,
    /// The vendor's id of the last call that asked for the result.
    pub check_request_id: Option<String>,
    pub last_attempt_code: Option<i32>,
    pub last_attempt_at_ms: Option<i64>,
    pub attempts_exhausted: bool,
    /// What the vendor found.
    pub sealed_result: Option<Vec<u8>>,
}

impl ProgressRow {
    /// How every verification begins.
    pub fn pending() -> Self {
        Self {
            state: "pending".into(),
            settled_at_ms: None,
            checked_at_ms: None,
            check_request_id: None,
            last_attempt_code: None,
            last_attempt_at_ms: None,
            attempts_exhausted: false,
            sealed_result: None,
        }
    }
}

/// A stored verification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerificationRow {
    pub made: NewRow,
    /// 1 at first, and one more with each change.
    pub version: i64,
    pub progress: ProgressRow,
}

/// Who did what to which verification. No personal data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRow {
    pub at_ms: i64,
    /// A caller's name; `browser` for the public callback.
    pub actor: String,
    pub action: String,
    pub verification_id: String,
}
