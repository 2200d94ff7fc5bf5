//! The simulator over real HTTP, by a client that signs for itself.

use std::collections::BTreeSet;

use aws_lc_rs::{digest, hmac};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};

use super::*;

mod bill;
mod evidence;
mod shapes;

const NAME: &str = "韦小宝";
const ID_CARD: &str = "11010519491231002X";

struct Client {
    simulator: Simulator,
    http: reqwest::Client,
}

impl Client {
    async fn start() -> Self {
        let simulator = start(SimulatorConfig::loopback()).await.unwrap();
        let http = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        Self { simulator, http }
    }

    /// Calls the API with a right signature.
    async fn send(&self, action: &str, body: &str) -> reqwest::Result<Response> {
        let timestamp_s = self.simulator.shared.clock.now_ms() / 1000;
        self.send_signed(action, body, timestamp_s, self.simulator.secret_key()).await
    }

    async fn send_signed(
        &self,
        action: &str,
        body: &str,
        timestamp_s: i64,
        secret_key: &str,
    ) -> reqwest::Result<Response> {
        let host = self.simulator.api_addr().to_string();
        let sha256 = |text: &str| hex::encode(digest::digest(&digest::SHA256, text.as_bytes()));
        let canonical_request =
            format!("POST\n/\n\ncontent-type:application/json\nhost:{host}\n\ncontent-type;host\n{}", sha256(body));
        let date = jiff::Timestamp::from_second(timestamp_s).unwrap().strftime("%Y-%m-%d").to_string();
        let scope = format!("{date}/faceid/tc3_request");
        let text = format!("TC3-HMAC-SHA256\n{timestamp_s}\n{scope}\n{}", sha256(&canonical_request));
        let mut key = format!("TC3{secret_key}").into_bytes();
        for message in [&date, "faceid", "tc3_request", &text] {
            key = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), message.as_bytes()).as_ref().to_vec();
        }
        let authorization = format!(
            "TC3-HMAC-SHA256 Credential={}/{scope}, SignedHeaders=content-type;host, Signature={}",
            self.simulator.secret_id(),
            hex::encode(key)
        );
        self.http
            .post(format!("http://{host}/"))
            .header("content-type", "application/json")
            .header("x-tc-action", action)
            .header("x-tc-version", "2018-03-01")
            .header("x-tc-timestamp", timestamp_s)
            .header("authorization", authorization)
            .body(body.to_owned())
            .send()
            .await
    }

    /// The content of `Response`.
    async fn call(&self, action: &str, body: Value) -> Value {
        let response = self.send(action, &body.to_string()).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        let mut answer: Value = response.json().await.unwrap();
        let response = answer["Response"].take();
        assert!(response["RequestId"].is_string());
        response
    }

    /// The code of the answer; "OK" when it is none of an error.
    async fn code(&self, action: &str, body: Value) -> String {
        self.call(action, body).await["Error"]["Code"].as_str().unwrap_or("OK").to_owned()
    }

    async fn token(&self, rule_id: &str) -> String {
        let body = json!({
            "RuleId": rule_id, "Name": NAME, "IdCard": ID_CARD, "RedirectUrl": "https://shop.example/back?a=1#top",
        });
        self.call("DetectAuth", body).await["BizToken"].as_str().unwrap().to_owned()
    }

    async fn result(&self, token: &str, rule_id: &str) -> Value {
        self.call("GetDetectInfoEnhanced", json!({ "BizToken": token, "RuleId": rule_id })).await
    }

    async fn control(&self, path: &str, body: Value) -> (StatusCode, Value) {
        let url = format!("http://{}{path}", self.simulator.control_addr());
        let request = if body.is_null() { self.http.get(url) } else { self.http.post(url).body(body.to_string()) };
        let response = request.send().await.unwrap();
        (response.status(), response.json().await.unwrap())
    }

    async fn told(&self, path: &str, body: Value) -> Value {
        let (status, answer) = self.control(path, body).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        answer
    }

    async fn fault(&self, fault: Value) {
        self.told("/faults", fault).await;
    }

    async fn page(&self, path: &str) -> (StatusCode, String) {
        let response = self.http.get(format!("http://{}{path}", self.simulator.api_addr())).send().await.unwrap();
        (response.status(), response.text().await.unwrap())
    }

    async fn submit(&self, token: &str, outcome: &str) -> Value {
        let url = format!("http://{}/h5/outcome", self.simulator.api_addr());
        let body = json!({ "token": token, "outcome": outcome }).to_string();
        self.http.post(url).body(body).send().await.unwrap().json().await.unwrap()
    }
}

/// Whether there is anything but nulls, zeros and empty texts, lists and objects.
fn says_something(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(flag) => *flag,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => items.iter().any(says_something),
        Value::Object(fields) => fields.values().any(says_something),
    }
}

#[tokio::test]
async fn a_verification_goes_its_way_from_pending_through_a_failure_to_a_pass() {
    let client = Client::start().await;
    let token = client.token("1").await;
    assert_eq!(token, token.to_uppercase());

    let pending = client.result(&token, "1").await;
    let text = pending["Text"].as_object().unwrap();
    assert!(text.contains_key("ErrCode") && text.contains_key("LivenessDetail"));
    assert!(!text.values().any(says_something), "nothing is known before the user has done anything");
    assert_eq!(pending["IsVerifyIntention"], false);

    let path = format!("/tokens/{token}/attempts");
    let failed = client.told(&path, json!({ "code": 2016 })).await;
    let redirect = format!("https://shop.example/back?a=1&BizToken={token}#top");
    assert_eq!(failed["redirect_url"], redirect);
    client.told(&path, json!({})).await;

    let passed = client.result(&token, "1").await;
    let text = &passed["Text"];
    assert_eq!((&text["ErrCode"], &text["LiveStatus"], &text["Comparestatus"]), (&json!(0), &json!(0), &json!(0)));
    assert_eq!((&text["IdCard"], &text["OcrName"]), (&json!(ID_CARD), &json!(NAME)));
    let details = text["LivenessDetail"].as_array().unwrap();
    assert_eq!(details.len(), 2);
    assert_eq!(details[0]["Seq"], failed["seq"]);
    assert_eq!((&details[0]["Errcode"], &details[0]["IsNeedCharge"]), (&json!(2016), &json!(true)));
    assert_eq!(details[0]["ReqTime"].as_str().unwrap().len(), 13);
    let similarity = |detail: &Value| detail["Sim"].as_str().unwrap().parse::<f64>().unwrap();
    assert!(similarity(&details[0]) < 70.0 && similarity(&details[1]) >= 70.0);

    let ledger = client.told("/ledger", Value::Null).await;
    assert_eq!(ledger.as_array().unwrap().len(), 2);
    assert_eq!(client.told("/tokens", Value::Null).await[0]["state"], "passed");
}

#[tokio::test]
async fn info_type_selects_the_parts() {
    let client = Client::start().await;
    let token = client.token("1").await;
    client.told(&format!("/tokens/{token}/attempts"), json!({ "code": 0 })).await;
    let parts = ["Text", "IdCardData", "BestFrame", "VideoData"];
    for (info_type, expected) in [
        ("", [true, true, true, true]),
        ("0", [true, true, true, true]),
        ("1", [true, false, false, false]),
        ("24", [false, true, false, true]),
        ("3", [false, false, true, false]),
    ] {
        let body = json!({ "BizToken": token, "RuleId": "1", "InfoType": info_type, "BestFramesCount": 3 });
        let answer = client.call("GetDetectInfoEnhanced", body).await;
        assert_eq!(parts.map(|part| says_something(&answer[part])), expected, "InfoType {info_type:?}");
        if expected[2] {
            assert_eq!(answer["BestFrame"]["BestFrames"].as_array().unwrap().len(), 3);
        }
    }
    let full = json!({
        "BizToken": token, "RuleId": "1", "IsCutIdCardImage": true, "IsNeedIdCardAvatar": true,
        "IsReturnAllVideo": true,
    });
    let answer = client.call("GetDetectInfoEnhanced", full).await;
    for image in ["OcrFront", "OcrBack", "ProcessedFrontImage", "ProcessedBackImage", "Avatar"] {
        let bytes = STANDARD.decode(answer["IdCardData"][image].as_str().unwrap()).unwrap();
        assert!(bytes.starts_with(&[0xFF, 0xD8, 0xFF]), "{image}");
    }
    let seq = &answer["Text"]["LivenessDetail"][0]["Seq"];
    assert_eq!(&answer["VideoData"]["LivenessVideos"][0]["Seq"], seq);
    for (name, value) in [("InfoType", json!("7")), ("BestFramesCount", json!(11))] {
        let mut body = json!({ "BizToken": token, "RuleId": "1" });
        body[name] = value;
        assert_eq!(client.code("GetDetectInfoEnhanced", body).await, "InvalidParameterValue");
    }
}

#[tokio::test]
async fn answers_have_the_vendors_fields() {
    let client = Client::start().await;
    client.told("/shape", json!({ "shape": "nulls" })).await;
    let token = client.token("1").await;
    client.told(&format!("/tokens/{token}/attempts"), json!({ "code": 0 })).await;
    let answer = client.result(&token, "1").await;
    let names = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
    let expect = |names: &str| names.split_whitespace().map(str::to_owned).collect::<BTreeSet<_>>();
    assert_eq!(
        names(&answer),
        expect(
            "Text IdCardData BestFrame VideoData Encryption IntentionVerifyData IntentionQuestionResult \
             IntentionActionResult EncryptedBody IsVerifyIntention IntentionVerifyType RequestId"
        )
    );
    assert_eq!(
        names(&answer["Text"]),
        expect(
            "ErrCode ErrMsg IdCard UseIDType Name OcrNation OcrAddress OcrBirth OcrAuthority OcrValidDate OcrName \
             OcrIdCard OcrGender IdInfoFrom LiveStatus LiveMsg Comparestatus Comparemsg Sim Location Extra \
             LivenessDetail LivenessInfoTag Mobile CompareLibType LivenessMode NFCRequestIds NFCBillingCounts PassNo \
             VisaNum LivenessActionSequence"
        )
    );
    assert_eq!(
        names(&answer["Text"]["LivenessDetail"][0]),
        expect(
            "ReqTime Seq Idcard Name Sim IsNeedCharge Errcode Errmsg Livestatus Livemsg Comparestatus Comparemsg \
             CompareLibType LivenessMode"
        )
    );
    assert_eq!(
        names(&answer["IdCardData"]),
        expect("OcrFront OcrBack ProcessedFrontImage ProcessedBackImage Avatar WarnInfos BackWarnInfos")
    );
}

#[tokio::test]
async fn statuses_fit_the_stage_of_the_code() {
    let client = Client::start().await;
    for (code, live_status, compare_status, has_card) in [
        (4, json!(null), json!(null), false),
        (201, json!(null), json!(null), false),
        (302, json!(null), json!(null), true),
        (1004, json!(1004), json!(null), true),
        (2006, json!(0), json!(2006), true),
    ] {
        let token = client.token("1").await;
        client.told(&format!("/tokens/{token}/attempts"), json!({ "code": code })).await;
        let text = &client.result(&token, "1").await["Text"];
        assert_eq!(
            (&text["ErrCode"], &text["LiveStatus"], &text["Comparestatus"]),
            (&json!(code), &live_status, &compare_status)
        );
        assert_eq!(says_something(&text["OcrIdCard"]), has_card, "{code}");
    }
    let token = client.token("1").await;
    client.told(&format!("/tokens/{token}/attempts"), json!({ "code": 301 })).await;
    let text = &client.result(&token, "1").await["Text"];
    assert_ne!(text["OcrIdCard"], text["IdCard"]);
}

#[tokio::test]
async fn each_intention_mode_has_its_own_result() {
    let client = Client::start().await;
    for (rule_id, kind, part, code_field) in [
        ("3", "2", "IntentionVerifyData", "ErrorCode"),
        ("4", "0", "IntentionQuestionResult", "FinalResultDetailCode"),
        ("5", "1", "IntentionActionResult", "FinalResultDetailCode"),
    ] {
        let token = client.token(rule_id).await;
        let path = format!("/tokens/{token}/attempts");
        client.told(&path, json!({ "code": 0, "intention_code": -301 })).await;
        let refused = client.result(&token, rule_id).await;
        assert_eq!((&refused["IsVerifyIntention"], &refused["IntentionVerifyType"]), (&json!(true), &json!(kind)));
        assert_eq!((&refused["Text"]["ErrCode"], &refused[part][code_field]), (&json!(0), &json!(-301)));
        client.told(&path, json!({})).await;
        let passed = client.result(&token, rule_id).await;
        assert_eq!(passed[part][code_field], 0);
        let others = ["IntentionVerifyData", "IntentionQuestionResult", "IntentionActionResult"];
        assert_eq!(others.iter().filter(|other| says_something(&passed[**other])).count(), 1);
    }
}

#[tokio::test]
async fn bad_requests_get_the_vendors_codes() {
    let client = Client::start().await;
    let valid = || json!({ "RuleId": "1", "Name": NAME, "IdCard": ID_CARD });
    let photo = media::media().avatar.marked(media::Mark::new("", "", 0)).collect::<Vec<_>>().concat();
    let photo = String::from_utf8(photo).unwrap();
    let cases = [
        ("RuleId", Value::Null, "InvalidParameter"),
        ("RuleId", json!("9"), "InvalidParameterValue.RuleIdNotExist"),
        ("Foo", json!(1), "UnknownParameter"),
        ("Name", json!(1), "InvalidParameter"),
        ("Name", json!("宝".repeat(33)), "InvalidParameterValue"),
        ("Name", json!(""), "InvalidParameterValue"),
        ("IdCard", Value::Null, "InvalidParameterValue"),
        ("IdCard", json!("11010519491231002x"), "InvalidParameterValue"),
        ("IdCard", json!("110105194912310021"), "InvalidParameterValue"),
        ("RedirectUrl", json!("ftp://a.cn"), "InvalidParameterValue"),
        ("RedirectUrl", json!("javascript:alert(1)"), "InvalidParameterValue"),
        ("RedirectUrl", json!(format!("https://a.cn/{}", "a".repeat(1012))), "InvalidParameterValue"),
        ("RedirectUrl", json!(format!("https://a.cn/{}", "a".repeat(1011))), "OK"),
        ("Extra", json!("e".repeat(1025)), "InvalidParameterValue"),
        ("Extra", json!("e".repeat(1024)), "OK"),
        ("ImageBase64", json!("bm8gcGljdHVyZQ=="), "InvalidParameterValue"),
        ("ImageBase64", json!("_-_-"), "InvalidParameterValue"),
        ("ImageBase64", json!("A".repeat(3 * 1024 * 1024 + 4)), "InvalidParameterValue"),
        ("ImageBase64", json!(photo), "OK"),
        ("IntentionVerifyText", json!("读".repeat(121)), "InvalidParameterValue"),
        ("IntentionQuestions", json!([]), "InvalidParameterValue"),
        ("IntentionQuestions", json!(vec![json!({"Question": "?", "Answers": ["是"]}); 11]), "InvalidParameterValue"),
        ("IntentionQuestions", json!([{"Question": "?", "Answers": vec!["是"; 51]}]), "InvalidParameterValue"),
        ("IntentionQuestions", json!([{"Question": "?", "Answers": ["是".repeat(11)]}]), "InvalidParameterValue"),
        ("IntentionQuestions", json!([{"Question": "?"}]), "MissingParameter"),
        ("IntentionActions", json!([{"Text": "点".repeat(251)}]), "InvalidParameterValue"),
        (
            "Encryption",
            json!({"EncryptList": ["Name"], "CiphertextBlob": "", "Iv": ""}),
            "FailedOperation.DecryptSystemError",
        ),
    ];
    for (name, value, expected) in cases {
        let mut body = valid();
        body[name] = value;
        assert_eq!(client.code("DetectAuth", body.clone()).await, expected, "{name}: {:.80}", body[name].to_string());
    }
    assert_eq!(client.code("DetectAuth", json!({})).await, "MissingParameter");
    assert_eq!(client.code("DetectAuth", json!({ "RuleId": "2" })).await, "InvalidParameterValue");
    assert_eq!(client.code("DetectFate", json!({})).await, "InvalidAction");
    let not_json = client.send("DetectAuth", "{").await.unwrap().text().await.unwrap();
    assert!(not_json.contains("\"InvalidParameter\""), "{not_json}");

    client.told("/rules/1", json!({ "disabled": true })).await;
    assert_eq!(client.code("DetectAuth", valid()).await, "InvalidParameterValue.RuleIdDisabled");
}

#[tokio::test]
async fn tokens_expire_and_results_are_deleted() {
    let client = Client::start().await;
    let token = client.token("1").await;
    let ask = |token: &str, rule_id: &str| json!({ "BizToken": token, "RuleId": rule_id });
    let get = "GetDetectInfoEnhanced";
    assert_eq!(client.code(get, ask("NONE", "1")).await, "InvalidParameter");
    client.told("/shape", json!({ "shape": "nulls" })).await;
    assert_eq!(client.code(get, ask("NONE", "1")).await, "FailedOperation.InvalidTokenParameter");
    assert_eq!(client.code(get, ask(&token, "2")).await, "InvalidParameterValue.BizTokenIllegal");
    assert_eq!(client.code(get, ask(&token, "9")).await, "InvalidParameterValue.RuleIdNotExist");

    client.told("/clock", json!({ "advance_s": 7200 })).await;
    assert_eq!(client.page(&format!("/h5?token={token}")).await.0, StatusCode::GONE);
    assert_eq!(client.submit(&token, "0").await["code"], 15);
    let (status, refused) = client.control(&format!("/tokens/{token}/attempts"), json!({})).await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert!(refused["error"].as_str().unwrap().contains("7200"));
    assert_eq!(client.result(&token, "1").await["Text"]["ErrCode"], Value::Null);

    client.told("/clock", json!({ "advance_s": 259_200 - 7200 })).await;
    assert_eq!(client.code(get, ask(&token, "1")).await, "InvalidParameterValue.BizTokenExpired");
}

#[tokio::test]
async fn signatures_are_checked_against_the_simulators_clock() {
    let client = Client::start().await;
    let now_s = client.simulator.shared.clock.now_ms() / 1000;
    let code = async |timestamp_s: i64, secret_key: &str| {
        let response = client.send_signed("DetectAuth", r#"{"RuleId":"2"}"#, timestamp_s, secret_key).await.unwrap();
        let date = response.headers()["date"].to_str().unwrap().to_owned();
        let answer: Value = response.json().await.unwrap();
        (answer["Response"]["Error"]["Code"].as_str().unwrap_or("OK").to_owned(), date)
    };
    assert_eq!(code(now_s, "wrong").await.0, "AuthFailure.SignatureFailure");
    let (refused, _) = code(now_s - 400, client.simulator.secret_key()).await;
    assert_eq!(refused, "AuthFailure.SignatureExpire");

    client.told("/clock", json!({ "advance_s": 86_400 })).await;
    let (refused, date) = code(now_s, client.simulator.secret_key()).await;
    assert_eq!(refused, "AuthFailure.SignatureExpire");
    let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(&date).unwrap();
    assert!((date.as_second() - now_s - 86_400).abs() < 60, "Date tells the simulator's time");

    let calls = client.told("/calls", Value::Null).await;
    assert_eq!(calls["DetectAuth"]["AuthFailure.SignatureExpire"], 2);
    assert_eq!(calls["DetectAuth"]["AuthFailure.SignatureFailure"], 1);
}

#[tokio::test]
async fn faults_replace_or_spoil_the_answer() {
    let client = Client::start().await;
    let valid = json!({ "RuleId": "1", "Name": NAME, "IdCard": ID_CARD }).to_string();
    let meet = async |fault: Value| {
        client.fault(fault).await;
        client.send("DetectAuth", &valid).await.unwrap()
    };
    let fault = |kind: &str| json!({ "action": "DetectAuth", "kind": kind });

    let limited = meet(json!({ "action": "*", "kind": "error_code", "code": "RequestLimitExceeded" })).await;
    assert!(limited.text().await.unwrap().contains(r#""Code":"RequestLimitExceeded""#));
    let down = meet(json!({ "kind": "http_status", "status": 502 })).await;
    assert_eq!(down.status(), StatusCode::BAD_GATEWAY);
    assert_eq!(down.headers()["content-type"], "text/html");
    let portal = meet(fault("html_200")).await;
    assert_eq!((portal.status(), portal.text().await.unwrap().starts_with("<!DOCTYPE")), (StatusCode::OK, true));
    for kind in ["not_json", "cut_json"] {
        let text = meet(fault(kind)).await.text().await.unwrap();
        assert!(serde_json::from_str::<Value>(&text).is_err(), "{kind}: {text}");
    }
    for content_length in [true, false] {
        let huge = meet(json!({ "kind": "huge", "size_bytes": 300_000, "content_length": content_length })).await;
        assert_eq!(huge.content_length(), content_length.then_some(300_000));
        assert_eq!(huge.bytes().await.unwrap().len(), 300_000);
    }
    let nulls: Value = meet(fault("nulls")).await.json().await.unwrap();
    assert_eq!(nulls, json!({ "Response": { "BizToken": null, "Url": null, "RequestId": null } }));
    let unknown: Value = meet(fault("unknown_fields")).await.json().await.unwrap();
    assert!(unknown["Response"]["UnknownObject"].is_object() && unknown["Response"]["BizToken"].is_string());
    let mistyped: Value = meet(fault("wrong_types")).await.json().await.unwrap();
    assert!(mistyped["Response"]["BizToken"].is_number());
    let late: Value = meet(json!({ "kind": "delay", "ms": 1 })).await.json().await.unwrap();
    assert!(late["Response"]["BizToken"].is_string());

    client.fault(fault("reset")).await;
    assert!(client.send("DetectAuth", &valid).await.is_err(), "the connection is reset");
    assert!(client.send("DetectAuth", &valid).await.is_ok(), "and the fault is used up");

    let token = client.token("1").await;
    client.fault(json!({ "action": "GetDetectInfoEnhanced", "kind": "result_code", "code": 17 })).await;
    assert_eq!(client.result(&token, "1").await["Text"]["ErrCode"], 17);
    assert_eq!(client.told("/state", Value::Null).await["faults"], 0);
}

#[tokio::test]
async fn a_body_over_10_mb_is_refused() {
    let client = Client::start().await;
    let answer = client.send("DetectAuth", &" ".repeat(10 * 1024 * 1024 + 1)).await.unwrap().text().await.unwrap();
    assert!(answer.contains(r#""RequestSizeLimitExceeded""#), "{answer}");
}

#[tokio::test]
async fn the_url_leads_to_the_page_of_the_token() {
    let client = Client::start().await;
    let body = json!({ "RuleId": "3", "Name": NAME, "IdCard": ID_CARD, "IntentionVerifyText": "</script><b>我同意" });
    let made = client.call("DetectAuth", body).await;
    let (url, token) = (made["Url"].as_str().unwrap(), made["BizToken"].as_str().unwrap());
    assert_eq!(url, format!("http://{}/h5?token={token}", client.simulator.api_addr()));

    let (status, html) = client.page(&format!("/h5?token={token}")).await;
    assert_eq!(status, StatusCode::OK);
    assert!(!html.contains("</script><b>"), "the text to read aloud cannot leave its script element");
    assert!(!html.contains(NAME) && !html.contains(ID_CARD));
    for id in [
        "ocr-next",
        "liveness-start",
        "intention-next",
        "outcome",
        "submit-outcome",
        "result-code",
        "result-text",
        "retry",
        "back-to-merchant",
    ] {
        assert!(html.contains(&format!("id=\"{id}\"")), "{id}");
    }
    assert_eq!(client.page("/h5?token=NONE").await.0, StatusCode::NOT_FOUND);
    assert_eq!(client.page("/h5").await.0, StatusCode::NOT_FOUND);
    assert_eq!(client.page("/product").await.0, StatusCode::OK);
}

#[tokio::test]
async fn the_page_retries_gives_up_and_ends() {
    let client = Client::start().await;
    client.told("/outcomes", json!({ "codes": [2016] })).await;
    let token = client.token("1").await;
    assert!(client.page(&format!("/h5?token={token}")).await.1.contains(r#""preselected":"2016""#));

    let gave_up = client.submit(&token, "give-up").await;
    assert_eq!((&gave_up["code"], gave_up["redirect_url"].is_string()), (&Value::Null, true));
    let failed = client.submit(&token, "2016").await;
    assert_eq!((&failed["passed"], &failed["can_retry"]), (&json!(false), &json!(true)));
    assert_eq!(client.told("/state", Value::Null).await["next_outcomes"], 0);
    let passed = client.submit(&token, "0").await;
    assert_eq!((&passed["passed"], &passed["can_retry"]), (&json!(true), &json!(false)));
    assert_eq!(client.submit(&token, "0").await["code"], 14);

    let made = client.call("DetectAuth", json!({ "RuleId": "1", "Name": NAME, "IdCard": ID_CARD })).await;
    let gave_up = client.submit(made["BizToken"].as_str().unwrap(), "give-up").await;
    assert_eq!(gave_up["redirect_url"], "/product");
    assert!(client.submit(&token, "17").await["error"].is_string());
    assert!(client.submit("NONE", "0").await["error"].is_string());
}

#[tokio::test]
async fn the_control_port_says_what_is_wrong() {
    let client = Client::start().await;
    let token = client.token("1").await;
    let attempts = format!("/tokens/{token}/attempts");
    for (path, body, expected) in [
        ("/faults", json!({ "kind": "earthquake" }), StatusCode::BAD_REQUEST),
        ("/faults", json!({ "action": "Other", "kind": "reset" }), StatusCode::BAD_REQUEST),
        ("/faults", json!({ "kind": "http_status", "status": 99 }), StatusCode::BAD_REQUEST),
        ("/outcomes", json!({ "codes": [17] }), StatusCode::BAD_REQUEST),
        ("/clock", json!({ "advance_s": i64::MAX }), StatusCode::BAD_REQUEST),
        ("/clock", json!({}), StatusCode::BAD_REQUEST),
        ("/rules/9", json!({ "disabled": true }), StatusCode::NOT_FOUND),
        ("/shape", json!({ "shape": "round" }), StatusCode::BAD_REQUEST),
        ("/storage", json!({}), StatusCode::BAD_REQUEST),
        (attempts.as_str(), json!({ "code": -301 }), StatusCode::BAD_REQUEST),
        ("/tokens/NONE/attempts", json!({}), StatusCode::NOT_FOUND),
        ("/tokens/NONE/give-up", json!({}), StatusCode::NOT_FOUND),
        ("/nowhere", Value::Null, StatusCode::NOT_FOUND),
        ("/clock", Value::Null, StatusCode::METHOD_NOT_ALLOWED),
    ] {
        let (status, answer) = client.control(path, body).await;
        assert_eq!(status, expected, "{path}");
        assert!(answer["error"].is_string(), "{path}: {answer}");
    }
    client.told("/clock", json!({ "advance_s": 60 })).await;
    client.told("/reset", json!({})).await;
    let state = client.told("/state", Value::Null).await;
    assert_eq!((&state["tokens"], &state["clock_offset_s"]), (&json!(0), &json!(0)));
}

#[tokio::test]
async fn a_simulator_that_was_shut_down_listens_no_more() {
    let client = Client::start().await;
    let addresses = [client.simulator.api_addr(), client.simulator.control_addr()];
    client.simulator.shutdown().await;
    for address in addresses {
        assert!(tokio::net::TcpStream::connect(address).await.is_err());
    }
}

#[test]
fn only_loopback_hosts_are_believed() {
    for host in ["127.0.0.1:9000", "localhost", "LOCALHOST:1", "[::1]:80", "127.8.8.8"] {
        assert!(shared::is_loopback(host), "{host}");
    }
    for host in ["evil.example", "127.0.0.1.evil.example", "localhost@evil.example", "", "10.0.0.1:80", "\"><script>"] {
        assert!(!shared::is_loopback(host), "{host}");
    }
}

#[test]
fn credentials_are_random_and_look_like_the_vendors() {
    let (one, other) = (SimulatorConfig::loopback(), SimulatorConfig::loopback());
    assert!(one.secret_id.starts_with("AKID") && one.secret_id.len() == 36);
    assert_ne!((one.secret_id, one.secret_key), (other.secret_id, other.secret_key));
}
