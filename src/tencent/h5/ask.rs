//! GetDetectInfoEnhanced: what became of a verification, in text.

use super::{
    H5,
    encryption::FieldEncryption,
    findings::{had_intention_step, read_report},
    tree::{Tree, Undecidable},
    wire::GetDetectInfoEnhancedRequest,
};
use crate::{
    domain::{ids::BizToken, intention::IntentionMode, key_pair::KeyPair, outcome::Report, verification::Verification},
    tencent::{
        answer::Answer,
        client::Client,
        error::Error,
        options::{CallOptions, Urgency},
    },
};

pub(super) const ACTION: &str = "GetDetectInfoEnhanced";
/// The text, and both kinds of intention.
const ALL_TEXT: &str = "156";

impl H5 {
    /// Asks what became of a verification. Photos and videos are never waited for.
    ///
    /// # Errors
    /// See [`crate::tencent::ErrorKind`].
    pub(in crate::tencent) async fn ask(
        &self,
        pair: &KeyPair,
        verification: &Verification,
        token: &BizToken,
        urgency: Urgency,
    ) -> Result<Report, Error> {
        let options = CallOptions { credential: &verification.credential, urgency };
        let encryptions = self.field_encryption.load_full();
        let encryption = encryptions.get(&verification.flow);
        let mut request = GetDetectInfoEnhancedRequest {
            biz_token: token.expose(),
            rule_id: &verification.rule_id,
            info_type: info_type(verification.intention),
            ..GetDetectInfoEnhancedRequest::default()
        };
        let mut answer = self.client.get_detect_info_enhanced(pair, &request, encryption, options).await?;
        if verification.intention.is_none() && had_intention_step(&answer.body) {
            // The step is on in the vendor's console although the flow has none here: it counts, so
            // its code must be asked for.
            note_unknown_step(verification);
            request.info_type = ALL_TEXT;
            answer = self.client.get_detect_info_enhanced(pair, &request, encryption, options).await?;
        }
        let Answer { body, request_id, asked_at, tries } = answer;
        read_report(body, request_id.clone(), asked_at).map_err(|Undecidable(field)| {
            Error::unintelligible(ACTION, &format!("{field} cannot be read"), &request_id, tries)
        })
    }
}

impl Client {
    /// Asks what became of a BizToken (document 41957). May be asked any number of times, for 3
    /// days.
    pub(super) async fn get_detect_info_enhanced(
        &self,
        pair: &KeyPair,
        request: &GetDetectInfoEnhancedRequest<'_>,
        encryption: Option<&FieldEncryption>,
        options: CallOptions<'_>,
    ) -> Result<Answer<Tree>, Error> {
        let Some(encryption) = encryption else { return self.call(ACTION, pair, request, options, Ok).await };
        let key = encryption.begin().map_err(|kind| Error::untried(ACTION, kind))?;
        self.call(ACTION, pair, &key.asking(request), options, |answer| key.open(answer)).await
    }
}

fn note_unknown_step(verification: &Verification) {
    let flow = verification.flow.clone();
    metrics::counter!("faceid_flow_misconfigured_total", "flow" => flow, "problem" => "step_unknown").increment(1);
    tracing::warn!(
        verification_id = %verification.id, flow = %verification.flow,
        "the flow has an intention step in the vendor's console: set its `intention` here, so that callers supply a script"
    );
}

/// The text, and what tells whether the intention was confirmed: with that step on, the face alone
/// decides nothing.
fn info_type(intention: Option<IntentionMode>) -> &'static str {
    match intention {
        None => "1",
        Some(IntentionMode::ReadAloud) => "15",
        Some(IntentionMode::Questions | IntentionMode::Nods) => "16",
    }
}
