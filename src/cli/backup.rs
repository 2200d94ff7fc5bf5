//! `backup` and `restore`: the database's copies.

use crate::{
    backup,
    config::{self, Config},
    domain::clock::SystemClock,
    process,
};
use clap::Args;
use std::path::PathBuf;

/// Copy the database while a gateway serves, with a list of the evidence and keys that it needs.
///
/// The order: first this, then the evidence's folder or bucket with its own tools. Keep the vault's
/// keys apart from both.
#[derive(Args)]
pub struct BackupArgs {
    /// The configuration file (TOML), read as `serve` reads it.
    #[arg(long)]
    config: PathBuf,
    /// The folder for the backup. It is made where it is missing, and must be empty.
    #[arg(long)]
    to: PathBuf,
}

/// Put a backup of the database in its place, where there is none.
///
/// The order: stop the gateway, put the evidence and the vault's keys back, then this, then
/// `doctor`, then start the gateway. Watchers with a token from before are told to list, and
/// webhooks have new ids.
#[derive(Args)]
pub struct RestoreArgs {
    /// The configuration file (TOML), read as `serve` reads it.
    #[arg(long)]
    config: PathBuf,
    /// The folder of the backup.
    #[arg(long)]
    from: PathBuf,
}

pub(super) fn back_up(args: BackupArgs) -> anyhow::Result<()> {
    process::keep_files_private();
    let config = Config::load(&args.config, config::environment())?;
    println!("{}", backup::back_up(&config, &args.to, &SystemClock)?);
    println!("now copy the evidence; keep the vault's keys apart");
    Ok(())
}

pub(super) async fn restore(args: RestoreArgs) -> anyhow::Result<()> {
    process::keep_files_private();
    let config = Config::load(&args.config, config::environment())?;
    let restored = backup::restore(&config, &args.from, &SystemClock).await?;
    println!("{}", restored.backup);
    restored.warnings.iter().for_each(|warning| eprintln!("warning: {warning}"));
    println!("restored as store {}", restored.identity);
    Ok(())
}
