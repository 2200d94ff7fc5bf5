//! A caller's request, and the checks that it must pass before anything is stored or sent.

use super::{
    fault::{Fault, Faults},
    flow::{ComparisonSource, Flow},
    identity::{IdDocument, PersonName},
    ids::VerificationId,
    image::check_photo,
    intention::IntentionScript,
    redirect::{self, MAC_BYTES, MAX_VENDOR_URL},
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use url::Url;
use zeroize::Zeroizing;

const MAX_EXTRA: usize = 1024;
const MAX_REFERENCE: usize = 128;
const MAX_REQUEST_ID: usize = 128;
const MAX_FINAL_URL: usize = 2048;
const MAX_LABELS: usize = 16;
const MAX_LABEL_KEY: usize = 63;
const MAX_LABEL_VALUE: usize = 256;

/// A request as it came from the caller. Empty text means not given.
pub struct UnverifiedRequest {
    pub request_id: String,
    pub flow: String,
    pub name: String,
    pub id_number: String,
    pub reference_photo: Vec<u8>,
    pub intention: Option<IntentionScript>,
    /// An intention was given, and does not say which.
    pub intention_lacks_mode: bool,
    pub return_url: String,
    pub success_url: String,
    pub failure_url: String,
    pub extra: String,
    pub reference: String,
    pub labels: BTreeMap<String, String>,
}

impl UnverifiedRequest {
    /// The request's body as bytes, the same for the same body: all but the request id, each part
    /// with its length before it.
    pub fn body_bytes(&self) -> Zeroizing<Vec<u8>> {
        let intention = serde_json::to_vec(&self.intention).expect("a script is plain data");
        let labels = serde_json::to_vec(&self.labels).expect("labels are plain data");
        let parts: [&[u8]; 11] = [
            self.flow.as_bytes(),
            self.name.as_bytes(),
            self.id_number.as_bytes(),
            &self.reference_photo,
            &intention,
            self.return_url.as_bytes(),
            self.success_url.as_bytes(),
            self.failure_url.as_bytes(),
            self.extra.as_bytes(),
            self.reference.as_bytes(),
            &labels,
        ];
        let mut bytes = Zeroizing::new(Vec::with_capacity(parts.iter().map(|part| part.len() + 8).sum()));
        for part in parts {
            bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
            bytes.extend_from_slice(part);
        }
        bytes
    }
}

/// A request that may be carried out.
pub struct NewVerification {
    pub id: VerificationId,
    pub request_id: Option<String>,
    pub name: Option<PersonName>,
    pub id_number: Option<IdDocument>,
    pub reference_photo: Option<Vec<u8>>,
    pub intention: Option<IntentionScript>,
    /// Where the vendor sends the browser, bound to this verification. None: the vendor's product
    /// page.
    pub redirect_url: Option<Url>,
    pub targets: Option<FinalTargets>,
    pub extra: Option<String>,
    pub reference: String,
    pub labels: BTreeMap<String, String>,
}

/// Where the browser goes in the end.
#[derive(Clone, Serialize, Deserialize)]
pub struct FinalTargets {
    pub success_url: Url,
    pub failure_url: Url,
}

impl NewVerification {
    /// Checks a request against its flow and the vendor's limits. `flow` says what is wrong with
    /// its name when there is none for the caller: the rest is checked all the same. `own_callback`
    /// is the gateway's public callback, if it has one; `mac` binds `id` to the browser's return.
    ///
    /// # Errors
    /// Every bad field.
    pub fn check(
        request: UnverifiedRequest,
        flow: Result<&Flow, &str>,
        id: VerificationId,
        mac: &[u8; MAC_BYTES],
        own_callback: Option<&Url>,
    ) -> Result<Self, Vec<Fault>> {
        let mut faults = Faults::default();
        if let Err(problem) = flow {
            faults.add("flow", problem);
        }
        let flow = flow.ok();
        let requires = flow.map(|flow| flow.requires).unwrap_or_default();
        let request_id = non_empty(request.request_id);
        if let Some(request_id) = &request_id {
            check_request_id(request_id, &mut faults);
        }
        let name = demanded("subject.name", non_empty(request.name), requires.name, &mut faults)
            .and_then(|name| faults.check("subject.name", PersonName::parse(&name)));
        let id_number = demanded("subject.id_number", non_empty(request.id_number), requires.id_number, &mut faults)
            .and_then(|number| faults.check("subject.id_number", IdDocument::parse(&number)));
        let reference_photo = check_reference_photo(request.reference_photo, flow, &mut faults);
        if request.intention_lacks_mode {
            faults.add("intention", "has no mode; set read_aloud, questions or nods");
        } else {
            check_intention(request.intention.as_ref(), flow, &mut faults);
        }
        let targets = check_targets(&request.success_url, &request.failure_url, flow, id, &mut faults);
        let redirect_url = if request.return_url.is_empty() {
            targets.as_ref().and_then(|_| {
                if own_callback.is_none() {
                    faults.add(
                        "return_url",
                        "is needed: this gateway has no http.public_url to take the callback itself",
                    );
                }
                own_callback.cloned()
            })
        } else {
            check_return_url(&request.return_url, flow, &mut faults)
        }
        .map(|url| redirect::bind(url, id, mac));
        if let Some(url) = redirect_url.as_ref().filter(|url| url.as_str().len() > MAX_VENDOR_URL) {
            let length = url.as_str().len();
            faults.add(
                "return_url",
                format!("has {length} characters with the gateway's parameters; the limit is {MAX_VENDOR_URL}"),
            );
        }
        faults.check_length("extra", &request.extra, MAX_EXTRA);
        if let Some(url) = &redirect_url {
            faults.check("extra", redirect::check_return_length(url, &request.extra));
        }
        faults.check_length("reference", &request.reference, MAX_REFERENCE);
        check_labels(&request.labels, &mut faults);
        faults.finish(|| Self {
            id,
            request_id,
            name,
            id_number,
            reference_photo,
            intention: request.intention,
            redirect_url,
            targets,
            extra: non_empty(request.extra),
            reference: request.reference,
            labels: request.labels,
        })
    }
}

fn non_empty(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

fn demanded<T>(field: &str, value: Option<T>, required: bool, faults: &mut Faults) -> Option<T> {
    if required && value.is_none() {
        faults.add(field, "is missing; the flow requires it");
    }
    value
}

fn check_request_id(request_id: &str, faults: &mut Faults) {
    if request_id.len() > MAX_REQUEST_ID || !request_id.bytes().all(|byte| byte.is_ascii_graphic()) {
        faults.add("request_id", format!("is not 1 to {MAX_REQUEST_ID} visible ASCII characters"));
    }
}

/// A script that the flow does not run could never pass, and the user's attempts would be billed
/// all the same.
fn check_intention(script: Option<&IntentionScript>, flow: Option<&Flow>, faults: &mut Faults) {
    if let Some(flow) = flow {
        match (script.map(IntentionScript::mode), flow.intention) {
            (None, Some(mode)) => {
                faults.add("intention", format!("is missing; the flow has the intention step {}", mode.name()));
            }
            (Some(_), None) => faults.add("intention", "is not taken; the flow has no intention step"),
            (Some(given), Some(mode)) if given != mode => {
                faults.add("intention", format!("is {}; the flow's intention step is {}", given.name(), mode.name()));
            }
            (Some(_), Some(_)) | (None, None) => {}
        }
    }
    if let Some(script) = script {
        script.check(faults);
    }
}

fn check_reference_photo(photo: Vec<u8>, flow: Option<&Flow>, faults: &mut Faults) -> Option<Vec<u8>> {
    let comparison = flow.map(|flow| flow.comparison);
    if photo.is_empty() {
        if comparison == Some(ComparisonSource::UploadedPhoto) {
            faults.add("reference_photo", "is missing; the flow compares with an uploaded photo");
        }
        return None;
    }
    if comparison == Some(ComparisonSource::Authority) {
        faults.add("reference_photo", "is not used; the flow compares with the authority's photo");
    }
    faults.check("reference_photo", check_photo(&photo))?;
    Some(photo)
}

fn check_return_url(text: &str, flow: Option<&Flow>, faults: &mut Faults) -> Option<Url> {
    let url = faults.check("return_url", check_target(text, flow))?;
    if let Some(reserved) = redirect::uses_vendor_parameter(&url) {
        faults.add("return_url", format!("has the parameter {reserved}, which the vendor adds; use another name"));
    }
    check_own_parameters("return_url", &url, faults);
    Some(url)
}

fn check_targets(
    success: &str,
    failure: &str,
    flow: Option<&Flow>,
    id: VerificationId,
    faults: &mut Faults,
) -> Option<FinalTargets> {
    if success.is_empty() && failure.is_empty() {
        return None;
    }
    let mut target = |field: &str, text: &str| {
        if text.is_empty() {
            faults.add(field, "is missing; success_url and failure_url are set together");
            return None;
        }
        faults.check_length(field, text, MAX_FINAL_URL);
        let url = faults.check(field, check_target(text, flow))?;
        check_own_parameters(field, &url, faults);
        Some(redirect::with_verification_id(url, id))
    };
    let (success_url, failure_url) = (target("success_url", success), target("failure_url", failure));
    Some(FinalTargets { success_url: success_url?, failure_url: failure_url? })
}

fn check_own_parameters(field: &str, url: &Url, faults: &mut Faults) {
    if let Some(reserved) = redirect::uses_gateway_parameter(url) {
        faults.add(field, format!("has the parameter {reserved}, which the gateway sets; use another name"));
    }
}

fn check_target(text: &str, flow: Option<&Flow>) -> Result<Url, String> {
    redirect::check_target(text, flow.map(|flow| flow.redirect_allow.as_slice()))
}

fn check_labels(labels: &BTreeMap<String, String>, faults: &mut Faults) {
    if labels.len() > MAX_LABELS {
        faults.add("labels", format!("has {} entries; the limit is {MAX_LABELS}", labels.len()));
    }
    for (i, (key, value)) in labels.iter().enumerate().take(MAX_LABELS) {
        let key_ok = (1..=MAX_LABEL_KEY).contains(&key.len())
            && key.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-.".contains(&byte));
        if !key_ok {
            faults.add(
                "labels",
                format!("key {i} (in order) is not 1 to {MAX_LABEL_KEY} characters of a-z, 0-9, _, -, ."),
            );
        }
        if value.chars().count() > MAX_LABEL_VALUE {
            faults.add("labels", format!("value {i} (in order of keys) is over {MAX_LABEL_VALUE} characters"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        flow::{AccessMode, RequiredFields},
        intention::IntentionMode,
        redirect::AllowedTarget,
    };
    use jiff::Timestamp;

    fn flow(comparison: ComparisonSource) -> Flow {
        Flow {
            name: "onboarding".into(),
            display_name: String::new(),
            rule_id: "1".into(),
            credential: "main".into(),
            access_mode: AccessMode::WechatH5Normal,
            comparison,
            requires: RequiredFields { name: true, id_number: true },
            intention: None,
            evidence: crate::domain::flow::EvidenceSelection::default(),
            evidence_retention: jiff::SignedDuration::from_hours(24),
            result_retention: jiff::SignedDuration::from_hours(24),
            redirect_allow: vec![AllowedTarget::parse("https://shop.example.com/").unwrap()],
        }
    }

    fn request() -> UnverifiedRequest {
        UnverifiedRequest {
            request_id: "r-1".into(),
            flow: "onboarding".into(),
            name: "张三".into(),
            id_number: "11010519491231002X".into(),
            reference_photo: vec![],
            intention: None,
            intention_lacks_mode: false,
            return_url: "https://shop.example.com/back?order=7".into(),
            success_url: String::new(),
            failure_url: String::new(),
            extra: String::new(),
            reference: String::new(),
            labels: BTreeMap::new(),
        }
    }

    fn check(request: UnverifiedRequest) -> Result<NewVerification, Vec<String>> {
        check_for(request, ComparisonSource::Authority, None)
    }

    fn check_for(
        request: UnverifiedRequest,
        comparison: ComparisonSource,
        own: Option<&str>,
    ) -> Result<NewVerification, Vec<String>> {
        let id = VerificationId::generate(Timestamp::from_second(1_700_000_000).unwrap());
        let own = own.map(|url| Url::parse(url).unwrap());
        NewVerification::check(request, Ok(&flow(comparison)), id, &[1; MAC_BYTES], own.as_ref())
            .map_err(|faults| faults.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_good_request_passes() {
        let new = check(request()).ok().unwrap();
        assert!(new.redirect_url.unwrap().as_str().starts_with("https://shop.example.com/back?order=7&faceid_"));
    }

    #[test]
    fn every_bad_field_is_named_at_once() {
        let bad = UnverifiedRequest {
            request_id: "has blank".into(),
            name: String::new(),
            id_number: "11010519491231002x".into(),
            reference_photo: vec![1],
            return_url: "https://evil.example/".into(),
            success_url: "https://shop.example.com/ok".into(),
            extra: "e".repeat(1025),
            reference: "r".repeat(129),
            labels: BTreeMap::from([("Bad Key".into(), String::new())]),
            ..request()
        };
        let fields: Vec<String> =
            check(bad).err().unwrap().iter().map(|f| f.split(':').next().unwrap().into()).collect();
        assert_eq!(
            fields,
            [
                "request_id",
                "subject.name",
                "subject.id_number",
                "reference_photo",
                "reference_photo",
                "failure_url",
                "return_url",
                "extra",
                "reference",
                "labels"
            ]
        );
    }

    #[test]
    fn the_return_url_is_measured_with_our_parameters() {
        let with_path = |length: usize| {
            let base = "https://shop.example.com/";
            UnverifiedRequest { return_url: format!("{base}{}", "p".repeat(length - base.len())), ..request() }
        };
        let added = check(with_path(100)).ok().unwrap().redirect_url.unwrap().as_str().len() - 100;
        assert!(check(with_path(MAX_VENDOR_URL - added)).is_ok());
        let faults = check(with_path(MAX_VENDOR_URL - added + 1)).err().unwrap();
        assert_eq!(faults, ["return_url: has 1025 characters with the gateway's parameters; the limit is 1024"]);
    }

    #[test]
    fn without_return_url_the_gateways_own_callback_is_used() {
        let targets = || UnverifiedRequest {
            return_url: String::new(),
            success_url: "https://shop.example.com/ok".into(),
            failure_url: "https://shop.example.com/no".into(),
            ..request()
        };
        assert!(check(targets()).err().unwrap()[0].contains("http.public_url"));
        let new =
            check_for(targets(), ComparisonSource::Authority, Some("https://gw.example.com/callback")).ok().unwrap();
        assert!(
            new.redirect_url.unwrap().as_str().starts_with("https://gw.example.com/callback?faceid_verification_id=")
        );
        let none = check(UnverifiedRequest { return_url: String::new(), ..request() }).ok().unwrap();
        assert!(none.redirect_url.is_none());
    }

    #[test]
    fn the_script_goes_with_the_flows_intention_step() {
        let id = VerificationId::generate(Timestamp::from_second(1_700_000_000).unwrap());
        let fault = |step, script| {
            let flow = Flow { intention: step, ..flow(ComparisonSource::Authority) };
            let request = UnverifiedRequest { intention: script, ..request() };
            let checked = NewVerification::check(request, Ok(&flow), id, &[1; MAC_BYTES], None);
            checked.err().map(|faults| faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
        };
        let aloud = || Some(IntentionScript::ReadAloud { text: "我同意开户".into() });
        assert_eq!(fault(None, None), None);
        assert_eq!(fault(Some(IntentionMode::ReadAloud), aloud()), None);
        let told = |text: &str| Some(format!("intention: {text}"));
        assert_eq!(fault(None, aloud()), told("is not taken; the flow has no intention step"));
        assert_eq!(fault(Some(IntentionMode::Nods), None), told("is missing; the flow has the intention step nods"));
        assert_eq!(fault(Some(IntentionMode::Nods), aloud()), told("is read_aloud; the flow's intention step is nods"));
    }

    #[test]
    fn the_photo_goes_with_the_comparison() {
        let photo = UnverifiedRequest { reference_photo: vec![0xFF, 0xD8, 0xFF, 0xE0], ..request() };
        assert!(check_for(photo, ComparisonSource::UploadedPhoto, None).ok().unwrap().reference_photo.is_some());
        let faults = check_for(request(), ComparisonSource::UploadedPhoto, None).err().unwrap();
        assert!(faults[0].starts_with("reference_photo: is missing"));
    }

    #[test]
    fn reserved_parameters_are_refused() {
        let reserved = UnverifiedRequest { return_url: "https://shop.example.com/?BizToken=1".into(), ..request() };
        assert!(check(reserved).err().unwrap()[0].contains("BizToken"));
        let own = UnverifiedRequest {
            return_url: String::new(),
            success_url: "https://shop.example.com/?faceid_verification_id=mine".into(),
            failure_url: "https://shop.example.com/".into(),
            ..request()
        };
        let faults = check_for(own, ComparisonSource::Authority, Some("https://gw.example.com/callback")).err();
        assert!(faults.unwrap()[0].starts_with("success_url: has the parameter faceid_verification_id"));
    }
}
