//! Business flows: what an operator had approved in the vendor's console, under a name of our own.

use super::{evidence::EvidencePart, intention::IntentionMode, redirect::AllowedTarget};
use jiff::SignedDuration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The flows of the configuration, by name.
pub type Flows = BTreeMap<String, Flow>;

/// One business flow.
#[derive(Clone, Debug)]
pub struct Flow {
    pub name: String,
    /// For people; empty where there is none.
    pub display_name: String,
    /// The vendor's id of it. Callers never see this.
    pub rule_id: String,
    /// Name of the credential that signs its calls.
    pub credential: String,
    pub access_mode: AccessMode,
    pub comparison: ComparisonSource,
    pub requires: RequiredFields,
    /// The intention step (意愿核身) as it is set in the vendor's console, if the flow has one.
    pub intention: Option<IntentionMode>,
    pub redirect_allow: Vec<AllowedTarget>,
    /// How long personal data and results are kept, counted from the end of the verification.
    pub result_retention: SignedDuration,
    /// Which photos, videos and sounds are fetched and kept.
    pub evidence: EvidenceSelection,
    /// How long they are kept, counted from the end of the verification.
    pub evidence_retention: SignedDuration,
}

impl Flow {
    /// The vendor's product that serves it.
    pub fn product(&self) -> Product {
        self.access_mode.product()
    }
}

/// A product of the vendor: it has its own calls, its own token and its own answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Product {
    /// 人脸核身 in a browser, in WeChat or outside of it.
    H5,
}

/// The parts of the evidence that are fetched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EvidenceSelection {
    pub best_frame: bool,
    pub id_card: bool,
    pub video: bool,
    pub intention: bool,
}

impl EvidenceSelection {
    /// Whether nothing is to be fetched.
    pub fn is_nothing(self) -> bool {
        self == Self::default()
    }

    /// One part alone.
    #[must_use]
    pub fn only(part: EvidencePart) -> Self {
        let mut wish = Self::default();
        *wish.part_mut(part) = true;
        wish
    }

    /// The same without a part.
    #[must_use]
    pub fn without(mut self, part: EvidencePart) -> Self {
        *self.part_mut(part) = false;
        self
    }

    /// Whether a part is asked for.
    pub fn has(mut self, part: EvidencePart) -> bool {
        *self.part_mut(part)
    }

    fn part_mut(&mut self, part: EvidencePart) -> &mut bool {
        match part {
            EvidencePart::BestFrame => &mut self.best_frame,
            EvidencePart::IdCard => &mut self.id_card,
            EvidencePart::Video => &mut self.video,
            EvidencePart::Intention => &mut self.intention,
        }
    }
}

/// How the user's browser enters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AccessMode {
    WechatH5NativeOverlay,
    WechatH5Overlay,
    WechatH5Normal,
}

impl AccessMode {
    /// Each product has entrances of its own.
    pub fn product(self) -> Product {
        match self {
            Self::WechatH5NativeOverlay | Self::WechatH5Overlay | Self::WechatH5Normal => Product::H5,
        }
    }
}

/// Source of the photo that the live face is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ComparisonSource {
    /// The public-security authority (权威库).
    Authority,
    /// A photo that the caller sends.
    UploadedPhoto,
}

/// Fields that a caller must supply. Whether a photo is needed follows from the comparison, a
/// script from the intention step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequiredFields {
    pub name: bool,
    pub id_number: bool,
}
