//! The commands.

mod backup;
mod bind_rows;
mod client;
mod credential;
mod dev;
mod doctor;
mod migrate;
mod serve;
mod simulate;
mod vault;
mod walk;

use clap::{Parser, Subcommand};

/// The gateway between a company's services and Tencent Cloud FaceID.
#[derive(Parser)]
#[command(version, about)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve the contract.
    Serve(serve::ServeArgs),
    /// Run gateway and simulator in one process, everything seeded, and walk verifications all
    /// their way.
    Dev(dev::DevArgs),
    /// Examine what a gateway with this configuration will meet, and say what to do.
    Doctor(doctor::DoctorArgs),
    /// Copy the database while a gateway serves, with a list of the evidence and keys that it
    /// needs.
    Backup(backup::BackupArgs),
    /// Put a backup of the database in its place, where there is none.
    Restore(backup::RestoreArgs),
    /// Bring the store's schema up to date, or move a store from SQLite to PostgreSQL.
    Migrate(migrate::MigrateArgs),
    /// Bind the verifications that a build from before 0.2.0 wrote: once, after the upgrade.
    BindRows(bind_rows::BindRowsArgs),
    /// Run only the simulator of the vendor.
    Simulate(simulate::SimulateArgs),
    /// Manage the key pairs of Tencent accounts, on a gateway that serves.
    Credential(credential::CredentialArgs),
    /// See and move the vault's keys, on a gateway that serves.
    Vault(vault::VaultArgs),
}

impl Cli {
    /// Runs the command.
    ///
    /// # Errors
    /// The error, for the person at the terminal.
    pub async fn run(self) -> anyhow::Result<()> {
        match self.command {
            Command::Serve(args) => serve::run(args).await,
            Command::Dev(args) => dev::run(args).await,
            Command::Doctor(args) => doctor::run(args).await,
            Command::Backup(args) => backup::back_up(args),
            Command::Restore(args) => backup::restore(args).await,
            Command::Migrate(args) => migrate::run(args).await,
            Command::BindRows(args) => bind_rows::run(args).await,
            Command::Simulate(args) => simulate::run(args).await,
            Command::Credential(args) => credential::run(args).await,
            Command::Vault(args) => vault::run(args).await,
        }
    }
}
