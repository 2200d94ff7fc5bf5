//! Verdicts on answers that the simulator does not give.

use crate::harness::{Created, World, refused, state_name, succeeded};
use crate::scripted_vendor::ScriptedVendor;
use faceid_gateway::grpc::pb::{
    Advice, CreateVerificationRequest, IntentionScript, NodScript, ReadAloudScript, intention_script::Mode,
};
use serde_json::{Value, json};

/// More than the 7,200 s of a token.
const AFTER_THE_END_S: i64 = 7_300;

fn nulls_of_the_step() -> Value {
    json!({
        "ErrorCode": null, "ErrorMessage": null, "AsrResult": null, "AsrResultSimilarity": null,
        "IntentionVerifyVideo": null, "IntentionVerifyBestFrame": null, "IntentionVerifyAudio": null,
    })
}

async fn created(world: &World, flow: &str, mode: Option<Mode>) -> Created {
    let intention = mode.map(|mode| IntentionScript { mode: Some(mode) });
    let request = CreateVerificationRequest { flow: flow.into(), intention, ..world.request() };
    Created::of(succeeded(world.create(request).await))
}

fn read_aloud() -> Option<Mode> {
    Some(Mode::ReadAloud(ReadAloudScript { text: "我同意开户".into() }))
}

#[tokio::test]
async fn an_intention_object_without_the_flag_does_not_keep_a_person_from_passing() {
    let vendor = ScriptedVendor::start().await;
    let world = vendor.world().await;
    for object in [json!({}), nulls_of_the_step(), json!({ "ErrorCode": 0, "AsrResult": "" })] {
        for flag in [json!(false), Value::Null] {
            vendor.finds(json!({
                "Text": { "ErrCode": 0 },
                "IsVerifyIntention": flag,
                "IntentionVerifyType": "",
                "IntentionVerifyData": object,
                "IntentionQuestionResult": { "FinalResultDetailCode": null, "ResultCode": [] },
            }));
            let created = created(&world, "onboarding", None).await;
            assert_eq!(world.state(&created.id).await, "PASSED", "flag {flag}, object {object}");
        }
    }
}

#[tokio::test]
async fn an_empty_intention_object_with_the_flag_passes_nobody() {
    let vendor = ScriptedVendor::start().await;
    let world = vendor.world().await;
    vendor.finds(json!({ "Text": { "ErrCode": 0 }, "IsVerifyIntention": true, "IntentionVerifyData": {} }));
    let created = created(&world, "onboarding", None).await;
    assert_eq!(world.state(&created.id).await, "PENDING");
    world.skew(AFTER_THE_END_S);
    assert_eq!(world.state(&created.id).await, "FAILED");
}

#[tokio::test]
async fn a_consent_that_the_vendor_did_not_ask_for_passes_nobody() {
    let vendor = ScriptedVendor::start().await;
    let world = vendor.world().await;
    let off = json!({
        "Text": { "ErrCode": 0 },
        "IsVerifyIntention": false,
        "IntentionVerifyData": { "ErrorCode": 0, "ErrorMessage": "", "AsrResult": "" },
    });
    let other_mode = json!({
        "Text": { "ErrCode": 0 },
        "IsVerifyIntention": true,
        "IntentionVerifyType": "1",
        "IntentionVerifyData": { "ErrorCode": 0 },
        "IntentionActionResult": { "FinalResultDetailCode": 0 },
    });
    for (answer, code) in [(off, 1_000_001), (other_mode, 1_000_002)] {
        vendor.finds(answer);
        let created = created(&world, "read-aloud", read_aloud()).await;
        let told = succeeded(world.result(&created.id).await).verification.expect("a verification");
        assert_eq!(state_name(&told), "PENDING", "{code}");
        let attempt = told.last_attempt.expect("the misconfiguration is told at once");
        assert_eq!(attempt.code(), code);
        assert!(attempt.advice() == Advice::Operator, "{code}");
    }
}

#[tokio::test]
async fn a_consent_whose_flag_is_missing_passes_nobody() {
    let vendor = ScriptedVendor::start().await;
    let world = vendor.world().await;
    vendor.finds(json!({ "Text": { "ErrCode": 0 }, "IntentionVerifyData": { "ErrorCode": 0 } }));
    let created = created(&world, "read-aloud", read_aloud()).await;
    assert_eq!(world.state(&created.id).await, "PENDING");
}

#[tokio::test]
async fn a_consent_in_the_flows_mode_passes() {
    let vendor = ScriptedVendor::start().await;
    let world = vendor.world().await;
    vendor.finds(json!({
        "Text": { "ErrCode": 0 },
        "IsVerifyIntention": true,
        "IntentionVerifyType": "2",
        "IntentionVerifyData": { "ErrorCode": 0, "AsrResult": "我同意开户" },
    }));
    let created = created(&world, "read-aloud", read_aloud()).await;
    assert_eq!(world.state(&created.id).await, "PASSED");
}

#[tokio::test]
async fn a_script_that_the_flow_does_not_run_is_refused_before_the_vendor_is_asked() {
    let vendor = ScriptedVendor::start().await;
    let world = vendor.world().await;
    let nods = || Some(Mode::Nods(NodScript { statements: vec!["请点头确认".into()], speech_speed: None }));
    for (flow, mode) in [("onboarding", read_aloud()), ("read-aloud", nods()), ("read-aloud", None)] {
        let intention = mode.map(|mode| IntentionScript { mode: Some(mode) });
        let request = CreateVerificationRequest { flow: flow.into(), intention, ..world.request() };
        let refused = world.create(request).await.err().expect("a refusal");
        assert_eq!(refused.code(), tonic::Code::InvalidArgument, "{refused:?}");
        assert!(refused.message().contains("intention"), "{refused:?}");
    }
    assert!(vendor.asked("DetectAuth").is_empty());
}

/// Odd values beside `ErrCode` 0, none of which decides anything.
#[tokio::test]
async fn what_decides_nothing_blocks_nothing() {
    let vendor = ScriptedVendor::start().await;
    let world = vendor.world().await;
    let oddities = [
        json!({ "Sim": 95.51 }),
        json!({ "LivenessMode": "1" }),
        json!({ "LivenessDetail": {} }),
        json!({ "LivenessDetail": "none" }),
        json!({ "Name": ["张", "三"] }),
        json!({ "UseIDType": 3_000_000_000_i64 }),
        json!({ "NFCRequestIds": "one" }),
        json!({ "LivenessDetail": [{ "ReqTime": 1_700_000_000, "IsNeedCharge": "true", "Errcode": "0", "Sim": {} }] }),
    ];
    for odd in oddities {
        let mut text = odd.clone();
        text["ErrCode"] = json!("0");
        let beside = json!(["-9102", "x"]);
        vendor.finds(json!({ "Text": text, "IsVerifyIntention": "false", "IdCardData": { "WarnInfos": beside } }));
        let created = world.created().await;
        assert_eq!(world.state(&created.id).await, "PASSED", "{odd}");
    }
}

#[tokio::test]
async fn what_decides_and_cannot_be_read_changes_nothing() {
    let vendor = ScriptedVendor::start().await;
    let world = vendor.world().await;
    let created = world.created().await;
    world.skew(AFTER_THE_END_S);
    for text in [json!({ "ErrCode": "soon" }), json!({ "ErrCode": [0] }), json!([0])] {
        vendor.finds(json!({ "Text": text, "IsVerifyIntention": false }));
        let refused = world.result(&created.id).await.err().expect("an error");
        assert_eq!(refused.code(), tonic::Code::Unavailable, "{text}");
        assert_eq!(world.stored_state(&created.id).await, "pending", "{text}");
    }
}

#[tokio::test]
async fn attempts_without_a_sequence_are_counted_each() {
    let vendor = ScriptedVendor::start().await;
    let world = vendor.world().await;
    vendor.finds(json!({
        "Text": { "ErrCode": 0, "LivenessDetail": [
            { "Seq": "", "ReqTime": "1700000000", "Errcode": 2016, "IsNeedCharge": true },
            { "Seq": "", "ReqTime": "1700000000000", "Errcode": 2016, "IsNeedCharge": true },
            { "Seq": null, "Errcode": 0, "IsNeedCharge": true },
        ] },
        "IsVerifyIntention": false,
    }));
    let created = world.created().await;
    let told = succeeded(world.result(&created.id).await);
    assert_eq!(told.verification.expect("a verification").charged_attempts, 3);
    let times: Vec<_> =
        told.result.expect("a result").attempts.into_iter().map(|attempt| attempt.attempt_time).collect();
    let seconds: Vec<_> = times.into_iter().map(|time| time.map(|time| time.seconds)).collect();
    assert_eq!(seconds, [Some(1_700_000_000), Some(1_700_000_000), None]);
}

#[tokio::test]
async fn a_code_is_explained_with_the_mode_of_the_flow() {
    let vendor = ScriptedVendor::start().await;
    let world = vendor.world().await;
    vendor.finds(json!({
        "Text": { "ErrCode": 0 },
        "IsVerifyIntention": true,
        "IntentionVerifyType": "2",
        "IntentionVerifyData": { "ErrorCode": -15 },
    }));
    let created = created(&world, "read-aloud", read_aloud()).await;
    let told = succeeded(world.result(&created.id).await).verification.expect("a verification");
    assert!(told.attempts_exhausted);
    let attempt = told.last_attempt.expect("an attempt");
    assert!(attempt.advice() == Advice::NewVerification, "{}", attempt.meaning);
    assert_eq!(attempt.meaning_zh, "超过设定的重试次数");
}

#[tokio::test]
async fn a_url_that_is_not_https_is_not_handed_to_callers() {
    let vendor = ScriptedVendor::start().await;
    let world = vendor.world().await;
    let long = format!("https://faceid.example.com/{}", "x".repeat(200_000));
    for url in ["javascript:alert(1)", "http://faceid.example.com/h5", &long] {
        vendor.says("DetectAuth", json!({ "BizToken": "SCRIPTED-URL", "Url": url }));
        let refused = world.create(world.request()).await.err().expect("an error");
        assert_eq!(refused.code(), tonic::Code::Unavailable, "{refused:?}");
        assert!(!refused.message().contains("javascript"), "{refused:?}");
    }
}

#[tokio::test]
async fn a_vendor_that_repeats_a_token_is_not_taken_for_a_store_that_is_down() {
    let vendor = ScriptedVendor::start().await;
    let world = vendor.world().await;
    vendor.says("DetectAuth", json!({ "BizToken": "SCRIPTED-AGAIN", "Url": "https://faceid.example.com/h5" }));
    world.created().await;
    let refusal = refused(world.create(world.request()).await);
    assert_eq!(refusal.reason, "VENDOR_UNAVAILABLE");
    let told = world.create(world.request()).await.err().expect("an error");
    assert!(told.message().contains("BizToken was given before"), "{told:?}");
}
