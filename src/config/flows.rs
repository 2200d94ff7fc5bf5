//! Business flows: `[[flows]]`.

use super::{types::Int, value};
use crate::{
    domain::{
        fault::Faults,
        flow::{AccessMode, ComparisonSource, EvidenceSelection, Flow as BusinessFlow, Flows, RequiredFields},
        intention::IntentionMode,
        redirect::AllowedTarget,
    },
    tencent::{
        FieldEncryption,
        encryption::{Algorithm, PublicKey},
    },
};
use jiff::SignedDuration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    fs,
};

/// Business flows that were approved in Tencent's console. At least one is needed.
#[derive(Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("required" = ["name", "rule_id", "credential", "access_mode", "comparison"]))]
pub(super) struct Flow {
    /// The name that callers use.
    #[schemars(example = &"onboarding")]
    name: Option<String>,
    /// The name that people read, for instance in a back office (ListFlows tells it). At most 64
    /// characters.
    #[schemars(example = &"开户核身")]
    display_name: Option<String>,
    /// The console's RuleId, as a text.
    #[schemars(example = &"1")]
    rule_id: Option<String>,
    /// The credential that signs its calls.
    #[schemars(example = &"main")]
    credential: Option<String>,
    /// How the user's browser enters. The front end navigates to the verification's url in each.
    #[schemars(example = &"wechat_h5_native_overlay")]
    access_mode: Option<AccessMode>,
    /// The live face is compared with the authority's photo, or with one that the caller sends.
    #[schemars(example = &"authority")]
    comparison: Option<ComparisonSource>,
    /// A caller must supply these.
    #[schemars(example = ["name", "id_number"])]
    requires: Vec<Requirement>,
    /// The intention step (意愿核身) that the flow has in the console. Not set: it has none.
    #[schemars(example = &"read_aloud")]
    intention: Option<IntentionMode>,
    /// Where browsers may be sent: same origin, at or below the path.
    #[schemars(example = ["https://shop.example.com/"])]
    redirect_allow: Vec<String>,
    /// The photos, videos and sounds that are fetched and kept.
    #[schemars(example = ["best_frame", "id_card"])]
    evidence: Vec<EvidenceItem>,
    /// Days after which evidence is erased.
    evidence_retention_days: Int<1, 3650>,
    /// Days after which names, ID numbers, results and tokens are erased.
    result_retention_days: Int<1, 3650>,
    encryption: Option<Encryption>,
}

impl Default for Flow {
    fn default() -> Self {
        Self {
            name: None,
            display_name: None,
            rule_id: None,
            credential: None,
            access_mode: None,
            comparison: None,
            requires: Vec::new(),
            intention: None,
            redirect_allow: Vec::new(),
            evidence: Vec::new(),
            evidence_retention_days: Int::new(30),
            result_retention_days: Int::new(180),
            encryption: None,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema, Serialize)]
#[serde(rename_all = "snake_case")]
enum Requirement {
    Name,
    IdNumber,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema, Serialize)]
#[serde(rename_all = "snake_case")]
enum EvidenceItem {
    BestFrame,
    IdCard,
    Video,
    Intention,
}

/// Names and ID numbers are encrypted inside of TLS, both ways.
#[derive(Default, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("required" = ["algorithm"]))]
struct Encryption {
    /// aes_256_cbc wraps its key by RSA, sm4_gcm by SM2.
    #[schemars(example = &"aes_256_cbc")]
    algorithm: Option<Algorithm>,
    /// The vendor's public key, from the console: PEM, or for SM2 the point in hex.
    public_key: Option<String>,
    /// The public key as a file, instead of public_key.
    #[schemars(example = &"rsa.pem")]
    public_key_file: Option<String>,
    /// Whether results are encrypted whole. Evidence never is.
    whole_response: bool,
}

const MAX_DISPLAY_NAME: usize = 64;

/// The names as they were written, so that a flow with a fault is none for its callers too.
pub(super) fn names(flows: &[Flow]) -> BTreeSet<&str> {
    flows.iter().filter_map(|flow| flow.name.as_deref()).collect()
}

/// Converts all flows, and the field encryption of those that have one.
pub(super) fn convert(flows: &[Flow], faults: &mut Faults) -> (Flows, BTreeMap<String, FieldEncryption>) {
    let mut names = BTreeSet::new();
    let (mut converted, mut field_encryption) = (Flows::new(), BTreeMap::new());
    if flows.is_empty() {
        faults.add("flows", "is empty; a gateway without a flow can verify nobody");
    }
    for (i, flow) in flows.iter().enumerate() {
        let path = format!("flows[{i}]");
        let encryption = flow.encryption.as_ref();
        let encryption = encryption.and_then(|it| it.convert(&format!("{path}.encryption"), faults));
        if let Some(flow) = flow.convert(&path, &mut names, faults) {
            field_encryption.extend(encryption.map(|encryption| (flow.name.clone(), encryption)));
            converted.insert(flow.name.clone(), flow);
        }
    }
    (converted, field_encryption)
}

impl Flow {
    fn convert(&self, path: &str, names: &mut BTreeSet<String>, faults: &mut Faults) -> Option<BusinessFlow> {
        let name = value::unique_name(&format!("{path}.name"), self.name.as_deref(), names, faults);
        let rule_id = value::checked(&format!("{path}.rule_id"), self.rule_id.as_deref(), faults, value::rule_id);
        let credential =
            value::checked(&format!("{path}.credential"), self.credential.as_deref(), faults, value::checked_name);
        let display_name = self.display_name.clone().unwrap_or_default();
        if display_name.chars().count() > MAX_DISPLAY_NAME {
            faults.add(format!("{path}.display_name"), format!("is longer than {MAX_DISPLAY_NAME} characters"));
        }
        let access_mode = value::required(&format!("{path}.access_mode"), self.access_mode, faults);
        let comparison = value::required(&format!("{path}.comparison"), self.comparison, faults);
        let redirect_allow =
            value::each(&format!("{path}.redirect_allow"), &self.redirect_allow, faults, AllowedTarget::parse);
        Some(BusinessFlow {
            name: name?,
            display_name,
            rule_id: rule_id?,
            credential: credential?,
            access_mode: access_mode?,
            comparison: comparison?,
            requires: RequiredFields {
                name: self.requires.contains(&Requirement::Name),
                id_number: self.requires.contains(&Requirement::IdNumber),
            },
            intention: self.intention,
            redirect_allow,
            result_retention: days(self.result_retention_days),
            evidence: EvidenceSelection {
                best_frame: self.evidence.contains(&EvidenceItem::BestFrame),
                id_card: self.evidence.contains(&EvidenceItem::IdCard),
                video: self.evidence.contains(&EvidenceItem::Video),
                intention: self.evidence.contains(&EvidenceItem::Intention),
            },
            evidence_retention: days(self.evidence_retention_days),
        })
    }
}

impl Encryption {
    fn convert(&self, path: &str, faults: &mut Faults) -> Option<FieldEncryption> {
        let algorithm = value::required(&format!("{path}.algorithm"), self.algorithm, faults);
        let (key_path, file_path) = (format!("{path}.public_key"), format!("{path}.public_key_file"));
        let (value, file) = (value::given(self.public_key.as_deref()), value::given(self.public_key_file.as_deref()));
        let (key_path, text) = match (value, file) {
            (Some(text), None) => (key_path, Cow::Borrowed(text)),
            (None, Some(file)) => {
                let text = fs::read_to_string(file).map_err(|error| format!("{file} cannot be read: {error}"));
                let text = faults.check(&file_path, text)?;
                (file_path, Cow::Owned(text))
            }
            (Some(_), Some(_)) => {
                faults.add(key_path, format!("is given twice: as a value and as {file_path}; take one of them out"));
                return None;
            }
            (None, None) => {
                faults.add(&key_path, format!("is missing; set it or {file_path}"));
                return None;
            }
        };
        let public_key = faults.check(&key_path, PublicKey::parse(algorithm?, text.trim()));
        Some(FieldEncryption { public_key: public_key?, whole_response: self.whole_response })
    }
}

fn days(setting: Int<1, 3650>) -> SignedDuration {
    SignedDuration::from_hours(24 * i64::from(setting.get()))
}
