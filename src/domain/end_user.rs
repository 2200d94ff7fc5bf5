//! What the person who is verified is told when a call failed: what to do, in plain words, and nothing
//! of how the service is built or run.

use super::{fault::Fault, reason::Reason};

/// A language that there are texts in. Chinese unless the call asks for English.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Language {
    #[default]
    Chinese,
    English,
}

/// A text in each language.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    zh: &'static str,
    en: &'static str,
}

impl Language {
    /// The first of `accept-language` that there are texts in.
    pub fn of(accepted: &str) -> Self {
        let ours = |tag: &str| match tag.trim().get(..2)?.to_ascii_lowercase().as_str() {
            "zh" => Some(Self::Chinese),
            "en" => Some(Self::English),
            _ => None,
        };
        accepted.split(',').find_map(ours).unwrap_or_default()
    }

    /// The language's tag (BCP 47).
    pub fn tag(self) -> &'static str {
        match self {
            Self::Chinese => "zh-CN",
            Self::English => "en",
        }
    }
}

impl Told {
    /// The text in a language.
    pub fn text(self, language: Language) -> &'static str {
        match language {
            Language::Chinese => self.zh,
            Language::English => self.en,
        }
    }
}

const ID_NUMBER: Told = Told {
    zh: "身份证号有误，请核对后重新填写。",
    en: "The ID number is mistyped. Check it and enter it again.",
};
const NAME: Told =
    Told { zh: "姓名有误，请核对后重新填写。", en: "The name is mistyped. Check it and enter it again." };
const PHOTO: Told =
    Told { zh: "照片无法使用，请换一张。", en: "The photo cannot be used. Take another one." };
const TOO_OFTEN: Told = Told {
    zh: "核验次数过多，请稍后再试。",
    en: "There were too many verifications in a short time. Try again later.",
};
const BUSY: Told = Told { zh: "系统繁忙，请稍后再试。", en: "The service is busy. Try again in a moment." };
const UNFINISHED: Told = Told {
    zh: "核验尚未完成，请先完成核验。",
    en: "The verification is not finished yet. Finish it first.",
};
const ENDED: Told = Told { zh: "本次核验已结束。", en: "This verification has ended." };
const START_AGAIN: Told =
    Told { zh: "本次核验已失效，请重新发起。", en: "This verification is no longer valid. Start again." };
const UNAVAILABLE: Told = Told {
    zh: "暂时无法核验，请稍后再试或联系客服。",
    en: "Verification is not available at the moment. Try again later, or contact support.",
};

/// The text for a failure. `faults`: the fields at fault, where there are some.
pub fn told(reason: Reason, faults: &[Fault]) -> Told {
    match reason {
        // Of several faults the one that the person can mend.
        Reason::InvalidFields => [("subject.id_number", ID_NUMBER), ("subject.name", NAME), ("reference_photo", PHOTO)]
            .into_iter()
            .find(|(field, _)| faults.iter().any(|fault| fault.field == *field))
            .map_or(UNAVAILABLE, |(_, told)| told),
        Reason::PersonLimitReached => TOO_OFTEN,
        Reason::StillPending => UNFINISHED,
        Reason::AlreadyFinal => ENDED,
        Reason::CallbackNotBound
        | Reason::VerificationNotFound
        | Reason::Redacted
        | Reason::TokenEnded
        | Reason::VendorTokenGone => START_AGAIN,
        _ if reason.passes_by_itself() => BUSY,
        _ => UNAVAILABLE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use strum::VariantArray;

    #[test]
    fn the_first_language_that_there_are_texts_in_counts() {
        for (accepted, tag) in [
            ("en", "en"),
            ("en-GB,zh;q=0.5", "en"),
            ("fr, EN-us;q=0.8", "en"),
            ("zh-TW,en", "zh-CN"),
            ("fr", "zh-CN"),
            ("", "zh-CN"),
            ("é", "zh-CN"),
        ] {
            assert_eq!(Language::of(accepted).tag(), tag, "{accepted}");
        }
    }

    #[test]
    fn the_person_is_told_what_they_can_mend() {
        let fault = |field: &str| Fault { field: field.into(), problem: "is wrong".into() };
        let told =
            |fields: &[&str]| told(Reason::InvalidFields, &fields.iter().map(|field| fault(field)).collect::<Vec<_>>());
        assert_eq!(told(&["success_url", "subject.id_number"]), ID_NUMBER);
        assert_eq!(told(&["success_url"]), UNAVAILABLE);
    }

    #[test]
    fn no_text_says_how_the_service_is_built() {
        for reason in Reason::VARIANTS {
            let told = told(*reason, &[]);
            for text in [told.zh, told.en] {
                let lower = text.to_ascii_lowercase();
                assert!(
                    !["tencent", "腾讯", "gateway", "网关", "credential", "database"]
                        .iter()
                        .any(|word| lower.contains(word))
                );
            }
        }
    }
}
