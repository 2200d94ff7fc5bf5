//! Media as the vendor sends them, not as they are documented: each is kept or told by itself.

use crate::engine;
use crate::harness::{Created, ORDERS, World, bearing, by_id, succeeded};
use crate::scripted_vendor::ScriptedVendor;
use base64::{Engine, prelude::BASE64_STANDARD};
use faceid_gateway::grpc::pb::{
    DownloadEvidenceRequest, Evidence, EvidenceKind, GetResultRequest, GetResultResponse, ResultView,
    VerificationEventKind, WatchVerificationsRequest, WatchVerificationsResponse, download_evidence_response::Part,
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tonic::Streaming;

/// Longer than the vendor keeps anything.
const AFTER_THREE_DAYS_S: i64 = 3 * 24 * 3600 + 60;
const COS_URL: &str = "https://bucket.cos.ap-guangzhou.myqcloud.com/s.mp4?sign=a%2Fb";

fn picture(seed: u8) -> Vec<u8> {
    [&[0xFF, 0xD8, 0xFF, 0xE0][..], &[seed; 50]].concat()
}

fn film(seed: u8, length: usize) -> Vec<u8> {
    [&b"\0\0\0\x18ftypisom"[..], &vec![seed; length]].concat()
}

fn base64(bytes: &[u8]) -> String {
    BASE64_STANDARD.encode(bytes)
}

/// What a passed person's answer has beside its media.
fn passed(mut media: Value) -> Value {
    media["Text"] = json!({ "ErrCode": 0 });
    media
}

fn refused(code: &str) -> Value {
    json!({ "Error": { "Code": code, "Message": "" } })
}

/// What `request` asks for, without the questions for text.
fn is_for_media(request: &Value) -> bool {
    request["InfoType"].as_str().expect("digits").contains(['2', '3', '4'])
}

fn media_requests(vendor: &ScriptedVendor) -> Vec<Value> {
    vendor.asked("GetDetectInfoEnhanced").into_iter().filter(is_for_media).collect()
}

/// A verification of a flow that keeps everything, which has passed.
async fn verified(world: &World) -> Created {
    let created = Created::of(succeeded(world.create(world.photo_request()).await));
    assert_eq!(world.state(&created.id).await, "PASSED");
    created
}

async fn told(world: &World, id: &str, view: ResultView) -> GetResultResponse {
    succeeded(world.result_as(ORDERS, GetResultRequest { view: view.into(), ..by_id(id) }).await)
}

async fn fetched(world: &World, id: &str) -> GetResultResponse {
    world.until("the evidence", async || !told(world, id, ResultView::Masked).await.evidence_pending).await;
    told(world, id, ResultView::Full).await
}

/// The fetch goes on as often as it is due, until the condition holds.
async fn until_fetched(world: &World, what: &str, mut condition: impl AsyncFnMut() -> bool) {
    world
        .until(what, async || {
            world.skew(20);
            condition().await
        })
        .await;
}

fn one(evidence: &[Evidence], kind: EvidenceKind, position: u32) -> &Evidence {
    let found = evidence.iter().filter(|evidence| evidence.kind() == kind && evidence.position == position);
    let found: Vec<_> = found.collect();
    assert_eq!(found.len(), 1, "{} {position}", kind.as_str_name());
    found[0]
}

fn reason(evidence: &Evidence) -> &'static str {
    evidence.not_kept_reason().as_str_name().trim_start_matches("NOT_KEPT_REASON_")
}

#[track_caller]
fn assert_kept(evidence: &Evidence, content: &[u8]) {
    assert_eq!(reason(evidence), "UNSPECIFIED", "{}", evidence.kind().as_str_name());
    assert_eq!(evidence.sha256, Sha256::digest(content).to_vec(), "{}", evidence.kind().as_str_name());
}

#[tokio::test]
async fn a_medium_that_is_a_reference_is_told_and_the_others_are_kept() {
    let vendor = ScriptedVendor::start().await;
    let world = vendor.world().await;
    vendor.finds(passed(json!({
        "BestFrame": { "BestFrame": base64(&picture(1)) },
        "VideoData": { "LivenessVideos": [{ "Seq": "s-1", "Video": COS_URL }] },
    })));
    let created = verified(&world).await;
    let full = fetched(&world, &created.id).await;
    assert_eq!(full.evidence.len(), 2);
    assert_kept(one(&full.evidence, EvidenceKind::BestFrame, 0), &picture(1));
    let video = one(&full.evidence, EvidenceKind::LivenessVideo, 0);
    assert_eq!(reason(video), "REFERENCE");
    assert_eq!((video.vendor_text.as_str(), video.attempt_sequence_id.as_str()), (COS_URL, "s-1"));
    assert!(video.evidence_id.is_empty() && video.sha256.is_empty());
    assert!(!full.verification.expect("a verification").evidence_lost);

    let masked = told(&world, &created.id, ResultView::Masked).await.evidence;
    let video = one(&masked, EvidenceKind::LivenessVideo, 0);
    assert_eq!((reason(video), video.vendor_text.as_str()), ("REFERENCE", ""));
    assert!(told(&world, &created.id, ResultView::Basic).await.evidence.is_empty());
    assert!(!engine::holds(world.folder.path(), &COS_URL[..20]), "the reference is in the clear");

    // Its place is kept no longer than evidence.
    world.skew(31 * 24 * 3600);
    world.until("the end of the blobs", async || world.blobs().is_empty()).await;
    world
        .until("the end of the reference", async || {
            let evidence = told(&world, &created.id, ResultView::Full).await.evidence;
            one(&evidence, EvidenceKind::LivenessVideo, 0).vendor_text.is_empty()
        })
        .await;
}

#[tokio::test]
async fn base64_is_read_in_every_spelling() {
    let vendor = ScriptedVendor::start().await;
    let world = vendor.world().await;
    let plain = base64(&picture(0xFB));
    let lines = plain.as_bytes().chunks(16).map(|line| std::str::from_utf8(line).expect("ASCII"));
    vendor.finds(passed(json!({
        "BestFrame": { "BestFrame": "", "BestFrames": [
            lines.collect::<Vec<_>>().join("\r\n"),
            plain.trim_end_matches('='),
            format!("data:image/jpeg;base64,{plain}"),
            plain.replace('+', "-").replace('/', "_"),
            null_as_text(),
        ] },
    })));
    let created = verified(&world).await;
    let evidence = fetched(&world, &created.id).await.evidence;
    assert_eq!(evidence.len(), 5, "an empty text is not there");
    for position in 0..4 {
        assert_kept(one(&evidence, EvidenceKind::BestFrame, position), &picture(0xFB));
    }
    let broken = one(&evidence, EvidenceKind::BestFrame, 4);
    assert_eq!((reason(broken), broken.vendor_text.as_str()), ("WRONG_CONTENT", "null"));
}

/// Is base64 of three bytes, and no picture.
fn null_as_text() -> &'static str {
    "null"
}

#[tokio::test]
async fn what_is_over_the_limit_is_told_and_the_others_are_kept() {
    let vendor = ScriptedVendor::start().await;
    let world = vendor.world().await;
    let large = base64(&film(1, 49 * 1024 * 1024));
    vendor.says_by("GetDetectInfoEnhanced", move |request| {
        if !is_for_media(request) {
            return passed(json!({}));
        }
        json!({
            "BestFrame": { "BestFrame": base64(&picture(1)) },
            "VideoData": { "LivenessVideo": large, "LivenessVideos": [{ "Seq": "s-1", "Video": base64(&film(2, 70_000)) }] },
        })
    });
    let created = verified(&world).await;
    let evidence = fetched(&world, &created.id).await.evidence;
    assert_eq!(reason(one(&evidence, EvidenceKind::LivenessVideo, 0)), "TOO_LARGE");
    let small = one(&evidence, EvidenceKind::LivenessVideo, 1);
    assert_kept(small, &film(2, 70_000));
    assert_kept(one(&evidence, EvidenceKind::BestFrame, 0), &picture(1));
    assert_eq!(world.blobs().len(), 2);

    let request =
        DownloadEvidenceRequest { verification_id: created.id.clone(), evidence_id: small.evidence_id.clone() };
    let mut stream = world.client().download_evidence(bearing(ORDERS, request)).await.expect("a stream").into_inner();
    let mut bytes = Vec::new();
    while let Some(next) = stream.message().await.expect("whole") {
        if let Some(Part::Chunk(chunk)) = next.part {
            bytes.extend(chunk);
        }
    }
    assert!(bytes == film(2, 70_000));
}

#[tokio::test]
async fn content_counts_against_no_endpoint_and_is_not_asked_for_at_once() {
    const ANSWERS: usize = 100;
    let vendor = ScriptedVendor::start().await;
    let world = vendor.world().await;
    vendor.finds(passed(json!({
        "BestFrame": { "BestFrame": "not base64 at all!" },
        "IdCardData": { "OcrFront": "<Error>NoSuchKey</Error>", "OcrBack": { "odd": true } },
        "VideoData": { "LivenessVideo": "QUJD", "LivenessVideos": [{ "Video": COS_URL }, { "Video": 5 }] },
    })));
    let mut ids = Vec::new();
    for _ in 0..ANSWERS {
        ids.push(verified(&world).await.id);
        succeeded(world.create(world.request()).await);
    }
    for id in &ids {
        let evidence = fetched(&world, id).await.evidence;
        let reasons: Vec<_> = evidence.iter().map(reason).collect();
        // The last is what stands in the place of the card's back, and is no text at all.
        assert_eq!(reasons, ["NOT_BASE64", "NOT_BASE64", "WRONG_CONTENT", "REFERENCE", "NOT_BASE64"]);
    }
    assert_eq!(media_requests(&vendor).len(), ANSWERS, "each was asked for once");
    assert!(world.blobs().is_empty());
    succeeded(world.create(world.request()).await);
}

#[tokio::test]
async fn without_a_storage_for_all_videos_the_one_is_fetched() {
    let vendor = ScriptedVendor::start().await;
    let world = vendor.world().await;
    vendor.says_by("GetDetectInfoEnhanced", |request| {
        if request["IsReturnAllVideo"] == json!(true) {
            return refused("FailedOperation.StsUnAuthErrError");
        }
        passed(json!({
            "BestFrame": { "BestFrame": base64(&picture(1)) },
            "VideoData": { "LivenessVideo": base64(&film(1, 100)) },
        }))
    });
    let created = verified(&world).await;
    let evidence = fetched(&world, &created.id).await.evidence;
    assert_eq!(evidence.len(), 2);
    assert_kept(one(&evidence, EvidenceKind::BestFrame, 0), &picture(1));
    assert_kept(one(&evidence, EvidenceKind::LivenessVideo, 0), &film(1, 100));
    assert_eq!(media_requests(&vendor).len(), 2, "with all videos and without; with no other key pair");
}

#[tokio::test]
async fn a_part_that_cannot_be_had_costs_no_other_and_is_told_as_lost() {
    let vendor = ScriptedVendor::start().await;
    let world = vendor.world().await;
    vendor.says_by("GetDetectInfoEnhanced", |request| {
        let digits = request["InfoType"].as_str().expect("digits");
        if digits.contains('4') {
            return refused("FailedOperation.FileSaveError");
        }
        let mut answer = passed(json!({}));
        if digits.contains('3') {
            answer["BestFrame"] = json!({ "BestFrame": base64(&picture(1)) });
        }
        answer
    });
    let mut events = watch(&world).await;
    let created = verified(&world).await;
    until_fetched(&world, "the frame", async || !told(&world, &created.id, ResultView::Full).await.evidence.is_empty())
        .await;
    let still = told(&world, &created.id, ResultView::Full).await;
    assert_kept(one(&still.evidence, EvidenceKind::BestFrame, 0), &picture(1));
    assert!(still.evidence_pending && !still.verification.expect("a verification").evidence_lost);
    assert_eq!(world.blobs().len(), 1);
    let asked = media_requests(&vendor);
    let (first, later) = asked.split_first().expect("it was asked");
    assert_eq!(first["InfoType"], "23456");
    assert!(later.iter().all(|request| request["InfoType"].as_str().expect("digits").len() == 1), "{later:?}");

    world.skew(AFTER_THREE_DAYS_S);
    let lost = fetched(&world, &created.id).await;
    assert!(lost.verification.expect("a verification").evidence_lost);
    assert_eq!(lost.evidence.len(), 1, "what is kept stays");
    let (kinds, told) = until_event(&mut events, VerificationEventKind::EvidenceLost).await;
    assert_eq!(told, created.id);
    assert_eq!(kinds.iter().filter(|kind| **kind == VerificationEventKind::EvidenceStored).count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_answer_that_says_nothing_is_pending_says_what_is_not_kept() {
    let vendor = ScriptedVendor::start().await;
    let world = vendor.world().await;
    vendor.finds(passed(json!({
        "BestFrame": { "BestFrame": "!!!" },
        "VideoData": { "LivenessVideo": base64(&film(1, 9)) },
    })));
    for _ in 0..20 {
        let created = verified(&world).await;
        // Readers at every moment of the fetch: whichever sees its end sees all of it.
        let read_until_the_end = async || loop {
            let told = told(&world, &created.id, ResultView::Full).await;
            if !told.evidence_pending {
                return told;
            }
        };
        for told in futures_util::future::join_all((0..8).map(|_| read_until_the_end())).await {
            assert_eq!(reason(one(&told.evidence, EvidenceKind::BestFrame, 0)), "NOT_BASE64");
            one(&told.evidence, EvidenceKind::LivenessVideo, 0);
        }
    }
}

#[tokio::test]
async fn a_flow_that_keeps_nothing_loses_nothing() {
    let vendor = ScriptedVendor::start().await;
    let world = vendor.world().await;
    vendor.finds(passed(json!({ "BestFrame": { "BestFrame": base64(&picture(1)) } })));
    let created = world.created().await;
    assert_eq!(world.state(&created.id).await, "PASSED");
    world.skew(AFTER_THREE_DAYS_S);
    let told = told(&world, &created.id, ResultView::Full).await;
    assert!(!told.evidence_pending && !told.verification.expect("a verification").evidence_lost);
    assert!(told.evidence.is_empty() && media_requests(&vendor).is_empty());
}

#[tokio::test]
async fn fields_beside_the_media_reach_the_result() {
    let vendor = ScriptedVendor::start().await;
    let world = vendor.world().await;
    vendor.says_by("GetDetectInfoEnhanced", |request| {
        if !is_for_media(request) {
            return passed(json!({}));
        }
        json!({
            "IdCardData": { "OcrFront": base64(&picture(1)), "WarnInfos": [-9102], "New": { "a": 1 } },
            "BestFrame": { "BestFrame": base64(&picture(2)), "Score": "0.9" },
            "VideoData": { "LivenessVideos": [{ "Seq": "s-1", "Video": base64(&film(1, 9)), "Codec": "h264" }], "BucketName": "b" },
        })
    });
    let created = verified(&world).await;
    let full = fetched(&world, &created.id).await;
    let result = full.result.expect("a result");
    assert_eq!(result.id_card.expect("an ID card").front_warnings, [-9102]);
    for (path, text) in [
        ("IdCardData.New.a", "1"),
        ("BestFrame.Score", r#""0.9""#),
        ("VideoData.LivenessVideos[0].Codec", r#""h264""#),
        ("VideoData.BucketName", r#""b""#),
    ] {
        assert_eq!(result.vendor_raw.get(path).map(String::as_str), Some(text), "{path}: {:?}", result.vendor_raw);
    }
    assert_eq!(full.evidence.len(), 3);
}

async fn watch(world: &World) -> Streaming<WatchVerificationsResponse> {
    let request = WatchVerificationsRequest::default();
    world.client().watch_verifications(bearing(ORDERS, request)).await.expect("a stream").into_inner()
}

/// The kinds of the events up to one of `kind`, and the verification that this one is of.
async fn until_event(
    events: &mut Streaming<WatchVerificationsResponse>,
    kind: VerificationEventKind,
) -> (Vec<VerificationEventKind>, String) {
    let mut kinds = Vec::new();
    loop {
        let told = events.message().await.expect("a message").expect("the stream goes on");
        let Some(event) = told.event else { continue };
        kinds.push(event.kind());
        if event.kind() == kind {
            return (kinds, event.verification_id);
        }
    }
}
