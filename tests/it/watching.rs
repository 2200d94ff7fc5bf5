//! WatchVerifications: no gap, nothing twice, across reconnects, restarts and callers.

use crate::engine;
use crate::harness::{LOANS, ORDERS, World, bearing, invalid, refused, succeeded};
use faceid_gateway::grpc::pb::{WatchVerificationsRequest, WatchVerificationsResponse};
use tonic::{Code, Status, Streaming};

async fn watch(
    world: &World,
    token: &str,
    resume_token: &str,
) -> Result<Streaming<WatchVerificationsResponse>, Status> {
    let request = WatchVerificationsRequest { resume_token: resume_token.into(), flow: String::new() };
    Ok(world.client().watch_verifications(bearing(token, request)).await?.into_inner())
}

async fn next(stream: &mut Streaming<WatchVerificationsResponse>) -> (String, WatchVerificationsResponse) {
    let mut told = succeeded(stream.message().await).expect("the stream goes on");
    while told.event.is_none() {
        told = succeeded(stream.message().await).expect("the stream goes on");
    }
    let event = told.event.as_ref().expect("an event");
    let kind = event.kind().as_str_name().trim_start_matches("VERIFICATION_EVENT_KIND_").to_owned();
    let state = event.state().as_str_name().trim_start_matches("VERIFICATION_STATE_");
    (format!("{kind} {state} {:?}", event.last_attempt_code), told)
}

#[tokio::test]
async fn tells_a_life_as_it_happens() {
    let world = World::start().await;
    let mut stream = succeeded(watch(&world, ORDERS, "").await);
    // The stream begins at the time of the call; an event of another caller is not ours.
    succeeded(world.create_as(LOANS, world.request()).await);
    let created = world.created().await;
    let (told, first) = next(&mut stream).await;
    assert_eq!(told, "CREATED PENDING None");
    assert_eq!(first.event.expect("an event").verification_id, created.id);
    assert!(first.caught_up);

    world.attempt(&created, 2016).await;
    assert_eq!(world.state(&created.id).await, "PENDING");
    assert_eq!(next(&mut stream).await.0, "ATTEMPTED PENDING Some(2016)");
    world.attempt(&created, 0).await;
    assert_eq!(world.state(&created.id).await, "PASSED");
    assert_eq!(next(&mut stream).await.0, "SETTLED PASSED Some(0)");
}

#[tokio::test]
async fn resumes_after_a_restart_without_gap_or_repeat() {
    let world = World::start().await;
    let mut stream = succeeded(watch(&world, ORDERS, "").await);
    let mut made = vec![world.created().await.id];
    let (_, first) = next(&mut stream).await;
    for _ in 0..150 {
        made.push(world.created().await.id);
    }
    let (simulator, folder) = world.stop_gateway().await;
    let mut ended = stream.message().await;
    while let Ok(Some(_)) = ended {
        ended = stream.message().await;
    }
    assert_eq!(ended.err().expect("the stream says why it ends").code(), Code::Unavailable);

    let world = World::start_with(simulator, folder).await;
    let mut stream = succeeded(watch(&world, ORDERS, &first.resume_token).await);
    let mut seen = vec![first.event.expect("an event").verification_id];
    let mut last = first.caught_up;
    while seen.len() < made.len() {
        let (_, told) = next(&mut stream).await;
        last = told.caught_up;
        seen.push(told.event.expect("an event").verification_id);
    }
    assert_eq!(seen, made);
    assert!(last, "the last of the backlog says so");
    let live = world.created().await.id;
    assert_eq!(next(&mut stream).await.1.event.expect("an event").verification_id, live);
}

#[tokio::test]
async fn a_reader_that_is_cut_off_at_once_can_come_back() {
    let world = World::start().await;
    let mut stream = succeeded(watch(&world, ORDERS, "").await);
    let hello = succeeded(stream.message().await).expect("a heartbeat");
    assert!(hello.event.is_none());
    drop(stream);
    let created = world.created().await;
    let mut stream = succeeded(watch(&world, ORDERS, &hello.resume_token).await);
    assert_eq!(next(&mut stream).await.1.event.expect("an event").verification_id, created.id);
}

#[tokio::test]
async fn a_resume_token_is_for_its_caller_only() {
    let world = World::start().await;
    let mut stream = succeeded(watch(&world, ORDERS, "").await);
    world.created().await;
    let token = next(&mut stream).await.1.resume_token;
    assert_eq!(refused(watch(&world, LOANS, &token).await), invalid(&["resume_token"]));
    assert_eq!(refused(watch(&world, ORDERS, &token[1..]).await), invalid(&["resume_token"]));
}

/// What the answer to a resume token says that cannot be resumed from.
async fn list_created_from(world: &World, resume_token: &str) -> String {
    let status = watch(world, ORDERS, resume_token).await.expect_err("refused");
    let details = tonic_types::StatusExt::get_error_details(&status);
    let info = details.error_info().expect("an ErrorInfo");
    assert_eq!((status.code(), info.reason.as_str()), (Code::FailedPrecondition, "EVENTS_MISSING"));
    let from = info.metadata["list_created_from"].clone();
    assert!(status.message().contains(&from), "{}", status.message());
    from
}

async fn last_token(world: &World) -> String {
    let mut stream = succeeded(watch(world, ORDERS, "").await);
    world.created().await;
    next(&mut stream).await.1.resume_token
}

#[tokio::test]
async fn a_token_from_before_a_restore_is_not_resumed_in_silence() {
    let world = World::start().await;
    let token = last_token(&world).await;
    let (simulator, folder) = world.stop_gateway().await;
    assert_eq!(engine::execute(folder.path(), "UPDATE store SET epoch = epoch + 1"), 1, "as a restore does");
    let world = World::start_with(simulator, folder).await;
    let from: jiff::Timestamp = list_created_from(&world, &token).await.parse().expect("a time");
    let now = world.now();
    assert!(now.duration_since(from).as_hours() >= 71, "what was created before and ended since has events too");
    // A new one holds.
    let token = last_token(&world).await;
    succeeded(watch(&world, ORDERS, &token).await);
}

#[tokio::test]
async fn a_token_from_beyond_the_log_is_not_resumed_in_silence() {
    let world = World::start().await;
    world.created().await;
    let (simulator, folder) = world.stop_gateway().await;
    let (database, copy) = (folder.path().join("gateway.db"), folder.path().join("copy.db"));
    std::fs::copy(&database, &copy).expect("copied");
    let world = World::start_with(simulator, folder).await;
    let token = last_token(&world).await;
    let (simulator, folder) = world.stop_gateway().await;
    // Put back by hand, without `restore`.
    std::fs::copy(&copy, &database).expect("copied");
    let world = World::start_with(simulator, folder).await;
    list_created_from(&world, &token).await;
}
