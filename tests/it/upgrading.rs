//! A database of the first version, opened by this one.

use crate::harness::{FINANCE, VAULT_KEY, World, bearing, refused, succeeded};
use faceid_gateway::{
    app,
    grpc::pb::{
        ListCredentialsRequest, ListVaultKeysRequest, credential_service_client::CredentialServiceClient,
        vault_service_client::VaultServiceClient,
    },
    simulator::{self, SimulatorConfig},
    store::{Store, row::UsageFilter, sqlite::SqliteStore},
    vault::{Keyring, Place},
};
use rusqlite::{Connection, params};
use serde_json::json;
use tempfile::TempDir;
use tonic::Code;

mod migrations {
    refinery::embed_migrations!("src/store/migrations/sqlite");
}

const ID: &str = "01a20c39-f179-7714-bb52-7f22ca46238b";

/// As the first version wrote it: one key pair for a credential, and no trace of which key of the
/// keyring sealed what.
fn write_first_version(folder: &TempDir, secret_id: &str, secret_key: &str) {
    let mut database = Connection::open(folder.path().join("gateway.db")).expect("a database");
    let first = migrations::migrations::runner().set_target(refinery::Target::Version(1));
    first.run(&mut database).expect("the first version's schema");
    let keyring = Keyring::parse(VAULT_KEY).expect("a keyring");
    let pair = json!({"secret_id": secret_id, "secret_key": secret_key}).to_string();
    let place = Place { table: "credentials", row: "main", column: "sealed_key_pair", bound: &[] };
    database
        .execute("INSERT INTO credentials VALUES ('main', ?1)", [keyring.seal(place, pair.as_bytes())])
        .expect("a credential");
    let sealed = |column| keyring.seal(Place { table: "verifications", row: ID, column, bound: &[] }, b"{}");
    database
        .execute(
            "INSERT INTO verifications (id, version, caller, flow, rule_id, credential, reference, request_fingerprint, token_hash,
                vendor_request_id, created_at_ms, sealed_session, sealed_subject, state, attempts_exhausted)
             VALUES (?1, 1, 'orders', 'onboarding', '1', 'main', '', x'00', x'00', '', 0, ?2, ?3, 'pending', 0)",
            params![ID, sealed("sealed_session"), sealed("sealed_subject")],
        )
        .expect("a verification");
    database
        .execute(
            "INSERT INTO audit_events (at_ms, actor, action, verification_id) VALUES (0, 'orders', 'created', ?1)",
            [ID],
        )
        .expect("an audit event");
}

#[tokio::test]
async fn what_the_first_version_stored_is_found_sealed_and_used() {
    let simulator = simulator::start(SimulatorConfig::loopback()).await.expect("simulator starts");
    let folder = TempDir::new().expect("temporary folder");
    write_first_version(&folder, simulator.secret_id(), simulator.secret_key());
    // The configuration's pair is wrong: what works is the one of the database.
    let secret_key = format!("secret_key = \"{}\"", simulator.secret_key());
    let world =
        World::start_edited(simulator, folder, |toml| toml.replace(&secret_key, "secret_key = \"of-nobody\"")).await;
    world.created().await;

    let mut client = CredentialServiceClient::new(world.channel.clone());
    let listed = succeeded(client.list_credentials(bearing(FINANCE, ListCredentialsRequest {})).await).into_inner();
    let pairs: Vec<&str> = listed.credentials[0].key_pairs.iter().map(|pair| pair.key_pair_id.as_str()).collect();
    assert!(pairs.contains(&"main"), "it keeps the id that it was sealed for: {pairs:?}");

    let mut client = VaultServiceClient::new(world.channel.clone());
    let keys = succeeded(client.list_vault_keys(bearing(FINANCE, ListVaultKeysRequest {})).await).into_inner().keys;
    assert_eq!(keys.len(), 1);
    let sealed_in = "2 verifications.sealed_session, 2 verifications.sealed_subject, 1 verifications.mac, \
                     2 key_pairs.sealed_key_pair";
    assert_eq!(keys[0].sealed_in, sealed_in, "of both versions");

    assert_eq!(world.audit(ID).await[0], "orders created");
    assert_eq!(world.count("SELECT count(*) FROM jobs WHERE kind = 'settle' AND subject LIKE '01a20c39%'"), 1);
    // Its session is empty, which the first version never wrote: it is found, and said to be
    // unreadable.
    assert_eq!(refused(world.result(ID).await).code, Code::Internal);
}

#[tokio::test]
async fn sums_and_columns_are_made_of_what_the_version_before_stored() {
    let folder = TempDir::new().expect("temporary folder");
    let path = folder.path().join("gateway.db");
    let mut database = Connection::open(&path).expect("a database");
    let before = migrations::migrations::runner().set_target(refinery::Target::Version(5));
    before.run(&mut database).expect("the schema before");
    let sealed = |key: &str| [&[1, u8::try_from(key.len()).expect("short")], key.as_bytes(), b"rest"].concat();
    // Midnight in Beijing, with which day 10 of the bill begins.
    let midnight = 10 * 86_400_000 - 8 * 3_600_000;
    database
        .execute(
            "INSERT INTO verifications (id, version, caller, flow, rule_id, credential, reference, request_fingerprint, token_hash,
                vendor_request_id, created_at_ms, sealed_session, sealed_subject, sealed_result, state, attempts_exhausted)
             VALUES (?1, 1, 'orders', 'onboarding', '1', 'main', '', x'00', x'77', '', ?2, ?3, x'', ?4, 'pending', 0)",
            params![ID, midnight - 1, sealed("k1"), sealed("k2")],
        )
        .expect("a verification");
    for (seq, at_ms, charged) in [("1", None, Some(1)), ("2", Some(midnight), Some(1)), ("3", Some(midnight), None)] {
        database
            .execute("INSERT INTO attempts VALUES (?1, ?2, ?3, 0, ?4)", params![ID, seq, at_ms, charged])
            .expect("an attempt");
    }
    database
        .execute(
            "INSERT INTO evidence (id, verification_id, kind, position, content_type, size_bytes, sealed_key, stored_at_ms)
             VALUES ('e', ?1, 'best_frame', 0, 'image/jpeg', 1, ?2, 0)",
            params![ID, sealed("k3")],
        )
        .expect("evidence");
    drop(database);

    let store = SqliteStore::open(&path).expect("it is migrated");
    let found = store.find(ID).await.expect("answers").expect("a row");
    assert_eq!(found.created.expires_at_ms, midnight - 1 + 7_200_000);
    assert_eq!(found.created.result_until_ms, midnight - 1 + 259_200_000);
    let filter = UsageFilter { first_day: 0, last_day: 99, ..UsageFilter::default() };
    let days = store.usage(filter).await.expect("answers");
    let sums: Vec<_> =
        days.iter().map(|day| (day.day, day.verifications, day.attempts, day.charged_attempts)).collect();
    assert_eq!(sums, [(9, 1, 1, 1), (10, 0, 2, 1)]);
    assert_eq!(store.charges("1", midnight - 1, midnight).await.expect("answers")[0].seqs.len(), 1);
    let keys: Vec<String> = store.sealing_keys().await.expect("answers").into_iter().collect();
    assert_eq!(keys, ["k1", "k2", "k3"]);
}

#[tokio::test]
async fn rows_of_the_first_versions_are_believed_once_an_operator_says_so() {
    let world = World::start().await;
    let created = world.created().await;
    world.attempt(&created, 0).await;
    assert_eq!(world.state(&created.id).await, "PASSED");
    let (simulator, folder) = world.stop_gateway().await;
    // As the version before wrote it: sealed for the row alone, and with no MAC.
    let database = Connection::open(folder.path().join("gateway.db")).expect("a database");
    let keyring = Keyring::parse(VAULT_KEY).expect("a keyring");
    for column in ["sealed_session", "sealed_subject", "sealed_result"] {
        let version = database.query_row("SELECT version FROM verifications", [], |row| row.get::<_, i64>(0));
        let version = version.expect("a row").to_string();
        let bound = ["orders", "onboarding", &version];
        let bound = if column == "sealed_result" { &bound[..] } else { &bound[..2] };
        let place = Place { table: "verifications", row: &created.id, column, bound };
        let select = format!("SELECT {column} FROM verifications");
        let sealed: Vec<u8> = database.query_row(&select, [], |row| row.get(0)).expect("a value");
        let plain = keyring.open(place, &sealed).expect("it opens");
        let sealed = keyring.seal(Place { bound: &[], ..place }, &plain);
        database.execute(&format!("UPDATE verifications SET {column} = ?1"), [sealed]).expect("written");
    }
    database.execute("UPDATE verifications SET mac = x'', mac_key_id = ''", []).expect("written");
    drop(database);

    let world = World::start_with(simulator, folder).await;
    assert_eq!(refused(world.result(&created.id).await).code, Code::Internal);
    let (simulator, folder) = world.stop_gateway().await;
    let store = SqliteStore::open(&folder.path().join("gateway.db")).expect("opens");
    let outcome = app::bind_rows(&keyring, &store).await.expect("answers");
    assert_eq!((outcome.bound, outcome.left.len()), (1, 0));
    assert!(store.unbound(1).await.expect("answers").is_empty());
    drop(store);
    let world = World::start_with(simulator, folder).await;
    assert_eq!(world.state(&created.id).await, "PASSED");
}
