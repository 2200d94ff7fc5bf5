//! A database of the first version, opened by this one.

use crate::harness::{FINANCE, VAULT_KEY, World, bearing, refused, succeeded};
use faceid_gateway::{
    grpc::pb::{
        ListCredentialsRequest, ListVaultKeysRequest, credential_service_client::CredentialServiceClient,
        vault_service_client::VaultServiceClient,
    },
    simulator::{self, SimulatorConfig},
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

/// As the first version wrote it: one key pair for a credential, and no trace of which key of the keyring sealed what.
fn write_first_version(folder: &TempDir, secret_id: &str, secret_key: &str) {
    let mut database = Connection::open(folder.path().join("gateway.db")).expect("a database");
    let first = migrations::migrations::runner().set_target(refinery::Target::Version(1));
    first.run(&mut database).expect("the first version's schema");
    let keyring = Keyring::parse(VAULT_KEY).expect("a keyring");
    let pair = json!({"secret_id": secret_id, "secret_key": secret_key}).to_string();
    let place = Place { table: "credentials", row: "main", column: "sealed_key_pair" };
    database
        .execute("INSERT INTO credentials VALUES ('main', ?1)", [keyring.seal(place, pair.as_bytes())])
        .expect("a credential");
    let sealed = |column| keyring.seal(Place { table: "verifications", row: ID, column }, b"{}");
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
    assert_eq!(pairs, ["main"], "it keeps the id that it was sealed for");

    let mut client = VaultServiceClient::new(world.channel.clone());
    let keys = succeeded(client.list_vault_keys(bearing(FINANCE, ListVaultKeysRequest {})).await).into_inner().keys;
    assert_eq!(keys.len(), 1);
    let sealed_in = "2 verifications.sealed_session, 2 verifications.sealed_subject, 1 key_pairs.sealed_key_pair";
    assert_eq!(keys[0].sealed_in, sealed_in, "of both versions");

    assert_eq!(world.audit(ID).await[0], "orders created");
    assert_eq!(world.count("SELECT count(*) FROM jobs WHERE kind = 'settle' AND subject LIKE '01a20c39%'"), 1);
    // Its session is empty, which the first version never wrote: it is found, and said to be unreadable.
    assert_eq!(refused(world.result(ID).await).code, Code::Internal);
}
