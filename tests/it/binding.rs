//! Somebody writes to the database past the gateway: nothing of it is believed.

use crate::harness::{Created, LOANS, ORDERS, World, bearing, by_id, refused, succeeded};
use faceid_gateway::grpc::pb::{DownloadEvidenceRequest, ListVerificationsRequest, WatchVerificationsRequest};
use rusqlite::Connection;
use tonic::{Code, Response};

/// Runs a statement on the gateway's database.
fn write(world: &World, sql: &str) {
    let database = Connection::open(world.folder.path().join("gateway.db")).expect("the database");
    assert_ne!(database.execute(sql, []).expect("a write"), 0, "{sql} changes nothing");
}

async fn attempted(world: &World, code: i32) -> Created {
    let created = world.created().await;
    world.attempt(&created, code).await;
    world.state(&created.id).await;
    created
}

async fn listed(world: &World, token: &str) -> (usize, Vec<String>) {
    let request = bearing(token, ListVerificationsRequest::default());
    let page = succeeded(world.client().list_verifications(request).await).into_inner();
    (page.verifications.len(), page.unreadable_verification_ids)
}

#[tokio::test]
async fn what_was_changed_in_a_row_is_noticed_and_hides_no_other() {
    let changes = [
        ("a verdict made up", "state = 'passed', settled_at_ms = created_at_ms + 1"),
        (
            "a verdict made up, and no MAC",
            "state = 'passed', settled_at_ms = created_at_ms + 1, mac = x'', mac_key_id = ''",
        ),
        ("the MAC of another", "mac = (SELECT mac FROM verifications WHERE id = 'OTHER')"),
        ("a code made up", "last_attempt_code = 0"),
        ("the reference of another", "reference = 'order-of-another'"),
        ("a later end", "expires_at_ms = expires_at_ms + 86400000"),
        ("the result of another", "sealed_result = (SELECT sealed_result FROM verifications WHERE id = 'OTHER')"),
        ("the subject of another", "sealed_subject = (SELECT sealed_subject FROM verifications WHERE id = 'OTHER')"),
        ("another version", "version = version + 1"),
        ("another flow", "flow = 'photo'"),
    ];
    for (what, change) in changes {
        let world = World::start().await;
        let other = attempted(&world, 0).await;
        let changed = attempted(&world, 2016).await;
        let change = change.replace("OTHER", &other.id);
        write(&world, &format!("UPDATE verifications SET {change} WHERE id = '{}'", changed.id));
        let refusal = refused(world.result(&changed.id).await);
        assert_eq!(refusal.code, Code::Internal, "{what}");
        assert_eq!(listed(&world, ORDERS).await, (1, vec![changed.id.clone()]), "{what}");
        assert_eq!(world.state(&other.id).await, "PASSED", "{what}");
    }
}

#[tokio::test]
async fn a_result_that_was_moved_to_another_caller_is_not_told() {
    let world = World::start().await;
    let created = attempted(&world, 0).await;
    write(&world, &format!("UPDATE verifications SET caller = 'loans' WHERE id = '{}'", created.id));
    assert_eq!(refused(world.result_as(LOANS, by_id(&created.id)).await).code, Code::Internal);
    assert_eq!(refused(world.result_as(ORDERS, by_id(&created.id)).await).code, Code::NotFound);
    assert_eq!(listed(&world, LOANS).await, (0, vec![created.id]));
}

#[tokio::test]
async fn an_earlier_result_of_the_same_verification_does_not_open() {
    let world = World::start().await;
    let created = attempted(&world, 2016).await;
    let path = world.folder.path().join("gateway.db");
    let kept = "CREATE TABLE kept AS SELECT sealed_result FROM verifications";
    Connection::open(path).expect("the database").execute_batch(kept).expect("kept");
    world.attempt(&created, 0).await;
    assert_eq!(world.state(&created.id).await, "PASSED");
    write(&world, "UPDATE verifications SET sealed_result = (SELECT sealed_result FROM kept)");
    assert_eq!(refused(world.result(&created.id).await).code, Code::Internal);
}

#[tokio::test]
async fn an_event_that_was_made_up_is_not_passed_on() {
    let world = World::start().await;
    let request = bearing(ORDERS, WatchVerificationsRequest::default());
    let mut stream = succeeded(world.client().watch_verifications(request).await).into_inner();
    let created = world.created().await;
    let forged = format!(
        "INSERT INTO events (at_ms, caller, verification_id, flow, kind, state, last_attempt_code) \
         SELECT at_ms, caller, verification_id, flow, 'settled', 'passed', 0 FROM events WHERE verification_id = '{}'",
        created.id
    );
    write(&world, &forged);
    let genuine = world.created().await;
    let mut told = Vec::new();
    while told.last() != Some(&genuine.id) {
        let event = succeeded(stream.message().await).expect("the stream goes on").event;
        told.extend(event.map(|event| event.verification_id));
    }
    assert_eq!(told, [created.id, genuine.id]);
}

#[tokio::test]
async fn evidence_of_another_verification_does_not_open() {
    let world = World::start().await;
    let mut ids = Vec::new();
    for _ in 0..2 {
        let created = Created::of(succeeded(world.create(world.photo_request()).await));
        world.attempt(&created, 0).await;
        let is_stored = async || !succeeded(world.result(&created.id).await).evidence.is_empty();
        world.until("the evidence", is_stored).await;
        ids.push(created.id);
    }
    let mine = &ids[1];
    write(&world, &format!("DELETE FROM evidence WHERE verification_id = '{}'", mine));
    write(&world, &format!("UPDATE evidence SET verification_id = '{}'", mine));
    let told = succeeded(world.result(mine).await).evidence;
    let request = DownloadEvidenceRequest { verification_id: mine.clone(), evidence_id: told[0].evidence_id.clone() };
    let opened = world.client().download_evidence(bearing(ORDERS, request)).await;
    let status = match opened.map(Response::into_inner) {
        Ok(mut stream) => stream.message().await.err().expect("nothing opens"),
        Err(status) => status,
    };
    assert!(matches!(status.code(), Code::Internal | Code::DataLoss), "{status}");
}
