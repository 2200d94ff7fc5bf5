//! What happens to the database's file while the gateway runs.

use crate::harness::{World, refused, succeeded};
use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf};
use tonic::{Code, Status};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

fn database(world: &World) -> PathBuf {
    world.folder.path().join("gateway.db")
}

fn put_aside(world: &World) -> PathBuf {
    let aside = world.folder.path().join("aside.db");
    fs::rename(database(world), &aside).expect("renamed");
    aside
}

async fn health(world: &World) -> ServingStatus {
    let request = HealthCheckRequest { service: "faceid.v1.VerificationService".into() };
    succeeded(HealthClient::new(world.channel.clone()).check(request).await).into_inner().status()
}

/// Creates are refused, and whoever asks is told that nothing works.
async fn cannot_write(world: &World, why: &str) {
    for _ in 0..8 {
        let status: Status = world.create(world.request()).await.err().expect("acknowledged and lost");
        assert!(status.message().contains(why), "{}", status.message());
        let refusal = refused::<()>(Err(status));
        assert_eq!((refusal.code, refusal.reason.as_str()), (Code::Unavailable, "STORE_UNAVAILABLE"));
    }
    let (status, body, _) = world.get(&world.admin_url("/readyz")).await;
    assert_eq!(status, 503);
    assert!(body.contains(why), "{body}");
    world.until("health to say so", async || health(world).await == ServingStatus::NotServing).await;
    let metrics = world.get(&world.admin_url("/metrics")).await.1;
    assert!(metrics.contains("faceid_store_refused_writes_total{kind="), "{metrics}");
    assert_eq!(world.get(&world.admin_url("/livez")).await.0, 200, "a restart loop would not help");
}

async fn can_write(world: &World) {
    let created = world.created().await;
    assert_eq!(world.count(&format!("SELECT count(*) FROM verifications WHERE id = '{}'", created.id)), 1);
    assert_eq!(world.get(&world.admin_url("/readyz")).await.0, 200);
    world.until("health to say so", async || health(world).await == ServingStatus::Serving).await;
}

#[tokio::test]
async fn nothing_is_acknowledged_while_the_database_is_removed() {
    let world = World::start().await;
    can_write(&world).await;
    let aside = put_aside(&world);
    cannot_write(&world, "removed or replaced").await;
    fs::rename(aside, database(&world)).expect("renamed");
    can_write(&world).await;
}

#[tokio::test]
async fn nothing_is_acknowledged_while_another_database_is_in_its_place() {
    let world = World::start().await;
    let aside = put_aside(&world);
    fs::copy(&aside, database(&world)).expect("copied");
    cannot_write(&world, "removed or replaced").await;
    fs::rename(aside, database(&world)).expect("renamed");
    can_write(&world).await;
}

#[tokio::test]
async fn nothing_is_acknowledged_while_the_log_of_the_database_is_removed() {
    let world = World::start().await;
    can_write(&world).await;
    let (log, aside) = (world.folder.path().join("gateway.db-wal"), world.folder.path().join("aside.db-wal"));
    fs::rename(&log, &aside).expect("renamed");
    cannot_write(&world, "removed or replaced").await;
    fs::rename(aside, log).expect("renamed");
    can_write(&world).await;
}

#[tokio::test]
async fn nothing_is_acknowledged_while_the_database_is_read_only() {
    let world = World::start().await;
    fs::set_permissions(database(&world), fs::Permissions::from_mode(0o400)).expect("changed");
    cannot_write(&world, "can only be read").await;
    fs::set_permissions(database(&world), fs::Permissions::from_mode(0o600)).expect("changed");
    can_write(&world).await;
}

#[tokio::test]
async fn readiness_commits_something() {
    let world = World::start().await;
    let probes = world.count("SELECT probes FROM store");
    world
        .until("a commit of its own", async || {
            assert_eq!(world.get(&world.admin_url("/readyz")).await.0, 200);
            world.count("SELECT probes FROM store") > probes
        })
        .await;
}
