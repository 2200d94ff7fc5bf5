//! docs/VENDOR_ERRORS.md, made of the same tables and the same translation that callers meet. To
//! write it anew: `UPDATE_DOCS=1 cargo test --lib vendor_errors_page`.

use super::status::status;
use crate::{
    app,
    domain::{intention::IntentionMode, result_code::ResultCode},
    tencent::{self, ErrorKind, catalogue},
};
use std::{env, fmt::Write as _, fs, path::Path};
use tonic_types::StatusExt;

const PAGE: &str = "docs/VENDOR_ERRORS.md";
const RESULT_CODES: &str = include_str!("../../tests/vectors/vendor/result-codes.tsv");

#[test]
fn the_page_of_vendor_errors_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE);
    let page = page();
    if env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, &page).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(written == page, "{PAGE} is not what the tables say: UPDATE_DOCS=1 cargo test --lib vendor_errors_page");
}

fn page() -> String {
    let mut page = String::from(
        "<!-- Made by `UPDATE_DOCS=1 cargo test --lib vendor_errors_page`; a test holds it to the code. -->\n\
         # What Tencent answers, and who should do what\n\n\
         What goes wrong is told to the caller as a gRPC status: the code, `ErrorInfo.reason`, `ErrorInfo.metadata` with `vendor_code`,\n\
         `vendor_request_id`, `tries`, `acts` (`user`, `caller`, `operator` or `vendor`), and the hint below as `hint_en` and `hint_zh`.\n\
         The same is in [`src/tencent/catalogue.rs`](../src/tencent/catalogue.rs), which this page is made of.\n\n\
         出错时，调用方会收到 gRPC 状态码、`ErrorInfo.reason`，以及 `ErrorInfo.metadata` 中的 `vendor_code`、`vendor_request_id`、`tries`、`acts`\n\
         （由谁处理：`user` 用户、`caller` 调用方、`operator` 运维、`vendor` 腾讯云）以及下表中的提示：`hint_en` 和 `hint_zh`。\n",
    );
    section(&mut page, "Error codes / 错误码", catalogue::CODES.iter());
    page.push_str("\nIn answer to GetDetectInfoEnhanced / 查询结果（GetDetectInfoEnhanced）时：\n");
    for (_, entry) in catalogue::BY_ACTION {
        let catalogue::Entry { code, acts, hint_en, hint_zh, .. } = entry;
        write!(page, "\n- `{code}`, {}: {hint_en} {hint_zh}", acts.name()).unwrap();
    }
    page.push('\n');
    page.push_str(
        "\nCodes of Tencent that are not listed are not repeated; the hint goes by what stands before the dot.\n\n\
         未列出的错误码不会重试，提示按点号前的部分给出。\n",
    );
    section(&mut page, "Other codes / 其他错误码", catalogue::FAMILIES.iter().chain([&catalogue::UNKNOWN]));
    section(&mut page, "No answer / 没有应答", catalogue::NO_ANSWER);
    page.push_str(
        "\n## Result codes / 结果码\n\n\
         A person who fails is not an error: the call succeeds, and `last_attempt` has the code and the advice.\n\n\
         用户未通过核身不算错误：调用成功返回，`last_attempt` 中有结果码和建议。\n\n\
         | code | stage | meaning | 含义 | acts | hint | 提示 |\n|---|---|---|---|---|---|---|\n",
    );
    for line in RESULT_CODES.lines().skip(1) {
        let [code, stage, ..] = line.split('\t').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let mode = match stage {
            "intention (read aloud)" => Some(IntentionMode::ReadAloud),
            "intention (questions, nods)" => Some(IntentionMode::Questions),
            _ => None,
        };
        let ResultCode { code, meaning, meaning_zh, advice, .. } = ResultCode::explain(code.parse().unwrap(), mode);
        let (acts, hint_en, hint_zh) = advice.todo();
        writeln!(page, "| {code} | {stage} | {meaning} | {meaning_zh} | {} | {hint_en} | {hint_zh} |", acts.name())
            .unwrap();
    }
    page
}

fn section(page: &mut String, title: &str, entries: impl IntoIterator<Item = &'static catalogue::Entry>) {
    write!(page, "\n## {title}\n\n| code | gRPC | reason | acts | hint | 提示 |\n|---|---|---|---|---|---|\n").unwrap();
    for entry in entries {
        let catalogue::Entry { code, acts, hint_en, hint_zh, .. } = entry;
        let kind = example(entry);
        assert_eq!(kind.class(), entry.class, "{code}");
        let status =
            status(&app::Error::Vendor(tencent::Error { action: "DetectAuth", kind, tries: 1, earlier: None }));
        let grpc = constant_case(&format!("{:?}", status.code()));
        let reason = status.get_details_error_info().unwrap().reason;
        writeln!(page, "| `{code}` | `{grpc}` | `{reason}` | {} | {hint_en} | {hint_zh} |", acts.name()).unwrap();
    }
}

/// A failure with this entry; where that takes a network, one of its class, which is all that a
/// status goes by.
fn example(entry: &'static catalogue::Entry) -> ErrorKind {
    let refused = |code: &str| ErrorKind::Refused { code: code.to_owned(), request_id: String::new() };
    match entry.code {
        "timeout" => ErrorKind::Timeout { timeout_ms: 1 },
        "unreachable" => refused("InternalError"),
        "http_status" => ErrorKind::HttpStatus(502),
        "too_large" => ErrorKind::TooLarge { limit_bytes: 1 },
        "unintelligible" => ErrorKind::Unintelligible { problem: String::new(), request_id: String::new() },
        "signing" => refused("AuthFailure.SignatureExpire"),
        "quota_exhausted" => ErrorKind::QuotaExhausted { per_second: 1, retry_after_ms: 1 },
        "overloaded" => ErrorKind::Overloaded { max_in_flight: 1 },
        "circuit_open" => ErrorKind::CircuitOpen { retry_after_ms: 1 },
        "not_encrypted" => ErrorKind::NotEncrypted { place: "Text", request_id: String::new() },
        "undecipherable" => ErrorKind::Undecipherable { place: "Text", problem: "", request_id: String::new() },
        "unencryptable" => ErrorKind::Unencryptable,
        code => refused(code),
    }
}

fn constant_case(camel: &str) -> String {
    let mut text = String::new();
    for char in camel.chars() {
        if char.is_uppercase() && !text.is_empty() {
            text.push('_');
        }
        text.push(char.to_ascii_uppercase());
    }
    text
}
