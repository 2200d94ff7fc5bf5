//! Conditions of a verification that cannot be checked from here.

use super::finding::{Finding, Status};
use crate::domain::flow::{AccessMode, Flows};
use url::Url;

/// Says what somebody must look at instead.
pub(super) fn note(flows: &Flows, own_callback: Option<&Url>, findings: &mut Vec<Finding>) {
    let mut note = |check, subject: String, finding, advice| {
        findings.push(Finding::new(check, subject, Status::Note, finding, advice));
    };
    let names = flows.keys().cloned().collect::<Vec<_>>().join(", ");
    let finding = "what the console has for the RuleId cannot be seen: mode, comparison, OCR, consent, retries";
    note("console", names, finding, "compare each page of the console with the flow's settings");

    let native = flows.values().filter(|flow| flow.access_mode == AccessMode::WechatH5NativeOverlay);
    let native = native.map(|flow| flow.name.clone()).collect::<Vec<_>>().join(", ");
    if !native.is_empty() {
        let finding = "whether the official account has authorised FaceID cannot be seen";
        note("wechat", native, finding, "an attempt that ends with code 203 or 204 says that it has not");
    }
    if let Some(url) = own_callback {
        let finding = "whether phones reach it cannot be seen";
        note("callback", url.to_string(), finding, "open it on a phone: the gateway answers with a page of its own");
    }
    let finding = "balance, packages, alarms and the quota of the account cannot be seen";
    note("account", "Tencent Cloud".to_owned(), finding, "look into the console");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use std::iter;

    #[test]
    fn only_what_concerns_the_configuration_is_noted() {
        let notes = |access_mode: &str, public_url: &str| {
            let text = format!(
                "[http]\n{public_url}\n[vault]\nkeys = \"k1:AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=\"\n\
                 [auth]\nmode = \"none\"\n[[flows]]\nname = \"onboarding\"\nrule_id = \"1\"\ncredential = \"main\"\n\
                 access_mode = \"{access_mode}\"\ncomparison = \"authority\"\n"
            );
            let config = Config::from_toml(&text, "test", iter::empty()).unwrap_or_else(|error| panic!("{error}"));
            let mut findings = Vec::new();
            note(&config.flows, config.own_callback.as_ref(), &mut findings);
            assert!(findings.iter().all(|finding| finding.status == Status::Note && !finding.advice.is_empty()));
            findings.into_iter().map(|finding| (finding.check, finding.subject)).collect::<Vec<_>>()
        };
        let [console, account] = [("console", "onboarding"), ("account", "Tencent Cloud")]
            .map(|(check, subject)| (check, subject.to_owned()));
        assert_eq!(notes("wechat_h5_normal", ""), [console.clone(), account.clone()]);
        assert_eq!(
            notes("wechat_h5_native_overlay", "public_url = \"https://gw.example.com\""),
            [
                console,
                ("wechat", "onboarding".to_owned()),
                ("callback", "https://gw.example.com/callback".to_owned()),
                account
            ]
        );
    }
}
