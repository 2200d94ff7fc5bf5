//! Settle: ask the vendor, apply the answer. Shared by the callback and the result.

use super::{App, Error, record::Record};
use crate::{
    domain::{
        intention::IntentionMode,
        outcome::{Judgement, Verdict, judge},
        verification::{State, Verification},
    },
    store::row::VerificationRow,
    tencent::{
        Answer,
        wire::{GetDetectInfoEnhancedRequest, GetDetectInfoEnhancedResponse},
    },
};

impl App {
    /// Brings a pending verification up to date with the vendor. One that is final, or canceled, is not asked about.
    ///
    /// Text only: photos and videos are never waited for. Whoever settles at the same time does no harm: a change is stored only
    /// over the version that it was made from, and an older answer never over a newer one.
    pub(super) async fn settle(&self, mut record: Record) -> Result<Record, Error> {
        if record.verification.state != State::Pending {
            return Ok(record);
        }
        let asked_at = self.clock.now();
        let Answer { body, request_id } = self.ask_vendor(&record).await?;
        let verification = &record.verification;
        let findings = body.findings(verification.intention);
        let judgement = findings
            .as_ref()
            .map_or(Judgement::NOTHING_LEARNT, |findings| judge(findings, verification.token_expired(asked_at)));
        let tells_something =
            findings.is_some_and(|findings| findings.face_code.is_some() || findings.last_liveness.is_some());
        let result = tells_something.then(|| body.into_result(request_id.clone(), asked_at));
        loop {
            // Somebody else's newer answer stands, unless ours is the one that cannot change any more.
            let outdated = record.verification.checked_at.is_some_and(|checked_at| checked_at > asked_at)
                && judgement.verdict != Verdict::Passed;
            if record.verification.state != State::Pending || outdated {
                return Ok(record);
            }
            let version = record.verification.version;
            let settled = Record {
                verification: record.verification.settle(&judgement, asked_at),
                result: result.clone().or(record.result),
                check_request_id: Some(request_id.clone()),
                ..record
            };
            let id = settled.verification.id.to_string();
            if self.store.advance(&id, version, settled.progress(&self.keyring)).await? {
                log_change(&settled.verification);
                let verification = Verification { version: version + 1, ..settled.verification };
                return Ok(Record { verification, ..settled });
            }
            record = self.find(&id).await?;
        }
    }

    async fn ask_vendor(&self, record: &Record) -> Result<Answer<GetDetectInfoEnhancedResponse>, Error> {
        let verification = &record.verification;
        let pair = self.credentials.get(&verification.credential).await?;
        let mut request = GetDetectInfoEnhancedRequest {
            biz_token: record.token.expose(),
            rule_id: &verification.rule_id,
            info_type: info_type(verification.intention),
            ..GetDetectInfoEnhancedRequest::default()
        };
        let answer = self.tencent.get_detect_info_enhanced(&pair, &request).await?;
        if verification.intention.is_some() || !answer.body.tells_of_intention() {
            return Ok(answer);
        }
        // The step is on in the vendor's console although no script was given: its code must be asked for.
        request.info_type = ALL_TEXT;
        Ok(self.tencent.get_detect_info_enhanced(&pair, &request).await?)
    }

    /// Reads a verification that must exist.
    pub(super) async fn find(&self, id: &str) -> Result<Record, Error> {
        self.open(self.store.find(id).await?)
    }

    pub(super) fn open(&self, row: Option<VerificationRow>) -> Result<Record, Error> {
        Record::open(&self.keyring, row.ok_or(Error::VerificationNotFound)?)
    }
}

/// The text, and both kinds of intention.
const ALL_TEXT: &str = "156";

/// The text, and what tells whether the intention was confirmed: with that step on, the face alone decides nothing.
fn info_type(intention: Option<IntentionMode>) -> &'static str {
    match intention {
        None => "1",
        Some(IntentionMode::ReadAloud) => "15",
        Some(IntentionMode::Questions | IntentionMode::Nods) => "16",
    }
}

fn log_change(verification: &Verification) {
    let outcome = match verification.state {
        State::Pending => return,
        State::Passed { .. } => "passed",
        State::Failed { .. } => "failed",
        State::Expired { .. } => "expired",
        State::Canceled { .. } => "canceled",
    };
    metrics::counter!("faceid_verifications_settled_total", "flow" => verification.flow.clone(), "outcome" => outcome)
        .increment(1);
    tracing::info!(verification_id = %verification.id, flow = %verification.flow, outcome, "settled");
}
