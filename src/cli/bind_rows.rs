//! `bind-rows`: once, after an upgrade from a build before 0.2.0.

use crate::{
    config::{self, Config},
    serve,
};
use clap::Args;
use std::path::PathBuf;

/// Bind the verifications that a build from before 0.2.0 wrote, so that they are believed again.
///
/// From 0.2.0 on each row is bound to its caller, its flow and its verdict by a MAC, and a row
/// without one is not believed: somebody may have changed it. Run this once, while no gateway has
/// the database, and only on a database that you trust.
#[derive(Args)]
pub struct BindRowsArgs {
    /// The configuration file (TOML), read as `serve` reads it.
    #[arg(long)]
    config: PathBuf,
}

pub(super) async fn run(args: BindRowsArgs) -> anyhow::Result<()> {
    let config = Config::load(&args.config, config::environment())?;
    let outcome = serve::bind_rows(&config).await?;
    println!("{} verifications bound", outcome.bound);
    outcome.left.iter().for_each(|error| eprintln!("left as it is: {error}"));
    anyhow::ensure!(outcome.left.is_empty(), "{} verifications do not open and stay unreadable", outcome.left.len());
    Ok(())
}
