//! Business flows, as an operator sets them up in the vendor's console.

/// A business flow of the console. The vendor has no API for making one; here it is configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The RuleId that the vendor assigned.
    pub rule_id: String,
    /// Source of the photo that the face is compared with.
    pub comparison: Comparison,
    /// Whether DetectAuth must carry both Name and IdCard.
    pub requires_identity: bool,
    /// Whether the user's ID card is photographed and read (OCR).
    pub reads_card: bool,
    /// The intention step (意愿核身) after the face, if the flow has one.
    pub intention: Option<IntentionMode>,
}

/// The source of the photo that the face is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// The public-security authority (权威库): liveness verification.
    Authority,
    /// The photo in `ImageBase64`: liveness comparison.
    UploadedPhoto,
}

/// How the user shows an intention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IntentionMode {
    /// The user reads a text aloud; `IntentionVerifyType` "2".
    ReadAloud,
    /// The user answers questions; `IntentionVerifyType` "0".
    Questions,
    /// The user nods at statements; `IntentionVerifyType` "1".
    Nods,
}

impl Rule {
    /// The flows of a simulator that was told nothing else: "1" authority, identity required; "2"
    /// uploaded photo, identity optional; "3", "4" and "5" as "1" with intention read aloud, by
    /// questions and by nods; "6" as "1" without a photo of the ID card.
    pub fn defaults() -> Vec<Self> {
        let rule = |rule_id: &str, comparison, intention| Self {
            rule_id: rule_id.to_owned(),
            comparison,
            requires_identity: comparison == Comparison::Authority,
            reads_card: true,
            intention,
        };
        vec![
            rule("1", Comparison::Authority, None),
            rule("2", Comparison::UploadedPhoto, None),
            rule("3", Comparison::Authority, Some(IntentionMode::ReadAloud)),
            rule("4", Comparison::Authority, Some(IntentionMode::Questions)),
            rule("5", Comparison::Authority, Some(IntentionMode::Nods)),
            Self { reads_card: false, ..rule("6", Comparison::Authority, None) },
        ]
    }
}

impl IntentionMode {
    /// The value of `IntentionVerifyType`.
    pub(super) fn vendor_type(self) -> &'static str {
        match self {
            IntentionMode::Questions => "0",
            IntentionMode::Nods => "1",
            IntentionMode::ReadAloud => "2",
        }
    }
}
