//! Harmless calls that tell whether a key pair and a RuleId are good.
//!
//! The vendor has no action for either. But it verifies the signature before it looks at what is
//! asked: a refusal of the question is proof that the key was taken.

use super::wire::{DetectAuthRequest, GetDetectInfoEnhancedRequest};
use crate::{
    domain::key_pair::KeyPair,
    tencent::{
        catalogue::{ErrorClass, classify},
        client::Client,
        error::{Error, ErrorKind},
        options::{CallOptions, Urgency},
    },
};

/// Of the form of a BizToken, and none: the vendor makes random ones.
const NOBODYS_TOKEN: &str = "00000000-0000-0000-0000-000000000000";
const NO_RULE: &str = "0";
const TEXT: &str = "1";

/// Verdict on the key pair that signed a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyVerdict {
    /// The vendor took the signature.
    Fine,
    /// The vendor knows the key, and refuses its account: in arrears, not activated.
    AccountBlocked,
    /// The vendor does not take the key, or its rights do not reach.
    Refused,
    /// Nothing: the call failed before, or for another reason.
    Undecided,
}

/// Verdict on the RuleId that a call named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleVerdict {
    /// A token was opened.
    Opened,
    /// The rule is known: the vendor asks for what this rule demands (name, ID number, photo) and
    /// the probe does not have.
    KnownByRequiredFields,
    /// Unknown to this account, or disabled in the console.
    Refused,
    /// Nothing: the call failed before, or for another reason.
    Undecided,
}

/// The verdict that an error gives on the key pair.
pub fn judge_key(error: &Error) -> KeyVerdict {
    let ErrorKind::Refused { code, .. } = &error.kind else { return KeyVerdict::Undecided };
    match error.class() {
        ErrorClass::Token | ErrorClass::Flow | ErrorClass::Storage => KeyVerdict::Fine,
        ErrorClass::Credential => KeyVerdict::Refused,
        ErrorClass::Account if code.starts_with("UnauthorizedOperation") => KeyVerdict::AccountBlocked,
        // Only what is said of a value: other faults of a request (no such action, a missing
        // header) are found at the door.
        ErrorClass::Request | ErrorClass::Unknown if is_about_a_value(code) => KeyVerdict::Fine,
        ErrorClass::Account
        | ErrorClass::Request
        | ErrorClass::Unknown
        | ErrorClass::Clock
        | ErrorClass::Throttled
        | ErrorClass::Quota
        | ErrorClass::Overload
        | ErrorClass::Transient => KeyVerdict::Undecided,
    }
}

/// The verdict that an error gives on the RuleId.
pub fn judge_rule(error: &ErrorKind) -> RuleVerdict {
    let ErrorKind::Refused { code, .. } = error else { return RuleVerdict::Undecided };
    match classify(code) {
        ErrorClass::Flow => RuleVerdict::Refused,
        // The rule decides whether name, ID number and photo are required: an answer that asks for
        // them has found the rule.
        ErrorClass::Request | ErrorClass::Unknown if is_about_a_value(code) => RuleVerdict::KnownByRequiredFields,
        ErrorClass::Token
        | ErrorClass::Credential
        | ErrorClass::Account
        | ErrorClass::Storage
        | ErrorClass::Request
        | ErrorClass::Unknown
        | ErrorClass::Clock
        | ErrorClass::Throttled
        | ErrorClass::Quota
        | ErrorClass::Overload
        | ErrorClass::Transient => RuleVerdict::Undecided,
    }
}

fn is_about_a_value(code: &str) -> bool {
    code == "InvalidParameterValue" || code.starts_with("InvalidParameterValue.")
}

fn of(credential: &str) -> CallOptions<'_> {
    CallOptions { credential, urgency: Urgency::within(None) }
}

impl Client {
    /// Asks about a token that nobody has: costs nothing and changes nothing. With the refusal that
    /// led to the verdict; an answer would be as good.
    pub async fn check_key(&self, credential: &str, pair: &KeyPair) -> (KeyVerdict, Option<Error>) {
        let question = GetDetectInfoEnhancedRequest {
            biz_token: NOBODYS_TOKEN,
            rule_id: NO_RULE,
            info_type: TEXT,
            ..GetDetectInfoEnhancedRequest::default()
        };
        match self.get_detect_info_enhanced(pair, &question, None, of(credential)).await {
            Ok(_) => (KeyVerdict::Fine, None),
            Err(error) => (judge_key(&error), Some(error)),
        }
    }

    /// Opens a token of the rule that nobody will see: free, without anybody's data and without a
    /// page to return to; it ends by itself after 7,200 s. With the refusal, if it was one.
    pub async fn check_rule(&self, credential: &str, pair: &KeyPair, rule_id: &str) -> (RuleVerdict, Option<Error>) {
        let request = DetectAuthRequest { rule_id, ..DetectAuthRequest::default() };
        match self.detect_auth(pair, &request, None, of(credential)).await {
            Ok(_) => (RuleVerdict::Opened, None),
            Err(error) => (judge_rule(&error.kind), Some(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::ask::ACTION, *};

    fn refused(code: &str) -> ErrorKind {
        ErrorKind::Refused { code: code.into(), request_id: String::new() }
    }

    fn error(kind: ErrorKind) -> Error {
        Error { action: ACTION, kind, tries: 1, earlier: None }
    }

    #[test]
    fn a_refused_question_is_a_taken_key_and_a_refused_key_is_not() {
        for (code, expected) in [
            ("FailedOperation.InvalidTokenParameter", KeyVerdict::Fine),
            ("InvalidParameterValue.BizTokenIllegal", KeyVerdict::Fine),
            ("InvalidParameterValue.BizTokenExpired", KeyVerdict::Fine),
            ("InvalidParameterValue.RuleIdNotExist", KeyVerdict::Fine),
            ("InvalidParameterValue.RuleIdDisabled", KeyVerdict::Fine),
            ("InvalidParameterValue", KeyVerdict::Fine),
            // How the vendor's published example refuses an illegal token.
            ("InvalidParameter", KeyVerdict::Fine),
            ("InvalidParameterValue.SomethingNew", KeyVerdict::Fine),
            ("UnauthorizedOperation.Arrears", KeyVerdict::AccountBlocked),
            ("UnauthorizedOperation.Nonactivated", KeyVerdict::AccountBlocked),
            ("AuthFailure.SignatureFailure", KeyVerdict::Refused),
            ("AuthFailure.SecretIdNotFound", KeyVerdict::Refused),
            ("AuthFailure.UnauthorizedOperation", KeyVerdict::Refused),
            ("AuthFailure.SignatureExpire", KeyVerdict::Undecided),
            ("MissingParameter", KeyVerdict::Undecided),
            ("InvalidAction", KeyVerdict::Undecided),
            ("IpNotInWhitelist", KeyVerdict::Undecided),
            ("RequestLimitExceeded", KeyVerdict::Undecided),
            ("InternalError", KeyVerdict::Undecided),
            ("Brand.New", KeyVerdict::Undecided),
        ] {
            assert_eq!(judge_key(&error(refused(code))), expected, "{code}");
        }
        assert_eq!(judge_key(&error(ErrorKind::HttpStatus(502))), KeyVerdict::Undecided);
    }

    #[test]
    fn a_rule_is_known_when_it_makes_demands() {
        for (code, expected) in [
            ("InvalidParameterValue.RuleIdNotExist", RuleVerdict::Refused),
            ("InvalidParameterValue.RuleIdDisabled", RuleVerdict::Refused),
            ("InvalidParameterValue", RuleVerdict::KnownByRequiredFields),
            ("MissingParameter", RuleVerdict::Undecided),
            ("AuthFailure.SignatureFailure", RuleVerdict::Undecided),
            ("RequestLimitExceeded", RuleVerdict::Undecided),
        ] {
            assert_eq!(judge_rule(&refused(code)), expected, "{code}");
        }
        assert_eq!(judge_rule(&ErrorKind::HttpStatus(502)), RuleVerdict::Undecided);
    }
}
