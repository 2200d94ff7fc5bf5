//! A store that moves from SQLite to PostgreSQL.

use crate::{
    engine,
    harness::{Created, World, succeeded},
};
use faceid_gateway::{
    backup::move_to_postgres,
    domain::clock::SystemClock,
    store::{
        ErrorKind, Refusal, Store,
        postgres::{PostgresOptions, PostgresStore},
    },
};
use std::path::Path;

#[tokio::test]
async fn everything_is_there_and_work_goes_on() {
    let world = World::start().await;
    let (settled, open) = (passed(&world).await, world.created().await);
    let rows = ["verifications", "attempts", "events", "audit_events", "jobs", "evidence", "key_pairs"]
        .map(|table| (table, world.count(&format!("SELECT count(*) FROM {table}"))));
    let before = world.gateway.store.identity().await.expect("answers");
    let (simulator, folder) = world.stop_gateway().await;
    let to = engine::postgres_database();
    let moved = move_all(folder.path(), &to).await.expect("moved");
    assert_eq!(moved.id, before.id);
    assert!(moved.epoch > before.epoch, "tokens from before are not resumed in silence");

    let sqlite = format!("sqlite:{}", folder.path().join("gateway.db").display());
    let world = World::start_edited(simulator, folder, |toml| toml.replace(&sqlite, &engine::url_of(&to))).await;
    for (table, before) in rows {
        assert!(engine::count_in(&to, &format!("SELECT count(*) FROM {table}")) >= before, "{table}");
    }
    assert_eq!(world.state(&settled.id).await, "PASSED");
    world.attempt(&open, 0).await;
    assert_eq!(world.state(&open.id).await, "PASSED");
    world.created().await;

    let (_simulator, folder) = world.stop_gateway().await;
    let error = move_all(folder.path(), &to).await.expect_err("it has a store");
    assert!(format!("{error:#}").contains("table credentials has rows"), "{error:#}");
}

#[tokio::test]
async fn what_was_cut_off_is_for_no_gateway_and_goes_on() {
    let world = World::start().await;
    let settled = passed(&world).await;
    let (_simulator, folder) = world.stop_gateway().await;
    let to = engine::postgres_database();
    let path = folder.path().join("gateway.db");
    // Cut off between two tables.
    let (cut, cut_now) = tokio::sync::oneshot::channel();
    let mut cut = Some(cut);
    let progress = |table: &str, _, _| {
        if table == "events" {
            cut.take().map(|cut| cut.send(()));
        }
    };
    tokio::select! {
        biased;
        _ = async { cut_now.await.ok() } => {}
        moved = async { move_to_postgres(&path, &to, &SystemClock, progress).await } => panic!("not cut off: {moved:?}"),
    }
    let error = PostgresStore::open(&to).await.err().expect("refused");
    assert_eq!(error.kind, ErrorKind::Refused(Refusal::InUse), "{error}");
    move_all(folder.path(), &to).await.expect("moved");
    let store = PostgresStore::open(&to).await.expect("opens");
    assert!(store.find(&settled.id).await.expect("answers").is_some());
}

/// With evidence.
async fn passed(world: &World) -> Created {
    let created = Created::of(succeeded(world.create(world.photo_request()).await));
    world.attempt(&created, 0).await;
    assert_eq!(world.state(&created.id).await, "PASSED");
    world.until("the evidence", async || world.count("SELECT count(*) FROM evidence") > 0).await;
    created
}

async fn move_all(
    folder: &Path,
    to: &PostgresOptions,
) -> anyhow::Result<faceid_gateway::domain::store_identity::StoreIdentity> {
    move_to_postgres(&folder.join("gateway.db"), to, &SystemClock, |_, _, _| {}).await
}
