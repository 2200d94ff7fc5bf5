//! Redaction: erases a person, keeps the skeleton.

use crate::harness::{Created, ID_NUMBER, LOANS, ORDERS, World, bearing, by_id, refused, state_name, succeeded};
use faceid_gateway::grpc::pb::{
    CancelVerificationRequest, CreateVerificationRequest, GetResultRequest, RedactVerificationRequest, ResultView,
    Verification,
};
use prost::Message;
use serde_json::json;
use tonic::{Code, Response, Status};

async fn redact(world: &World, token: &str, id: &str) -> Result<Verification, Status> {
    let request = RedactVerificationRequest { verification_id: id.to_owned() };
    let answer = world.client().redact_verification(bearing(token, request)).await.map(Response::into_inner)?;
    Ok(answer.verification.expect("a verification"))
}

fn labelled(world: &World) -> CreateVerificationRequest {
    CreateVerificationRequest {
        request_id: "r-1".into(),
        labels: [("who".to_owned(), "someone".to_owned())].into(),
        ..world.request()
    }
}

async fn passed(world: &World) -> Created {
    let created = Created::of(succeeded(world.create(labelled(world)).await));
    world.attempt(&created, 0).await;
    assert_eq!(world.state(&created.id).await, "PASSED");
    created
}

async fn assert_only_the_skeleton_is_left(world: &World, created: &Created) {
    let full = GetResultRequest { view: ResultView::Full.into(), ..by_id(&created.id) };
    let told = succeeded(world.result_as(ORDERS, full).await);
    assert!(told.result.is_none());
    let verification = told.verification.expect("a verification");
    assert!(verification.redact_time.is_some() && verification.labels.is_empty());
    let bytes = verification.encode_to_vec();
    assert!(!bytes.windows(ID_NUMBER.len()).any(|window| window == ID_NUMBER.as_bytes()));
}

#[tokio::test]
async fn erases_the_person_and_keeps_state_ledger_and_trail() {
    let world = World::start().await;
    let created = Created::of(succeeded(world.create(labelled(&world)).await));
    let redirect = world.attempt(&created, 0).await;
    assert_eq!(world.get(&redirect).await.0, 303);
    let redacted = succeeded(redact(&world, ORDERS, &created.id).await);
    assert_eq!((state_name(&redacted), redacted.charged_attempts), ("PASSED", 1));
    assert_only_the_skeleton_is_left(&world, &created).await;
    let again = succeeded(redact(&world, ORDERS, &created.id).await);
    assert_eq!(again.redact_time, redacted.redact_time, "twice is once");
    assert_eq!(world.rows("attempts"), 1);
    assert_eq!(world.audit(&created.id).await, ["orders created", "orders redacted", "orders viewed_full"]);

    for refusal in [refused(world.callback(&redirect).await), refused(world.create(labelled(&world)).await)] {
        assert_eq!((refusal.code, refusal.reason.as_str()), (Code::FailedPrecondition, "REDACTED"));
    }
    assert_eq!(world.get(&redirect).await.0, 404);
}

#[tokio::test]
async fn a_pending_verification_is_canceled_first_and_still_billed() {
    let world = World::start().await;
    let created = world.created().await;
    let refusal = refused(redact(&world, ORDERS, &created.id).await);
    assert_eq!((refusal.code, refusal.reason.as_str()), (Code::FailedPrecondition, "STILL_PENDING"));
    let cancel = CancelVerificationRequest { verification_id: created.id.clone() };
    succeeded(world.client().cancel_verification(bearing(ORDERS, cancel)).await);
    succeeded(redact(&world, ORDERS, &created.id).await);

    world.attempt(&created, 2016).await;
    world.advance(7203).await;
    world.until("the last look", async || world.settle_jobs() == 0).await;
    let told = succeeded(world.result(&created.id).await);
    assert!(told.result.is_none(), "what came late is not kept");
    assert_eq!(told.verification.expect("a verification").charged_attempts, 1);
    let row = world.gateway.store.find(&created.id).await.expect("store").expect("a row");
    assert!(row.created.sealed_session.is_empty(), "the token is not needed any more");
}

#[tokio::test]
async fn redacted_after_its_end_but_before_its_last_look_it_is_still_billed() {
    let world = World::start().await;
    let created = world.created().await;
    let cancel = CancelVerificationRequest { verification_id: created.id.clone() };
    succeeded(world.client().cancel_verification(bearing(ORDERS, cancel)).await);
    world.attempt(&created, 2016).await;
    world
        .fault(json!({"action": "GetDetectInfoEnhanced", "kind": "error_code", "code": "InternalError", "times": 2}))
        .await;
    world.advance(7203).await;
    world.until("a failed look", async || world.vendor_calls("GetDetectInfoEnhanced").await == 1).await;
    world.until("its end", async || world.leased_jobs() == 0).await;
    succeeded(redact(&world, ORDERS, &created.id).await);
    world
        .until("the last look", async || {
            world.advance(60).await;
            world.settle_jobs() == 0
        })
        .await;
    let told = succeeded(world.result(&created.id).await).verification.expect("a verification");
    assert_eq!(told.charged_attempts, 1);
}

#[tokio::test]
async fn retention_redacts_by_itself() {
    let world = World::start().await;
    let created = passed(&world).await;
    world.advance(179 * 24 * 3600).await;
    assert!(succeeded(world.result(&created.id).await).result.is_some());
    world.advance(2 * 24 * 3600).await;
    let is_redacted =
        async || world.gateway.store.find(&created.id).await.expect("store").expect("a row").redacted_at_ms.is_some();
    world.until("the retention", is_redacted).await;
    assert_only_the_skeleton_is_left(&world, &created).await;
    assert!(world.audit(&created.id).await.contains(&"retention redacted".to_owned()));
}

#[tokio::test]
async fn only_the_owner_redacts() {
    let world = World::start().await;
    let created = passed(&world).await;
    assert_eq!(refused(redact(&world, LOANS, &created.id).await).code, Code::NotFound);
    assert_eq!(refused(redact(&world, ORDERS, "7").await).fields, ["verification_id"]);
}

#[tokio::test]
async fn a_reader_of_the_database_holds_up_no_redaction_and_no_other_write() {
    let world = World::start().await;
    let created = passed(&world).await;
    let scrubs =
        |condition: &str| world.count(&format!("SELECT count(*) FROM jobs WHERE kind = 'scrub' AND {condition}"));
    world.until("the scrub of the start", async || scrubs("TRUE") == 0).await;
    let reader = rusqlite::Connection::open(world.folder.path().join("gateway.db")).expect("a prompt");
    reader.execute_batch("BEGIN").expect("begun");
    let sealed = "SELECT sealed_subject FROM verifications WHERE id = ?1";
    let sealed: Vec<u8> = reader.query_row(sealed, [&created.id], |row| row.get(0)).expect("a subject");

    let redacted = succeeded(redact(&world, ORDERS, &created.id).await);
    assert!(redacted.redact_time.is_some());
    world.until("a scrub that fails", async || scrubs("failures > 0 AND lease_token IS NULL") == 1).await;
    world.created().await;
    let stands = || {
        ["gateway.db", "gateway.db-wal"]
            .map(|file| std::fs::read(world.folder.path().join(file)).expect("a file"))
            .iter()
            .any(|bytes| bytes.windows(sealed.len()).any(|window| window == sealed))
    };
    assert!(stands(), "the reader still has it");

    drop(reader);
    world.advance(60).await;
    world.until("the scrub that succeeds", async || scrubs("TRUE") == 0).await;
    assert!(!stands());
}
