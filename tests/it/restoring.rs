//! `backup` while a gateway serves, and what holds after `restore`.

use crate::harness::{Created, ORDERS, World, bearing, blobs, config_text, refused, succeeded};
use axum::{Router, extract::State, http::HeaderMap, http::StatusCode, routing::post};
use faceid_gateway::{
    backup::{self, Restored},
    config::Config,
    domain::clock::SystemClock,
    grpc::pb::WatchVerificationsRequest,
    simulator::{self, Simulator, SimulatorConfig},
};
use std::{
    fs::{self, File},
    iter,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};
use tempfile::TempDir;

fn config(simulator: &Simulator, folder: &TempDir) -> Config {
    Config::from_toml(&config_text(simulator, folder, ""), "harness", iter::empty()).expect("a configuration")
}

fn back_up(world: &World) -> PathBuf {
    let to = world.folder.path().join("backup");
    let told = backup::back_up(&config(&world.simulator, &world.folder), &to, &SystemClock).expect("backed up");
    assert!(told.contains("keys test"), "{told}");
    to
}

async fn restore(simulator: &Simulator, folder: &TempDir) -> anyhow::Result<Restored> {
    backup::restore(&config(simulator, folder), &folder.path().join("backup"), &SystemClock).await
}

async fn is_refused(simulator: &Simulator, folder: &TempDir, why: &str) {
    let told = format!("{:#}", restore(simulator, folder).await.err().expect("restored"));
    assert!(told.contains(why), "{told}");
}

fn lose_database(folder: &TempDir) {
    for name in ["gateway.db", "gateway.db-wal", "gateway.db-shm"] {
        let _ = fs::remove_file(folder.path().join(name));
    }
}

async fn passed(world: &World) -> Created {
    let before = world.rows("evidence");
    let created = Created::of(succeeded(world.create(world.photo_request()).await));
    world.attempt(&created, 0).await;
    assert_eq!(world.state(&created.id).await, "PASSED");
    world.until("the evidence", async || world.rows("evidence") > before).await;
    created
}

async fn resume(world: &World, resume_token: &str) -> Result<String, tonic::Status> {
    let request = WatchVerificationsRequest { resume_token: resume_token.into(), ..Default::default() };
    let mut stream = world.client().watch_verifications(bearing(ORDERS, request)).await?.into_inner();
    Ok(stream.message().await?.expect("an answer").resume_token)
}

#[tokio::test]
async fn a_backup_of_a_serving_gateway_comes_back_with_its_evidence_in_a_new_epoch() {
    let world = World::start().await;
    let kept = passed(&world).await;
    let token = resume(&world, "").await.expect("a token");
    let folder = back_up(&world);
    let listed = fs::read_to_string(folder.join("evidence.txt")).expect("a list");
    assert_eq!(listed.lines().count(), blobs(&world.folder).len());
    let lost = passed(&world).await;
    let (simulator, folder) = world.stop_gateway().await;
    let stored = blobs(&folder);
    // It would be read by the restored gateway, which has other rows.
    lose_database(&folder);
    let restored = restore(&simulator, &folder).await.expect("restored");
    assert_eq!(restored.warnings.len(), 1, "{:?}", restored.warnings);
    assert!(restored.warnings[0].contains("are not in the backup"), "{:?}", restored.warnings);

    let world = World::start_with(simulator, folder).await;
    assert_eq!(world.gateway.store.identity().await.expect("store"), restored.identity);
    assert_eq!(world.state(&kept.id).await, "PASSED");
    assert_eq!(refused(world.result(&lost.id).await).reason, "VERIFICATION_NOT_FOUND");
    assert_eq!(refused(resume(&world, &token).await).reason, "EVENTS_MISSING");
    assert_eq!(blobs(&world.folder), stored);
    let token = resume(&world, "").await.expect("a token");
    resume(&world, &token).await.expect("a token of this epoch holds");

    // The same backup once more: what was said after the first restore does not hold either.
    let (simulator, folder) = world.stop_gateway().await;
    lose_database(&folder);
    let again = restore(&simulator, &folder).await.expect("restored");
    assert!(again.identity.epoch > restored.identity.epoch);
    let world = World::start_with(simulator, folder).await;
    assert_eq!(refused(resume(&world, &token).await).reason, "EVENTS_MISSING");
}

#[tokio::test]
async fn the_database_that_was_restored_over_does_not_get_the_evidence_again() {
    let world = World::start().await;
    passed(&world).await;
    back_up(&world);
    let (simulator, folder) = world.stop_gateway().await;
    let (database, aside) = (folder.path().join("gateway.db"), folder.path().join("aside.db"));
    fs::rename(&database, &aside).expect("renamed");
    restore(&simulator, &folder).await.expect("restored");
    let (simulator, folder) = World::start_with(simulator, folder).await.stop_gateway().await;
    lose_database(&folder);
    fs::rename(aside, database).expect("renamed");
    let told = World::refuses_to_start(&simulator, &folder, |toml| toml).await;
    assert!(told.contains("a copy from before a restore"), "{told}");
}

#[tokio::test]
async fn the_sweep_leaves_what_a_restored_database_does_not_know_of() {
    let world = World::start().await;
    let created = Created::of(succeeded(world.create(world.photo_request()).await));
    back_up(&world);
    world.attempt(&created, 0).await;
    assert_eq!(world.state(&created.id).await, "PASSED");
    world.until("the evidence", async || world.rows("evidence") > 0).await;
    let (simulator, folder) = world.stop_gateway().await;
    lose_database(&folder);
    // Few: of many a sweep would delete none anyway.
    let mut stored = blobs(&folder);
    stored.drain(2..).for_each(|blob| fs::remove_file(blob).expect("removed"));
    for blob in &stored {
        let three_days_ago = written(blob) - Duration::from_secs(3 * 24 * 3600);
        File::options().write(true).open(blob).and_then(|file| file.set_modified(three_days_ago)).expect("aged");
    }
    restore(&simulator, &folder).await.expect("restored");
    let world = World::start_with(simulator, folder).await;
    // Asked again, the vendor gives the evidence anew: then the rows tell of other blobs, and no
    // job of any.
    assert_eq!(world.state(&created.id).await, "PASSED");
    world
        .until("the evidence, again", async || {
            world.count("SELECT count(*) FROM jobs WHERE kind = 'fetch_evidence'") == 0 && world.rows("evidence") > 0
        })
        .await;
    world.advance(26 * 3600).await;
    for _ in 0..3 {
        world.gateway.app.sweep_orphans().await.expect("swept");
    }
    let left = blobs(&world.folder);
    assert!(!stored.is_empty() && stored.iter().all(|blob| left.contains(blob)), "{stored:?} {left:?}");
}

fn written(blob: &Path) -> SystemTime {
    fs::metadata(blob).and_then(|metadata| metadata.modified()).expect("a time")
}

#[tokio::test]
async fn nothing_is_restored_over_a_database_nor_from_what_is_no_whole_backup() {
    let world = World::start().await;
    passed(&world).await;
    let backup = back_up(&world);
    is_refused(&world.simulator, &world.folder, "has the database open").await;
    let second = backup::back_up(&config(&world.simulator, &world.folder), &backup, &SystemClock);
    assert!(format!("{:#}", second.expect_err("backed up")).contains("is not empty"));
    let (simulator, folder) = world.stop_gateway().await;
    is_refused(&simulator, &folder, "gateway.db is there").await;
    lose_database(&folder);
    fs::write(folder.path().join("gateway.db-wal"), "of another database").expect("written");
    is_refused(&simulator, &folder, "gateway.db-wal is there").await;
    lose_database(&folder);

    for name in ["gateway.db", "evidence.txt"] {
        let path = backup.join(name);
        let whole = fs::read(&path).expect("read");
        let mut damaged = whole.clone();
        *damaged.last_mut().expect("a byte") ^= 1;
        for damaged in [&damaged[..], &whole[..whole.len() - 1]] {
            fs::write(&path, damaged).expect("written");
            is_refused(&simulator, &folder, "the backup is damaged").await;
        }
        fs::write(&path, whole).expect("written");
    }
    let (manifest, aside) = (backup.join("manifest.json"), backup.join("aside"));
    fs::rename(&manifest, &aside).expect("renamed");
    is_refused(&simulator, &folder, "one that was not finished").await;
    fs::rename(aside, manifest).expect("renamed");

    let marker = folder.path().join("evidence/faceid-gateway.store");
    let ours = fs::read_to_string(&marker).expect("a marker");
    let others = "evidence of the faceid-gateway store 00000000-0000-0000-0000-000000000007/1\n";
    fs::write(&marker, others).expect("written");
    is_refused(&simulator, &folder, "belongs to the store").await;
    fs::write(&marker, ours).expect("written");
    assert!(!folder.path().join("gateway.db").exists(), "something was put in its place");
    // What a restore leaves that was killed.
    fs::write(folder.path().join("gateway.db-restoring"), vec![7; 1 << 20]).expect("written");
    restore(&simulator, &folder).await.expect("restored");
    World::start_with(simulator, folder).await;
}

#[tokio::test]
async fn a_restore_tells_which_evidence_and_which_keys_are_missing() {
    let world = World::start().await;
    passed(&world).await;
    let backup = back_up(&world);
    let (simulator, folder) = world.stop_gateway().await;
    lose_database(&folder);
    let blob = blobs(&folder).pop().expect("a blob");
    fs::remove_file(&blob).expect("removed");
    let text = config_text(&simulator, &folder, "").replace("test:", "other:");
    let config = Config::from_toml(&text, "harness", iter::empty()).expect("a configuration");
    let warnings = backup::restore(&config, &backup, &SystemClock).await.expect("restored").warnings;
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[0].contains("vault.keys lacks the key test"), "{warnings:?}");
    let name = blob.file_name().expect("a name").to_string_lossy().into_owned();
    assert!(warnings[1].starts_with("1 of ") && warnings[1].contains(&name), "{warnings:?}");
}

async fn take(State(ids): State<Arc<Mutex<Vec<String>>>>, headers: HeaderMap) -> StatusCode {
    ids.lock().expect("lock").push(headers["webhook-id"].to_str().expect("an id").to_owned());
    StatusCode::NO_CONTENT
}

#[tokio::test]
async fn a_receiver_does_not_take_a_new_webhook_for_one_from_before_the_restore() {
    let ids = Arc::<Mutex<Vec<String>>>::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let webhook = format!(
        "webhook_url = \"http://{}/\"\nwebhook_allow_private = true\n\
         webhook_secrets = \"whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\"\n",
        listener.local_addr().expect("its address")
    );
    let router = Router::new().route("/", post(take)).with_state(Arc::clone(&ids));
    tokio::spawn(async { axum::serve(listener, router).await });
    let simulator = simulator::start(SimulatorConfig::loopback()).await.expect("simulator starts");
    let folder = TempDir::new().expect("temporary folder");
    let world = World::start_with_webhook(simulator, folder, &webhook).await;
    back_up(&world);
    world.created().await;
    world.until("a webhook", async || ids.lock().expect("lock").len() == 1).await;
    let (simulator, folder) = world.stop_gateway().await;
    lose_database(&folder);
    restore(&simulator, &folder).await.expect("restored");
    let world = World::start_with_webhook(simulator, folder, &webhook).await;
    world.created().await;
    world.until("another webhook", async || ids.lock().expect("lock").len() == 2).await;
    let ids = ids.lock().expect("lock").clone();
    let place = |id: &str| id.rsplit_once('_').expect("a place").1.to_owned();
    assert_eq!(place(&ids[0]), place(&ids[1]), "the same place in the log");
    assert_ne!(ids[0], ids[1]);
}
