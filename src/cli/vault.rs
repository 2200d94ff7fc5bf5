//! `vault`: the keys that seal what the gateway keeps, over gRPC.

use super::client::{ClientArgs, refused};
use crate::grpc::pb::{ListVaultKeysRequest, RewrapVaultRequest, VaultKey, vault_service_client::VaultServiceClient};
use anyhow::ensure;
use clap::{Args, Subcommand};
use jiff::Timestamp;
use std::time::Duration;

/// See and move the vault's keys, on a gateway that serves.
#[derive(Args)]
pub struct VaultArgs {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    client: ClientArgs,
}

#[derive(Subcommand)]
enum Action {
    /// Show the keys, and what each is needed for.
    Keys,
    /// Seal everything anew with the first key, and show the progress until it is done. It goes on
    /// when this command is stopped. All replicas must have the same key first by then.
    Rewrap,
}

const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

pub(super) async fn run(args: VaultArgs) -> anyhow::Result<()> {
    let connection = args.client.connect().await?;
    let mut client = VaultServiceClient::new(connection.channel.clone());
    if matches!(args.action, Action::Rewrap) {
        let request = connection.request(RewrapVaultRequest {});
        let total =
            client.rewrap_vault(request).await.map_err(|status| refused(&status))?.into_inner().remaining_values;
        println!("{total} values to seal anew");
    }
    loop {
        let request = connection.request(ListVaultKeysRequest {});
        let vault = client.list_vault_keys(request).await.map_err(|status| refused(&status))?.into_inner();
        if vault.rewrapping {
            println!("{} values left", vault.remaining_values);
        }
        if vault.rewrapping && matches!(args.action, Action::Rewrap) {
            tokio::time::sleep(PROGRESS_INTERVAL).await;
            continue;
        }
        vault.keys.iter().for_each(print);
        let missing: Vec<&str> = vault
            .keys
            .iter()
            .filter(|key| !key.in_keyring && key.sealed_values > 0)
            .map(|key| key.key_id.as_str())
            .collect();
        ensure!(missing.is_empty(), "needed, and not in vault.keys: {}", missing.join(", "));
        return Ok(());
    }
}

fn print(key: &VaultKey) {
    let role = if key.encrypts {
        "encrypts"
    } else if key.in_keyring {
        "decrypts"
    } else if key.sealed_values > 0 {
        "is missing"
    } else {
        "is gone"
    };
    let sealed = if key.sealed_values == 0 { "seals nothing".to_owned() } else { format!("seals {}", key.sealed_in) };
    println!("{} {role}; {sealed}; {} verifications are found through it", key.key_id, key.token_hashes);
    let newest = key.newest_use_time.as_ref().and_then(|time| Timestamp::new(time.seconds, 0).ok());
    if let Some(newest) = newest.filter(|_| !key.encrypts && key.sealed_values == 0) {
        println!("  was last used for new verifications at {newest}; take it out a day later or more");
    }
}
