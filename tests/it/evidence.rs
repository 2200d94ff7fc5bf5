//! Photos, videos and sounds: taken from the vendor in the background, kept sealed, given out
//! verified, erased.

use crate::harness::{Created, LOANS, ORDERS, World, bearing, by_id, refused, succeeded};
use faceid_gateway::{
    app::Sweep,
    grpc::pb::{
        CreateVerificationRequest, DownloadEvidenceRequest, DownloadEvidenceResponse, Evidence, EvidenceKind,
        GetResultResponse, IntentionScript, ReadAloudScript, RedactVerificationRequest,
        download_evidence_response::Part, intention_script::Mode,
    },
};
use serde_json::json;
use sha2::{Digest, Sha256};
use tonic::{Code, Status, Streaming};

async fn passed(world: &World) -> Created {
    let created = Created::of(succeeded(world.create(world.photo_request()).await));
    world.attempt(&created, 2016).await;
    world.attempt(&created, 0).await;
    assert_eq!(world.state(&created.id).await, "PASSED");
    created
}

async fn told(world: &World, id: &str) -> GetResultResponse {
    succeeded(world.result_as(ORDERS, by_id(id)).await)
}

async fn stored(world: &World, created: &Created) -> Vec<Evidence> {
    world.until("the evidence", async || !told(world, &created.id).await.evidence_pending).await;
    told(world, &created.id).await.evidence
}

async fn open(
    world: &World,
    token: &str,
    id: &str,
    evidence_id: &str,
) -> Result<Streaming<DownloadEvidenceResponse>, Status> {
    let request = DownloadEvidenceRequest { verification_id: id.into(), evidence_id: evidence_id.into() };
    Ok(world.client().download_evidence(bearing(token, request)).await?.into_inner())
}

async fn download(world: &World, id: &str, evidence_id: &str) -> Result<(Evidence, Vec<u8>), Status> {
    let mut stream = open(world, ORDERS, id, evidence_id).await?;
    let Some(Part::Evidence(evidence)) = stream.message().await?.and_then(|first| first.part) else {
        panic!("the first message says what it is")
    };
    let mut bytes = Vec::new();
    while let Some(next) = stream.message().await? {
        let Some(Part::Chunk(chunk)) = next.part else { panic!("only chunks follow") };
        assert!((1..=65_536).contains(&chunk.len()));
        bytes.extend(chunk);
    }
    Ok((evidence, bytes))
}

#[tokio::test]
async fn is_fetched_sealed_and_given_out_whole() {
    let world = World::start().await;
    let created = passed(&world).await;
    let evidence = stored(&world, &created).await;
    let count = |kind: EvidenceKind| evidence.iter().filter(|evidence| evidence.kind() == kind).count();
    assert!(count(EvidenceKind::BestFrame) >= 2, "several best frames");
    for kind in [EvidenceKind::IdCardFront, EvidenceKind::IdCardBack, EvidenceKind::IdCardAvatar] {
        assert_eq!(count(kind), 1, "{}", kind.as_str_name());
    }
    assert!(count(EvidenceKind::LivenessVideo) >= 2, "one for each attempt");

    // The simulator marks every medium with a hash of its token: mixed-up evidence would show.
    let mark = hex::encode(Sha256::digest(created.token.as_bytes()))[..48].to_owned();
    for listed in &evidence {
        let (evidence, bytes) = succeeded(download(&world, &created.id, &listed.evidence_id).await);
        assert_eq!(evidence.size_bytes, bytes.len() as u64);
        assert_eq!(evidence.sha256, Sha256::digest(&bytes).to_vec());
        assert!(bytes[..200].windows(48).any(|window| window == mark.as_bytes()), "of another verification");
        let type_by_kind = if listed.kind() == EvidenceKind::LivenessVideo { "video/mp4" } else { "image/jpeg" };
        assert_eq!(evidence.content_type, type_by_kind);
    }
    for blob in world.blobs() {
        let bytes = std::fs::read(&blob).expect("a blob");
        assert!(!bytes.windows(48).any(|window| window == mark.as_bytes()), "{} is in the clear", blob.display());
    }
    assert_eq!(world.blobs().len(), evidence.len());
    assert!(world.audit(&created.id).await.contains(&"orders evidence_downloaded".to_owned()));
}

#[tokio::test]
async fn of_the_intention_step_is_kept_too() {
    let world = World::start().await;
    let script = IntentionScript { mode: Some(Mode::ReadAloud(ReadAloudScript { text: "我同意开户".into() })) };
    let request = CreateVerificationRequest { flow: "read-aloud".into(), intention: Some(script), ..world.request() };
    let created = Created::of(succeeded(world.create(request).await));
    world.attempt(&created, 0).await;
    assert_eq!(world.state(&created.id).await, "PASSED");
    let evidence = stored(&world, &created).await;
    for kind in [EvidenceKind::IntentionVideo, EvidenceKind::IntentionPhoto, EvidenceKind::IntentionAudio] {
        assert!(evidence.iter().any(|evidence| evidence.kind() == kind), "{}", kind.as_str_name());
    }
}

#[tokio::test]
async fn warnings_about_the_card_come_with_its_photos() {
    let world = World::start().await;
    let created = Created::of(succeeded(world.create(world.photo_request()).await));
    // The simulator warns about the front on 301.
    world.attempt(&created, 301).await;
    world.advance(7203).await;
    world.until("the last look", async || world.stored_state(&created.id).await == "failed").await;
    assert!(!stored(&world, &created).await.is_empty());
    let card = told(&world, &created.id).await.result.expect("a result").id_card.expect("an ID card");
    assert_eq!(card.front_warnings, [-9102]);
}

#[tokio::test]
async fn needs_its_right_and_its_owner() {
    let world = World::start().await;
    let created = passed(&world).await;
    let evidence_id = &stored(&world, &created).await[0].evidence_id;
    let refusal = refused(open(&world, LOANS, &created.id, evidence_id).await);
    assert_eq!((refusal.code, refusal.reason.as_str()), (Code::PermissionDenied, "RIGHT_MISSING"));
    let others = Created::of(succeeded(world.create_as(LOANS, world.photo_request()).await));
    assert_eq!(refused(open(&world, ORDERS, &others.id, evidence_id).await).code, Code::NotFound);
    assert_eq!(refused(open(&world, ORDERS, &created.id, &created.id).await).code, Code::NotFound);
    assert_eq!(refused(open(&world, ORDERS, "7", "8").await).fields, ["verification_id", "evidence_id"]);
}

#[tokio::test]
async fn is_fetched_again_after_an_answer_that_breaks_off() {
    let world = World::start().await;
    let created = Created::of(succeeded(world.create(world.photo_request()).await));
    world.attempt(&created, 0).await;
    assert_eq!(world.state(&created.id).await, "PASSED");
    // Whether the first fetch meets the fault or is quicker, there is a next one to come to.
    world.fault(json!({"action": "GetDetectInfoEnhanced", "kind": "cut_json"})).await;
    world
        .until("the evidence", async || {
            world.advance(20).await;
            !told(&world, &created.id).await.evidence_pending
        })
        .await;
    let evidence = told(&world, &created.id).await.evidence;
    assert_eq!(world.blobs().len(), evidence.len());
    assert!(!evidence.is_empty());
}

#[tokio::test]
async fn goes_with_the_person_when_that_is_redacted() {
    let world = World::start().await;
    let created = passed(&world).await;
    let evidence_id = stored(&world, &created).await[0].evidence_id.clone();
    let request = RedactVerificationRequest { verification_id: created.id.clone() };
    succeeded(world.client().redact_verification(bearing(ORDERS, request)).await);
    let refusal = refused(open(&world, ORDERS, &created.id, &evidence_id).await);
    assert_eq!((refusal.code, refusal.reason.as_str()), (Code::FailedPrecondition, "REDACTED"));
    world.until("the end of the blobs", async || world.blobs().is_empty()).await;
    let skeleton = told(&world, &created.id).await.evidence;
    assert!(!skeleton.is_empty() && skeleton.iter().all(|row| row.erase_time.is_some() && row.sha256.is_empty()));
}

#[tokio::test]
async fn that_arrives_after_redaction_is_not_kept() {
    let world = World::start().await;
    let created = Created::of(succeeded(world.create(world.photo_request()).await));
    world.attempt(&created, 0).await;
    world.fault(json!({"action": "GetDetectInfoEnhanced", "kind": "unknown_fields"})).await;
    world.fault(json!({"action": "GetDetectInfoEnhanced", "kind": "delay", "ms": 900})).await;
    assert_eq!(world.state(&created.id).await, "PASSED");
    world.until("the fetch", async || world.vendor_calls("GetDetectInfoEnhanced").await == 2).await;
    let request = RedactVerificationRequest { verification_id: created.id.clone() };
    succeeded(world.client().redact_verification(bearing(ORDERS, request)).await);
    world.until("the end of the fetch", async || !told(&world, &created.id).await.evidence_pending).await;
    assert!(told(&world, &created.id).await.evidence.is_empty());
    world.until("no blobs", async || world.blobs().is_empty()).await;
}

#[tokio::test]
async fn is_erased_after_its_own_retention() {
    let world = World::start().await;
    let created = passed(&world).await;
    assert!(!stored(&world, &created).await.is_empty());
    world.advance(31 * 24 * 3600).await;
    world.until("the end of the blobs", async || world.blobs().is_empty()).await;
    let told = told(&world, &created.id).await;
    assert!(told.result.is_some(), "the result is kept longer");
    assert!(told.evidence.iter().all(|row| row.erase_time.is_some()));
}

/// As a killed process leaves it: a blob of a verification, without a row.
fn leave_behind(world: &World, verification_id: &str, name: &str) {
    let folder = world.folder.path().join("evidence").join(verification_id);
    std::fs::create_dir_all(&folder).expect("a folder");
    std::fs::write(folder.join(name), b"left behind").expect("a file");
}

async fn swept(world: &World) -> Sweep {
    world.gateway.app.sweep_orphans().await.expect("swept")
}

#[tokio::test]
async fn a_blob_without_a_row_is_swept_by_the_second_run_that_finds_it() {
    let world = World::start().await;
    let created = passed(&world).await;
    let blobs = stored(&world, &created).await.len();
    leave_behind(&world, &created.id, "best_frame-0-01a20c39");
    std::fs::write(world.folder.path().join("evidence").join(&created.id).join("notes"), b"somebody else's")
        .expect("a file");
    assert_eq!(swept(&world).await.orphans, 0, "it may still get its row");
    world.advance(25 * 3600).await;
    let first = swept(&world).await;
    assert_eq!((first.orphans, first.deleted), (1, 0), "the first run only tells");
    assert_eq!(world.blobs().len(), blobs + 2);
    let second = swept(&world).await;
    assert_eq!((second.orphans, second.deleted), (1, 1));
    assert_eq!(world.blobs().len(), blobs + 1);
}

#[tokio::test]
async fn blobs_of_verifications_that_the_store_does_not_have_are_left_alone() {
    let world = World::start().await;
    let created = passed(&world).await;
    let blobs = stored(&world, &created).await.len();
    leave_behind(&world, "01a20c39-f179-7714-bb52-7f22ca46238b", "best_frame-0-01a20c39");
    world.advance(25 * 3600).await;
    for _ in 0..3 {
        let sweep = swept(&world).await;
        assert_eq!((sweep.foreign, sweep.orphans, sweep.deleted), (1, 0, 0));
    }
    assert_eq!(world.blobs().len(), blobs + 1);
}

#[tokio::test]
async fn a_sweep_that_would_delete_much_deletes_nothing() {
    let world = World::start().await;
    let created = passed(&world).await;
    let blobs = stored(&world, &created).await.len();
    // Half of all.
    for i in 0..blobs {
        leave_behind(&world, &created.id, &format!("best_frame-{i}-01a20c39"));
    }
    world.advance(25 * 3600).await;
    for _ in 0..3 {
        let sweep = swept(&world).await;
        assert_eq!((sweep.orphans, sweep.deleted, sweep.held_back), (blobs as u64, 0, true));
    }
    assert_eq!(world.blobs().len(), 2 * blobs);
}
