//! Credentials, RuleIds and the quota, by calls that are free and harmless.

use super::finding::{Finding, Status};
use crate::{
    config::CredentialConfig,
    credential::{CredentialError, CredentialVault, SourceKind, ask_source},
    domain::{
        clock::Clock,
        flow::{ComparisonSource, Flow, Flows},
        key_pair::KeyPair,
    },
    store::Store,
    tencent::{
        self, ActionQuotas, Client, ClientConfig, ErrorClass, ErrorKind, KeyVerdict, RuleVerdict, VendorClock,
        catalogue::classify,
        sts::{StsClient, StsConfig},
    },
    vault::Keyring,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Checks that the vendor decides on.
pub(super) struct Subjects<'a> {
    pub(super) tencent: &'a ClientConfig,
    pub(super) sts: StsConfig,
    pub(super) credentials: &'a [(String, CredentialConfig)],
    pub(super) flows: &'a Flows,
    pub(super) keyring: Arc<Keyring>,
    /// None when it is not there or cannot be read.
    pub(super) store: Option<Arc<dyn Store>>,
}

/// A key pair, and whether the vendor took it.
struct Credential {
    pair: KeyPair,
    is_fine: bool,
}

/// Checks credentials, flows and quota; asks nothing when the vendor was not `reached`.
pub(super) async fn check(subjects: Subjects<'_>, reached: bool, clock: Arc<dyn Clock>, findings: &mut Vec<Finding>) {
    let clock = Arc::new(VendorClock::new(clock));
    let client = match Client::new(subjects.tencent, Arc::clone(&clock)) {
        Ok(client) => client,
        Err(error) => {
            let advice = "install CA certificates (package ca-certificates)";
            findings.push(Finding::new("tls", "client", Status::Fail, error.to_string(), advice));
            return;
        }
    };
    let mut calls = Calls::default();
    let mut credentials = BTreeMap::new();
    let KeyPairs { first, second } = key_pairs(&subjects, &clock, findings).await;
    for (name, pair) in first {
        let is_fine = if reached {
            let checked = client.check_key(&name, &pair).await;
            calls.count(checked.1.as_ref());
            let finding = credential_finding(&name, checked);
            let is_fine = finding.status == Status::Ok;
            findings.push(finding);
            is_fine
        } else {
            findings.push(not_asked("credential", &name, "the vendor is not reached"));
            false
        };
        credentials.insert(name, Credential { pair, is_fine });
    }
    for (name, pair) in second.into_iter().filter(|_| reached) {
        let checked = client.check_key(&name, &pair).await;
        calls.count(checked.1.as_ref());
        let finding = credential_finding(&format!("{name}, second key pair {}", pair.masked_id()), checked);
        // The first serves; this one is what is left when it is refused.
        let status = if finding.status == Status::Fail { Status::Warn } else { finding.status };
        findings.push(Finding { status, ..finding });
    }
    for flow in subjects.flows.values() {
        findings.push(match credentials.get(&flow.credential) {
            None => {
                let finding =
                    format!("its credential {} is neither in the configuration nor in the vault", flow.credential);
                Finding::new("flow", &flow.name, Status::Fail, finding, "add the credential, or correct its name")
            }
            Some(Credential { is_fine: false, .. }) => not_asked("flow", &flow.name, "its credential is not fine"),
            Some(Credential { pair, is_fine: true }) => {
                let checked = client.check_rule(&flow.credential, pair, &flow.rule_id).await;
                calls.count(checked.1.as_ref());
                flow_finding(flow, checked)
            }
        });
    }
    findings.push(calls.finding(subjects.tencent.quotas));
}

/// By the name of their credential.
#[derive(Default)]
struct KeyPairs {
    first: BTreeMap<String, KeyPair>,
    /// Of the vault: what serves while the first is refused.
    second: Vec<(String, KeyPair)>,
}

/// The key pairs of each credential: what the vault has goes before the configuration, and a source
/// before both.
async fn key_pairs(subjects: &Subjects<'_>, clock: &Arc<VendorClock>, findings: &mut Vec<Finding>) -> KeyPairs {
    let KeyPairs { first: mut pairs, mut second } = KeyPairs::default();
    for (name, configured) in subjects.credentials {
        if let CredentialConfig::Static(pair) = configured {
            pairs.insert(name.clone(), pair.clone());
        }
    }
    if let Some(store) = subjects.store.clone() {
        let vault = CredentialVault::new(Arc::clone(&subjects.keyring), store);
        let of_flows = subjects.flows.values().map(|flow| flow.credential.clone());
        let of_roles = subjects.credentials.iter().filter_map(|(_, configured)| match configured {
            CredentialConfig::Source(SourceKind::AssumeRole { based_on, .. }) => Some(based_on.clone()),
            _ => None,
        });
        let of_configuration = subjects.credentials.iter().map(|(name, _)| name.clone());
        let mut names: BTreeSet<String> = of_configuration.chain(of_flows).chain(of_roles).collect();
        // A source goes before what the vault has of the same name.
        for (name, configured) in subjects.credentials {
            if matches!(configured, CredentialConfig::Source(_)) {
                names.remove(name);
            }
        }
        for name in names {
            match live_of(&vault, &name).await {
                Ok((pair, others)) => {
                    second.extend(others.into_iter().map(|other| (name.clone(), other)));
                    if pairs.get(&name).is_some_and(|configured| *configured != pair) {
                        let finding = "the configuration has another key pair than the vault, and the vault's is used";
                        let advice = "put it in use with `credential rotate`, or take it out of the configuration";
                        findings.push(Finding::new("credential", &name, Status::Warn, finding, advice));
                    }
                    pairs.insert(name, pair);
                }
                Err(CredentialError::Absent(_)) => {}
                Err(error @ CredentialError::Disabled(_)) => {
                    pairs.remove(&name);
                    findings.push(Finding::new("credential", name, Status::Fail, error.to_string(), ""));
                }
                Err(error) => {
                    let advice =
                        "put the key that sealed it back into vault.keys; the gateway does not start without it";
                    findings.push(Finding::new("credential", name, Status::Fail, error.to_string(), advice));
                }
            }
        }
    }
    ask_sources(subjects, clock, &mut pairs, findings).await;
    KeyPairs { first: pairs, second }
}

/// The first key pair, and the others.
async fn live_of(vault: &CredentialVault, name: &str) -> Result<(KeyPair, Vec<KeyPair>), CredentialError> {
    let row = vault.find(name).await?;
    match row.key_pairs.split_first() {
        Some((first, others)) if row.disabled_at_ms.is_none() => {
            let others = others.iter().map(|sealed| vault.open(name, sealed)).collect::<Result<_, _>>()?;
            Ok((vault.open(name, first)?, others))
        }
        _ => Err(CredentialError::Disabled(name.to_owned())),
    }
}

/// Assumed roles last: what they are based on may be of a source too.
async fn ask_sources(
    subjects: &Subjects<'_>,
    clock: &Arc<VendorClock>,
    pairs: &mut BTreeMap<String, KeyPair>,
    findings: &mut Vec<Finding>,
) {
    let sts = match StsClient::new(subjects.sts.clone(), subjects.tencent, Arc::clone(clock)) {
        Ok(sts) => sts,
        Err(error) => {
            let advice = "install CA certificates (package ca-certificates)";
            findings.push(Finding::new("tls", "STS", Status::Fail, error.to_string(), advice));
            return;
        }
    };
    let sources = subjects.credentials.iter().filter_map(|(name, configured)| match configured {
        CredentialConfig::Source(kind) => Some((name, kind)),
        CredentialConfig::Static(_) => None,
    });
    let (roles, others): (Vec<_>, Vec<_>) =
        sources.partition(|(_, kind)| matches!(kind, SourceKind::AssumeRole { .. }));
    for (name, kind) in others.into_iter().chain(roles) {
        let base = match kind {
            SourceKind::AssumeRole { based_on, .. } => pairs.get(based_on).cloned().map(Arc::new),
            _ => None,
        };
        match ask_source(kind, base, &sts, &**clock).await {
            Ok(pair) => {
                pairs.insert(name.clone(), KeyPair::clone(&pair));
            }
            Err(problem) => {
                pairs.remove(name);
                let advice = "check the credential's source in the configuration, and the role's policy in the console";
                findings.push(Finding::new("credential", name, Status::Fail, problem, advice));
            }
        }
    }
}

fn not_asked(check: &'static str, subject: &str, why: &str) -> Finding {
    Finding::new(check, subject, Status::Warn, format!("not checked: {why}"), "see above")
}

fn credential_finding(name: &str, (verdict, error): (KeyVerdict, Option<tencent::Error>)) -> Finding {
    let told = error.as_ref().map_or_else(|| "answered".to_owned(), |error| error.kind.to_string());
    match verdict {
        KeyVerdict::Fine => {
            let finding = format!("the key is fine: a question about nobody's token was {told}");
            Finding::ok("credential", name, finding)
        }
        KeyVerdict::AccountBlocked => {
            let finding = format!("the account is blocked: {told}");
            let found = Finding::new("credential", name, Status::Fail, finding, hint(error.as_ref()));
            Finding { manual: "docs/GOING_LIVE.md#account-and-activation", ..found }
        }
        KeyVerdict::Refused => Finding::new("credential", name, Status::Fail, told, hint(error.as_ref())),
        KeyVerdict::Undecided => undecided("credential", name, error.as_ref()),
    }
}

fn flow_finding(flow: &Flow, (verdict, error): (RuleVerdict, Option<tencent::Error>)) -> Finding {
    let (check, name) = ("flow", &flow.name);
    let told = error.as_ref().map_or_else(String::new, |error| error.kind.to_string());
    let demands = flow.requires.name || flow.requires.id_number || flow.comparison == ComparisonSource::UploadedPhoto;
    match verdict {
        RuleVerdict::Opened => {
            let finding = "the RuleId is known: a token was opened (free, shown to nobody, over after 7,200 s)";
            Finding::ok(check, name, finding)
        }
        RuleVerdict::KnownByRequiredFields if demands => {
            let finding = format!("the RuleId is known: without anybody's data it was {told}; no token was opened");
            Finding::ok(check, name, finding)
        }
        RuleVerdict::KnownByRequiredFields => {
            let finding = format!("the RuleId demands more than the flow does: {told}");
            let advice = "compare the flow's requires and comparison with the console";
            Finding::new(check, name, Status::Warn, finding, advice)
        }
        RuleVerdict::Refused => Finding::new(check, name, Status::Fail, told, hint(error.as_ref())),
        RuleVerdict::Undecided => undecided(check, name, error.as_ref()),
    }
}

/// A call that told nothing. What passes by itself is no failure of this gateway.
fn undecided(check: &'static str, subject: &str, error: Option<&tencent::Error>) -> Finding {
    let told = error.map_or_else(|| "no answer".to_owned(), |error| error.kind.to_string());
    let passes = error.is_some_and(|error| {
        matches!(error.kind, ErrorKind::Refused { .. })
            && matches!(error.kind.class(), ErrorClass::Throttled | ErrorClass::Transient)
    });
    let status = if passes { Status::Warn } else { Status::Fail };
    Finding::new(check, subject, status, format!("cannot be told: {told}"), hint(error))
}

fn hint(error: Option<&tencent::Error>) -> &'static str {
    error.map_or("try again", |error| error.known().hint_en)
}

/// How the vendor took the number of calls: only how each ended, as a throttle before a try that
/// helped is not told by the client. Measuring the vendor's limit would take a burst, which other
/// callers would pay for.
#[derive(Default)]
struct Calls {
    made: u32,
    throttled: u32,
}

impl Calls {
    fn count(&mut self, error: Option<&tencent::Error>) {
        self.made += 1;
        self.throttled += u32::from(error.is_some_and(|error| classify(error.code()) == ErrorClass::Throttled));
    }

    fn finding(&self, quotas: ActionQuotas) -> Finding {
        let Self { made, throttled } = self;
        let subject = "calls to Tencent";
        if *made == 0 {
            return not_asked("quota", subject, "no call was made");
        }
        let ActionQuotas { detect_auth, get_detect_info_enhanced, .. } = quotas;
        let finding = format!(
            "set to {detect_auth} a second of DetectAuth and {get_detect_info_enhanced} of GetDetectInfoEnhanced for each \
             credential; {throttled} of the {made} call(s) of this examination ended throttled"
        );
        if *throttled == 0 {
            Finding::ok("quota", subject, finding + "; how many more Tencent would take is not measured")
        } else {
            let advice = "something else uses up this account's quota: lower tencent.quotas, or ask Tencent for more";
            Finding::new("quota", subject, Status::Warn, finding, advice)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUOTAS: ActionQuotas =
        ActionQuotas { detect_auth: 100, get_detect_info_enhanced: 100, get_wechat_bill_details: 20 };

    fn refused(code: &str) -> tencent::Error {
        let kind = ErrorKind::Refused { code: code.into(), request_id: "r-1".into() };
        tencent::Error { action: "DetectAuth", kind, tries: 2, earlier: None }
    }

    #[test]
    fn what_passes_by_itself_is_a_warning_and_what_does_not_a_failure() {
        for (code, status) in [
            ("RequestLimitExceeded", Status::Warn),
            ("InternalError", Status::Warn),
            ("AuthFailure.SignatureExpire", Status::Fail),
            ("IpNotInWhitelist", Status::Fail),
            ("Brand.New", Status::Fail),
        ] {
            let finding = credential_finding("main", (KeyVerdict::Undecided, Some(refused(code))));
            assert_eq!(finding.status, status, "{code}");
            assert!(finding.finding.contains(code) && finding.finding.contains("r-1"), "{}", finding.finding);
            assert!(!finding.advice.is_empty());
        }
        let timeout = tencent::Error {
            action: "DetectAuth",
            kind: ErrorKind::Timeout { timeout_ms: 1 },
            tries: 1,
            earlier: None,
        };
        assert_eq!(undecided("credential", "main", Some(&timeout)).status, Status::Fail);
    }

    #[test]
    fn throttled_calls_are_told() {
        let mut calls = Calls::default();
        assert_eq!(calls.finding(QUOTAS).status, Status::Warn);
        calls.count(None);
        calls.count(Some(&refused("InvalidParameterValue")));
        assert_eq!(calls.finding(QUOTAS).status, Status::Ok);
        calls.count(Some(&refused("RequestLimitExceeded.UinLimitExceeded")));
        let finding = calls.finding(QUOTAS);
        assert_eq!(finding.status, Status::Warn);
        assert!(finding.finding.contains("1 of the 3 call(s)"), "{}", finding.finding);
    }
}
