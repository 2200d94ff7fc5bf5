//! `credential`: the key pairs of Tencent accounts, over gRPC.

use super::client::{ClientArgs, Connection, refused};
use crate::{
    domain::secret_text::without_line_break,
    grpc::pb::{
        CreateCredentialRequest, Credential, CredentialSource, DeleteCredentialRequest, DisableCredentialRequest,
        KeyPair, ListCredentialsRequest, RotateCredentialRequest, TestCredentialRequest,
        credential_service_client::CredentialServiceClient,
    },
};
use anyhow::{Context, ensure};
use clap::{Args, Subcommand};
use jiff::Timestamp;
use std::{
    fs,
    io::{self, BufRead},
    path::{Path, PathBuf},
};
use tonic::{Response, transport::Channel};

/// Manage the key pairs of Tencent accounts, on a gateway that serves.
#[derive(Args)]
pub struct CredentialArgs {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    client: ClientArgs,
}

#[derive(Subcommand)]
enum Action {
    /// Show all credentials, without their secrets.
    List,
    /// Add a credential. The vendor is asked first whether it takes the key pair.
    Add {
        name: String,
        #[command(flatten)]
        pair: PairArgs,
    },
    /// Put a new key pair in use. The one that was first stays as the second.
    Rotate {
        name: String,
        #[command(flatten)]
        pair: PairArgs,
    },
    /// Ask the vendor whether it takes the key pairs. Exits with 1 when it does not take all of
    /// them.
    Test {
        name: String,
        /// Only this key pair.
        #[arg(long)]
        key_pair: Option<String>,
    },
    /// Erase one key pair, or take the whole credential out of use.
    Disable {
        name: String,
        /// Erase only this key pair; `credential list` shows its id.
        #[arg(long)]
        key_pair: Option<String>,
    },
    /// Erase a credential that nothing uses.
    Delete { name: String },
}

/// A key pair, from two files or from standard input: never from the command line, which others can
/// see.
#[derive(Args)]
struct PairArgs {
    /// The file that holds the SecretId. Without both files: two lines of standard input, SecretId
    /// and SecretKey.
    #[arg(long, requires = "secret_key_file")]
    secret_id_file: Option<PathBuf>,
    /// The file that holds the SecretKey.
    #[arg(long, requires = "secret_id_file")]
    secret_key_file: Option<PathBuf>,
}

pub(super) async fn run(args: CredentialArgs) -> anyhow::Result<()> {
    let connection = args.client.connect().await?;
    let mut client = CredentialServiceClient::new(connection.channel.clone());
    act(args.action, &connection, &mut client).await
}

async fn act(
    action: Action,
    connection: &Connection,
    client: &mut CredentialServiceClient<Channel>,
) -> anyhow::Result<()> {
    let credential = match action {
        Action::List => {
            let request = connection.request(ListCredentialsRequest {});
            let listed = client.list_credentials(request).await.map_err(|status| refused(&status))?.into_inner();
            listed.credentials.iter().for_each(print);
            return Ok(());
        }
        Action::Add { name, pair } => {
            let request = CreateCredentialRequest { name, key_pair: Some(pair.read()?) };
            client
                .create_credential(connection.request(request))
                .await
                .map(Response::into_inner)
                .map(|it| it.credential)
        }
        Action::Rotate { name, pair } => {
            let request = RotateCredentialRequest { name, key_pair: Some(pair.read()?) };
            client
                .rotate_credential(connection.request(request))
                .await
                .map(Response::into_inner)
                .map(|it| it.credential)
        }
        Action::Test { name, key_pair } => {
            let key_pair_id = key_pair.unwrap_or_default();
            let request = TestCredentialRequest { name, key_pair_id: key_pair_id.clone() };
            let tested = client.test_credential(connection.request(request)).await;
            let tested = tested.map_err(|status| refused(&status))?.into_inner().credential.unwrap_or_default();
            print(&tested);
            let chosen =
                tested.key_pairs.iter().filter(|pair| key_pair_id.is_empty() || pair.key_pair_id == key_pair_id);
            let taken = |pair: &crate::grpc::pb::CredentialKeyPair| pair.last_test.as_ref().is_some_and(|it| it.passed);
            ensure!(chosen.into_iter().all(taken), "the vendor does not take every key pair");
            return Ok(());
        }
        Action::Disable { name, key_pair } => {
            let request = DisableCredentialRequest { name, key_pair_id: key_pair.unwrap_or_default() };
            client
                .disable_credential(connection.request(request))
                .await
                .map(Response::into_inner)
                .map(|it| it.credential)
        }
        Action::Delete { name } => {
            let request = connection.request(DeleteCredentialRequest { name: name.clone() });
            client.delete_credential(request).await.map_err(|status| refused(&status))?;
            println!("{name} deleted");
            return Ok(());
        }
    };
    print(&credential.map_err(|status| refused(&status))?.unwrap_or_default());
    Ok(())
}

impl PairArgs {
    fn read(&self) -> anyhow::Result<KeyPair> {
        let (secret_id, secret_key) = match (&self.secret_id_file, &self.secret_key_file) {
            (Some(id), Some(key)) => (read_line_of(id)?, read_line_of(key)?),
            _ => {
                let mut lines = io::stdin().lock().lines();
                let mut line = |what: &str| {
                    let line = lines.next().with_context(|| format!("standard input has no line with the {what}"))?;
                    anyhow::Ok(line?)
                };
                (line("SecretId")?, line("SecretKey")?)
            }
        };
        Ok(KeyPair { secret_id, secret_key })
    }
}

fn read_line_of(file: &Path) -> anyhow::Result<String> {
    let text = fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?;
    Ok(without_line_break(&text).to_owned())
}

fn print(credential: &Credential) {
    let source = match credential.source() {
        CredentialSource::Unspecified => "?",
        CredentialSource::Configuration => "configuration",
        CredentialSource::Api => "api",
        CredentialSource::External => "external",
    };
    let state = if credential.disable_time.is_some() { ", disabled" } else { "" };
    let flows = if credential.flows.is_empty() { "none".to_owned() } else { credential.flows.join(", ") };
    println!("{} (from: {source}{state}; flows: {flows})", credential.name);
    for (i, pair) in credential.key_pairs.iter().enumerate() {
        let time = |time: Option<prost_types::Timestamp>| {
            let time = time.and_then(|time| Timestamp::new(time.seconds, 0).ok());
            time.map_or_else(|| "never".to_owned(), |time| time.to_string())
        };
        let test = pair
            .last_test
            .as_ref()
            .map_or_else(|| "never".to_owned(), |test| format!("{} {}", time(test.test_time), test.code));
        println!(
            "  {}. {}  created {}  used {}  tested {test}  id {}",
            i + 1,
            pair.masked_secret_id,
            time(pair.create_time),
            time(pair.last_use_time),
            pair.key_pair_id
        );
    }
}
