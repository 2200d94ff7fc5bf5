//! Which database the evidence belongs to: a gateway that is started on another one does not touch
//! it.

use crate::harness::{Created, World, blobs, succeeded};
use faceid_gateway::simulator::Simulator;
use std::{fs, path::PathBuf};
use tempfile::TempDir;

/// A gateway that was stopped, with evidence in its folder.
async fn with_evidence() -> (Simulator, TempDir) {
    let world = World::start().await;
    let created = Created::of(succeeded(world.create(world.photo_request()).await));
    world.attempt(&created, 0).await;
    assert_eq!(world.state(&created.id).await, "PASSED");
    world.until("the evidence", async || world.rows("evidence") > 0).await;
    world.stop_gateway().await
}

fn remove_database(folder: &TempDir) {
    for name in ["gateway.db", "gateway.db-wal", "gateway.db-shm"] {
        match fs::remove_file(folder.path().join(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => panic!("{error}"),
            _ => {}
        }
    }
}

fn marker(folder: &TempDir) -> PathBuf {
    folder.path().join("evidence/faceid-gateway.store")
}

#[tokio::test]
async fn a_start_without_the_database_of_the_evidence_is_refused() {
    let (simulator, folder) = with_evidence().await;
    let before = blobs(&folder);
    assert!(!before.is_empty());
    remove_database(&folder);
    // The second start finds the empty database of the first.
    for _ in 0..2 {
        let told = World::refuses_to_start(&simulator, &folder, |toml| toml).await;
        assert!(told.contains("evidence.url") && told.contains("belongs to the store"), "{told}");
        assert!(told.contains("put back the database"), "{told}");
    }
    assert_eq!(blobs(&folder), before);
}

#[tokio::test]
async fn a_start_with_another_stores_database_is_refused() {
    let (simulator, folder) = with_evidence().await;
    let (_, others) = with_evidence().await;
    remove_database(&folder);
    fs::copy(others.path().join("gateway.db"), folder.path().join("gateway.db")).expect("copied");
    let before = blobs(&folder);
    let told = World::refuses_to_start(&simulator, &folder, |toml| toml).await;
    assert!(told.contains("belongs to the store"), "{told}");
    // Nor when nothing says whose the evidence is: none of the blobs is of a verification of this
    // database.
    fs::remove_file(marker(&folder)).expect("removed");
    let told = World::refuses_to_start(&simulator, &folder, |toml| toml).await;
    assert!(told.contains("the evidence has blobs"), "{told}");
    assert_eq!(blobs(&folder), before);
}

#[tokio::test]
async fn evidence_from_before_there_were_markers_is_known_by_its_blobs() {
    let (simulator, folder) = with_evidence().await;
    let written = fs::read_to_string(marker(&folder)).expect("a marker");
    fs::remove_file(marker(&folder)).expect("removed");
    let world = World::start_with(simulator, folder).await;
    assert_eq!(fs::read_to_string(marker(&world.folder)).expect("a marker"), written);
    assert!(written.contains("faceid-gateway store"), "{written}");
}
