//! The vendor's errors, with the party that acts and a hint for it: the one table behind the class,
//! the hints that callers get, and docs/VENDOR_ERRORS.md.

use crate::domain::responsible_party::ResponsibleParty;

/// Class of a refusal: decides on retries and on the responsible party.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorClass {
    /// Our clock differs from the vendor's by over five minutes.
    Clock,
    /// The key pair, or its rights.
    Credential,
    /// The vendor account: not activated, in arrears, blocked.
    Account,
    /// The storage (COS) in which the account keeps the vendor's files. The key pair is good.
    Storage,
    /// The RuleId, or the flow's encryption.
    Flow,
    /// The BizToken.
    Token,
    /// Too many calls, says the vendor: ask again later.
    Throttled,
    /// Too many calls of this account, say we before the vendor does.
    Quota,
    /// Too many calls for this process.
    Overload,
    /// Tencent reports an internal error: ask again.
    Transient,
    /// The request itself.
    Request,
    /// A code that is not in the table: not to be repeated.
    Unknown,
}

/// An entry of the table.
#[derive(Debug)]
pub struct Entry {
    /// The vendor's code; `Family.*` for those of a family that are not listed; `*` for all others;
    /// or, when there was no answer, our word for what happened.
    pub code: &'static str,
    pub class: ErrorClass,
    pub acts: ResponsibleParty,
    /// The hint for people. Without personal data.
    pub hint_en: &'static str,
    pub hint_zh: &'static str,
}

/// The entry for a code in answer to an action: most codes mean the same everywhere.
pub fn of_answer(action: &str, code: &str) -> &'static Entry {
    let is_this = |(of, entry): &&(&str, Entry)| *of == action && entry.code == code;
    BY_ACTION.iter().find(is_this).map_or_else(|| of_code(code), |(_, entry)| entry)
}

/// The entry for a code: its own, else its family's, else that of unknown codes.
pub fn of_code(code: &str) -> &'static Entry {
    let family = code.split('.').next().unwrap_or_default();
    let is_family = |entry: &&Entry| entry.code.strip_suffix(".*") == Some(family);
    let listed = CODES.iter().find(|entry| entry.code == code);
    listed.or_else(|| FAMILIES.iter().find(is_family)).unwrap_or(&UNKNOWN)
}

/// Classes an error code of the vendor's API.
pub fn classify(code: &str) -> ErrorClass {
    of_code(code).class
}

const fn entry(
    code: &'static str,
    class: ErrorClass,
    acts: ResponsibleParty,
    hint_en: &'static str,
    hint_zh: &'static str,
) -> Entry {
    Entry { code, class, acts, hint_en, hint_zh }
}

use ErrorClass::{
    Account, Clock, Credential, Flow, Overload, Quota, Request, Storage, Throttled, Token, Transient, Unknown,
};
use ResponsibleParty::{Caller, Operator, Vendor};

/// Codes that mean something else in answer to an action. A question about a result has no
/// parameter of the caller's but the token, and the vendor's published example refuses an illegal
/// one so.
#[rustfmt::skip]
pub static BY_ACTION: &[(&str, Entry)] = &[
    ("GetDetectInfoEnhanced", entry("InvalidParameter", Token, Operator,
        "Tencent rejects the token. If the flow's rule_id or credential was changed, restore it; otherwise Tencent has deleted the token (after 3 days): create a new verification.",
        "腾讯云不接受该 BizToken：流程的 rule_id 或凭证是否改过？若未改过，则该 BizToken 已被清除（保留 3 天）：请创建新的核身。")),
    ("GetDetectInfoEnhanced", entry("InvalidParameterValue", Token, Operator,
        "Tencent rejects the token. If the flow's rule_id or credential was changed, restore it; otherwise Tencent has deleted the token (after 3 days): create a new verification.",
        "腾讯云不接受该 BizToken：流程的 rule_id 或凭证是否改过？若未改过，则该 BizToken 已被清除（保留 3 天）：请创建新的核身。")),
];

/// Every documented code.
#[rustfmt::skip]
pub static CODES: &[Entry] = &[
    entry("AuthFailure.SignatureExpire", Clock, Operator,
        "The gateway's clock is more than 5 minutes off: synchronise it (NTP) and run `doctor`.",
        "网关所在机器的时钟偏差超过 5 分钟：请校准时钟（NTP），可用 `doctor` 查看偏差。"),
    entry("AuthFailure.SignatureFailure", Credential, Operator,
        "The SecretKey does not match the SecretId: rotate the credential to a valid key pair.",
        "SecretKey 与 SecretId 不匹配：请重新配置该凭证的密钥对。"),
    entry("AuthFailure.SecretIdNotFound", Credential, Operator,
        "Tencent does not know the SecretId: it was deleted, disabled or mistyped. Check API keys in the CAM console.",
        "SecretId 不存在：可能已被删除、禁用或填写有误，请在访问管理（CAM）控制台的 API 密钥中核对。"),
    entry("AuthFailure.InvalidSecretId", Credential, Operator,
        "The SecretId does not belong to a cloud API key: create one in the CAM console.",
        "SecretId 不是云 API 密钥：请在访问管理（CAM）控制台新建 API 密钥并使用它。"),
    entry("AuthFailure.InvalidAuthorization", Credential, Operator,
        "The signature header is malformed: check the credential for stray characters, and whether a proxy rewrites headers.",
        "签名请求头格式不正确：请检查凭证中是否混入多余字符，以及中间代理是否改写了请求头。"),
    entry("AuthFailure.TokenFailure", Credential, Operator,
        "The temporary token is invalid or expired: renew the credential.",
        "临时凭证的 Token 不正确或已过期：请更新凭证。"),
    entry("AuthFailure.UnauthorizedOperation", Credential, Operator,
        "The key is valid but not authorised for this action: grant its CAM user the FaceID actions (faceid:*).",
        "密钥有效，但无权调用该接口：请在访问管理（CAM）中为对应用户授予人脸核身权限（faceid:*）。"),
    entry("AuthFailure.MFAFailure", Credential, Operator,
        "The account requires multi-factor authentication for this key: use the key of a CAM user with programmatic access.",
        "账号要求该密钥通过多因素认证（MFA）：请改用供程序调用的 CAM 子用户密钥。"),
    entry("FailedOperation.StsUnAuthErrError", Storage, Operator,
        "The account has not authorised FaceID to store files in its COS: authorise it in the console.",
        "账号尚未授权人脸核身访问其对象存储（COS）：请在控制台完成授权。"),

    entry("UnauthorizedOperation", Account, Operator,
        "The Tencent account may not use FaceID: check activation, payment and rights in the console.",
        "腾讯云账号无权使用人脸核身：请在控制台检查开通状态、费用和权限。"),
    entry("UnauthorizedOperation.ActivateError", Account, Operator,
        "Activating FaceID has failed: retry in the console, or contact Tencent support.",
        "人脸核身服务开通失败：请在控制台重新开通，或联系腾讯云客服。"),
    entry("UnauthorizedOperation.Activating", Account, Operator,
        "FaceID is being activated: wait until the console shows it as active.",
        "人脸核身服务正在开通：请等待控制台显示开通完成。"),
    entry("UnauthorizedOperation.Arrears", Account, Operator,
        "The Tencent account is in arrears: settle the bill in the console.",
        "腾讯云账号已欠费：请在控制台充值，充值后即可恢复调用。"),
    entry("UnauthorizedOperation.ChargeStatusException", Account, Operator,
        "The account's billing state is abnormal: check the billing center, or contact Tencent support.",
        "账号计费状态异常：请在费用中心检查，或联系腾讯云客服。"),
    entry("UnauthorizedOperation.NonAuthorize", Account, Operator,
        "The account has not completed real-name verification: complete it in the console.",
        "账号尚未完成实名认证：请在控制台完成认证。"),
    entry("UnauthorizedOperation.Nonactivated", Account, Operator,
        "FaceID is not activated for this account: activate it in the console.",
        "该账号未开通人脸核身服务：请在控制台开通。"),
    entry("IpInBlacklist", Account, Operator,
        "The gateway's egress address is on the account's blocklist: remove it, or use another egress address.",
        "网关的出口 IP 在黑名单中：请将其移出，或更换出口 IP。"),
    entry("IpNotInWhitelist", Account, Operator,
        "The gateway's egress address is not on the account's allowlist: add it.",
        "网关的出口 IP 不在白名单中：请将其加入白名单。"),

    entry("InvalidParameterValue.RuleIdNotExist", Flow, Operator,
        "The flow's rule_id is unknown to this Tencent account: compare it, and the flow's credential, with the console.",
        "流程的 rule_id 在该腾讯云账号下不存在：请与控制台核对 rule_id 和流程所用的凭证。"),
    entry("InvalidParameterValue.RuleIdDisabled", Flow, Operator,
        "The flow's RuleId is disabled: enable it in the FaceID console, or use another one.",
        "流程的 RuleId 已停用：请在人脸核身控制台启用，或更换 RuleId。"),

    entry("InvalidParameterValue.BizTokenExpired", Token, Caller,
        "The token has expired (7,200 s to verify, 3 days for results): create a new verification.",
        "BizToken 已过期（核身有效期 7,200 秒，结果保留 3 天）：请创建新的核身。"),
    entry("InvalidParameterValue.BizTokenIllegal", Token, Operator,
        "The token belongs to another RuleId or account: if the flow's rule_id or credential was changed, restore it until the old tokens have expired.",
        "BizToken 不属于该 RuleId 或账号：流程的 rule_id 或凭证是否改过？请先改回，待旧 BizToken 全部到期后再切换。"),
    entry("FailedOperation.InvalidTokenParameter", Token, Caller,
        "Tencent does not know the token, or no longer does (results are kept for 3 days): create a new verification.",
        "腾讯云侧没有该 BizToken（结果只保留 3 天）：请创建新的核身。"),

    entry("RequestLimitExceeded", Throttled, Caller,
        "Too many calls for this action: retry later, with increasing delays. If it persists, the operator asks Tencent for a higher limit.",
        "该接口调用过于频繁：请稍后重试并逐步延长间隔。若持续出现，请运维向腾讯云申请提高频率上限。"),
    entry("RequestLimitExceeded.UinLimitExceeded", Throttled, Caller,
        "Too many calls for this Tencent account: retry later. If it persists, the operator asks Tencent for a higher limit.",
        "该腾讯云账号调用过于频繁：请稍后重试。若持续出现，请运维向腾讯云申请提高频率上限。"),
    entry("RequestLimitExceeded.GlobalRegionUinLimitExceeded", Throttled, Caller,
        "Too many calls for this Tencent account, all regions together: retry later. If it persists, the operator asks for a higher limit.",
        "该腾讯云账号在所有地域的调用总量过于频繁：请稍后重试。若持续出现，请运维申请提高频率上限。"),
    entry("RequestLimitExceeded.IPLimitExceeded", Throttled, Operator,
        "Too many calls from the gateway's egress address: find what else calls from it, or use several addresses.",
        "网关出口 IP 的调用过于频繁：请排查同一出口的其他调用方，或使用多个出口 IP。"),
    entry("FailedOperation.RequestLimitExceeded", Throttled, Caller,
        "Too many calls to Tencent: retry later, with increasing delays.",
        "腾讯云侧调用频率超限：请稍后重试并逐步延长间隔。"),
    entry("LimitExceeded", Throttled, Operator,
        "A quota of the Tencent account is exhausted: raise it in the console.",
        "腾讯云账号的配额已用尽：请在控制台查看并提升配额。"),

    entry("InternalError", Transient, Vendor,
        "Tencent reports an internal error: retry. If it persists, the operator sends Tencent's request id to Tencent support.",
        "腾讯云内部错误：请重试。若持续出现，请运维将腾讯云的 RequestId 提供给腾讯云客服。"),
    entry("InternalError.UnKnown", Transient, Vendor,
        "Tencent reports an internal error of unknown cause: retry. If it persists, contact Tencent support.",
        "腾讯云未知内部错误：请重试。若持续出现，请联系腾讯云客服。"),
    entry("InternalError.EncryptSystemError", Transient, Vendor,
        "Tencent's encryption service failed: retry. If it persists, contact Tencent support.",
        "腾讯云加密系统异常：请重试。若持续出现，请联系腾讯云客服。"),
    entry("FailedOperation.DbError", Transient, Vendor,
        "Tencent's database failed: retry. If it persists, contact Tencent support.",
        "腾讯云数据库异常：请重试。若持续出现，请联系腾讯云客服。"),
    entry("FailedOperation.UnKnown", Transient, Vendor,
        "Tencent failed for an unknown cause: retry. If it persists, contact Tencent support.",
        "腾讯云未知错误：请重试。若持续出现，请联系腾讯云客服。"),
    entry("FailedOperation.EncryptSystemError", Transient, Vendor,
        "Tencent could not encrypt its response: retry. If it persists, contact Tencent support.",
        "腾讯云加密响应失败：请重试。若持续出现，请联系腾讯云客服。"),
    entry("FailedOperation.FileSaveError", Transient, Vendor,
        "Tencent could not save a file: retry. If it persists, contact Tencent support.",
        "腾讯云保存文件失败：请重试。若持续出现，请联系腾讯云客服。"),
    entry("ServiceUnavailable", Transient, Vendor,
        "Tencent is temporarily unavailable: retry later.",
        "腾讯云服务暂时不可用：请稍后重试。"),

    entry("FailedOperation.DecryptSystemError", Request, Operator,
        "Tencent could not decrypt the request's fields: compare algorithm and public key with the console.",
        "腾讯云无法解密请求字段：请与控制台核对加密算法和公钥。"),
    entry("InvalidParameter", Request, Operator,
        "Tencent rejects a parameter: compare the flow's settings with the console; if they agree, report a bug of the gateway.",
        "腾讯云不接受某个参数：请与控制台核对流程配置；若无误，则为网关缺陷，请上报。"),
    entry("InvalidParameterValue", Request, Caller,
        "Tencent rejects a value: check name, ID number and photo. If the flow's rule requires more than `requires` lists, the operator adds it.",
        "腾讯云不接受某个值：请检查姓名、身份证号和照片。若控制台流程的要求多于 `requires`，请运维补上。"),
    entry("InvalidParameter.UnsupportEncryptField", Request, Operator,
        "Tencent does not accept this field encrypted: compare the flow's encryption with Tencent's documentation.",
        "该字段不支持加密传输：请按腾讯云文档核对流程的加密配置。"),
    entry("MissingParameter", Request, Caller,
        "The request lacks a parameter that the flow's rule requires: supply it; the operator adds it to the flow's `requires`.",
        "缺少控制台流程所要求的参数：请补充该参数，并请运维将其加入流程的 `requires`。"),
    entry("UnknownParameter", Request, Operator,
        "Tencent does not know a parameter: this version of the gateway does not match its API; report it.",
        "腾讯云不识别某个参数：当前网关版本与其接口不符，请上报。"),
    entry("UnsupportedOperation", Request, Operator,
        "This operation is not available to the account or flow: check the product edition in the console.",
        "该账号或流程不支持此操作：请在控制台确认所购版本。"),
    entry("InvalidAction", Request, Operator,
        "The endpoint does not know the action: check tencent.endpoint.",
        "接入域名不识别该接口：请检查 tencent.endpoint。"),
    entry("NoSuchVersion", Request, Operator,
        "The endpoint does not know API version 2018-03-01: check tencent.endpoint.",
        "接入域名不支持接口版本 2018-03-01：请检查 tencent.endpoint。"),
    entry("RequestSizeLimitExceeded", Request, Caller,
        "The request is over 10 MB: send a smaller photo.",
        "请求超过 10 MB：请缩小照片。"),
    entry("ResponseSizeLimitExceeded", Request, Operator,
        "The response would be too large: fetch less evidence in this flow.",
        "响应过大：请减少流程抓取的存证种类。"),
];

/// Codes that are not listed, by what comes before the dot. Their class stays unknown: they are not
/// repeated.
#[rustfmt::skip]
pub static FAMILIES: &[Entry] = &[
    entry("AuthFailure.*", Unknown, Operator,
        "Tencent rejects the credential with a code that this gateway does not know: run `doctor`, and look the code up in Tencent's documentation.",
        "腾讯云拒绝了凭证，但网关不认识该错误码：请运行 `doctor`，并查阅腾讯云错误码文档。"),
    entry("UnauthorizedOperation.*", Unknown, Operator,
        "The Tencent account or key is not authorised for this: look the code up in Tencent's documentation, and check account and CAM policy.",
        "腾讯云账号或密钥无权执行该操作：请查阅错误码文档，并检查账号状态和 CAM 策略。"),
    entry("RequestLimitExceeded.*", Unknown, Caller,
        "A rate limit of Tencent that this gateway does not know: retry later; the operator looks the code up.",
        "触发了网关不认识的频率限制：请稍后重试，并请运维查阅该错误码。"),
    entry("LimitExceeded.*", Unknown, Operator,
        "A quota of the Tencent account is exhausted: look the code up and raise the quota in the console.",
        "腾讯云账号的某项配额已用尽：请查阅该错误码，并在控制台提升配额。"),
    entry("InvalidParameterValue.*", Unknown, Caller,
        "Tencent rejects a value: check the request; the operator looks the code up.",
        "腾讯云不接受某个值：请检查所传内容，并请运维查阅该错误码。"),
    entry("InvalidParameter.*", Unknown, Operator,
        "Tencent rejects a parameter: look the code up, and compare the flow with the console.",
        "腾讯云不接受某个参数：请查阅该错误码，并与控制台核对流程配置。"),
    entry("FailedOperation.*", Unknown, Vendor,
        "The operation failed at Tencent: look the code up, or send Tencent's request id to Tencent support.",
        "腾讯云操作失败：请查阅该错误码，或将 RequestId 提供给腾讯云客服。"),
    entry("InternalError.*", Unknown, Vendor,
        "Tencent reports an internal error: send Tencent's request id to Tencent support.",
        "腾讯云内部错误：请将 RequestId 提供给腾讯云客服。"),
];

/// Every other code.
pub static UNKNOWN: Entry = entry(
    "*",
    Unknown,
    Operator,
    "A code that this gateway does not know: look it up in Tencent's documentation; Tencent support asks for the request id.",
    "网关不认识该错误码：请查阅腾讯云错误码文档；向客服咨询时请提供 RequestId。",
);

/// No answer in time.
#[rustfmt::skip]
pub static TIMEOUT: Entry = entry("timeout", Transient, Vendor,
    "Tencent did not respond in time: retry. If it persists, the operator runs `doctor`.",
    "腾讯云未在限定时间内应答：请重试。若持续出现，请运维运行 `doctor`。");
/// No connection.
#[rustfmt::skip]
pub static UNREACHABLE: Entry = entry("unreachable", Transient, Operator,
    "Tencent cannot be reached: retry. If it persists, the operator runs `doctor` and checks DNS, firewall and proxy.",
    "无法连接腾讯云：请重试。若持续出现，请运维运行 `doctor`，并检查 DNS、防火墙和代理。");
/// An HTTP status other than 200.
#[rustfmt::skip]
pub static HTTP_STATUS: Entry = entry("http_status", Transient, Vendor,
    "A proxy answered instead of Tencent: retry. If it persists, the operator checks the proxies on the way.",
    "请求未到达腾讯云接口，由中间环节应答：请重试。若持续出现，请运维检查中间代理。");
/// An answer over the limit.
#[rustfmt::skip]
pub static TOO_LARGE: Entry = entry("too_large", Transient, Operator,
    "Tencent's response is larger than documented: retry. If it persists, fetch less evidence in this flow.",
    "腾讯云的响应超出文档所述大小：请重试。若持续出现，请减少流程抓取的存证种类。");
/// An answer that is not the documented JSON.
#[rustfmt::skip]
pub static UNINTELLIGIBLE: Entry = entry("unintelligible", Transient, Vendor,
    "Tencent's response cannot be parsed: retry. If it persists, the operator checks the proxies on the way, or reports a changed API.",
    "无法解析腾讯云的响应：请重试。若持续出现，请运维检查中间代理，或上报接口变更。");
/// No signature could be made.
#[rustfmt::skip]
pub static SIGNING: Entry = entry("signing", Clock, Operator,
    "The gateway's clock is too far off to sign requests: synchronise it (NTP).",
    "网关所在机器的时钟偏差过大，无法签名：请校准时钟（NTP）。");

/// No token of the bucket within the caller's deadline.
#[rustfmt::skip]
pub static QUOTA_EXHAUSTED: Entry = entry("quota_exhausted", Quota, Caller,
    "The gateway's own call quota for this Tencent account is exhausted: retry after the given delay. If it persists, the operator raises tencent.quotas as far as Tencent allows.",
    "网关对该腾讯云账号的调用配额已用尽：请在提示的时间后重试。若持续出现，请运维在腾讯云允许的范围内调高 tencent.quotas。");
/// No permit: too many calls are in flight.
#[rustfmt::skip]
pub static OVERLOADED: Entry = entry("overloaded", Overload, Caller,
    "The gateway has reached its limit of calls in flight to Tencent: retry later. If it persists, the operator adds replicas or raises tencent.max_in_flight.",
    "网关同时进行的腾讯云调用已达上限：请稍后重试。若持续出现，请运维增加副本或调高 tencent.max_in_flight。");
/// Every endpoint has failed just now.
#[rustfmt::skip]
pub static CIRCUIT_OPEN: Entry = entry("circuit_open", Transient, Vendor,
    "Tencent has failed repeatedly. Calls are paused for a moment; retry after the given delay. If it persists, the operator runs `doctor`.",
    "腾讯云刚刚连续出错，网关暂停了调用：请在提示的时间后重试。若持续出现，请运维运行 `doctor`。");

/// An answer in the clear that should be encrypted.
#[rustfmt::skip]
pub static NOT_ENCRYPTED: Entry = entry("not_encrypted", Flow, Operator,
    "Tencent responded in plain text although the flow has [flows.encryption]: the response is ignored. The operator compares the setting with the console, or disables it.",
    "该流程配置了 [flows.encryption]，腾讯云却返回了明文：网关不据此作任何结论。请运维对照控制台检查该配置，或将其关闭。");
/// An encrypted answer that does not open.
#[rustfmt::skip]
pub static UNDECIPHERABLE: Entry = entry("undecipherable", Flow, Operator,
    "Tencent's encrypted response cannot be decrypted: the operator compares the flow's [flows.encryption] (algorithm, public key) with the console.",
    "腾讯云返回的密文无法解开：请运维对照控制台检查该流程的 [flows.encryption]（算法、公钥）。");
/// No key for an encrypted request could be made.
#[rustfmt::skip]
pub static UNENCRYPTABLE: Entry = entry("unencryptable", Transient, Operator,
    "The gateway's machine has no randomness for a key: retry. If it persists, the operator checks the machine.",
    "网关所在机器未能提供生成密钥的随机数：请重试。若持续出现，请运维检查该机器。");

/// When there was no answer to work with.
pub static NO_ANSWER: [&Entry; 12] = [
    &TIMEOUT,
    &UNREACHABLE,
    &HTTP_STATUS,
    &TOO_LARGE,
    &UNINTELLIGIBLE,
    &SIGNING,
    &QUOTA_EXHAUSTED,
    &OVERLOADED,
    &CIRCUIT_OPEN,
    &NOT_ENCRYPTED,
    &UNDECIPHERABLE,
    &UNENCRYPTABLE,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_every_documented_code() {
        let table = include_str!("../../tests/vectors/vendor/error-codes.tsv");
        let rows: Vec<(&str, &str)> = table.lines().skip(1).filter_map(|line| line.split_once('\t')).collect();
        assert!(rows.len() > 40);
        for (code, class) in rows {
            let expected = match class {
                "clock" => ErrorClass::Clock,
                "credential" => ErrorClass::Credential,
                "account" => ErrorClass::Account,
                "storage" => ErrorClass::Storage,
                "flow" => ErrorClass::Flow,
                "token" => ErrorClass::Token,
                "throttled" => ErrorClass::Throttled,
                "transient" => ErrorClass::Transient,
                "request" => ErrorClass::Request,
                other => panic!("{code} has class {other}"),
            };
            assert_eq!(classify(code), expected, "{code}");
            assert_eq!(of_code(code).code, code, "it has an entry of its own");
        }
        assert_eq!(CODES.len(), table.lines().skip(1).count(), "no entry is twice or made up");
        for unlisted in ["InvalidParameterValue.SomethingNew", "internalerror", ""] {
            assert_eq!(classify(unlisted), ErrorClass::Unknown, "{unlisted}");
        }
    }
}
