//! `migrate`: the schema, and a store that moves.

use crate::{
    backup,
    config::{self, Config, StoreUrl},
    domain::clock::SystemClock,
    process, serve,
};
use anyhow::bail;
use clap::Args;
use std::{
    io::{IsTerminal, Write},
    path::PathBuf,
};

/// Bring the store's schema up to date, or move a store from SQLite to PostgreSQL.
///
/// A start brings the schema up to date too: this is for those who do it apart from it. A move needs the
/// old gateway stopped, and takes all rows; the evidence stays where it is. It checks what it has
/// copied, and goes on where it was when it is run again. Watchers with a token from before are told to
/// list, and webhooks have new ids.
#[derive(Args)]
pub struct MigrateArgs {
    /// The configuration file (TOML), read as `serve` reads it. Its store.url is what is migrated, or
    /// moved to.
    #[arg(long)]
    config: PathBuf,
    /// The store that is moved: sqlite:<path of the database file>.
    #[arg(long)]
    from: Option<String>,
}

pub(super) async fn run(args: MigrateArgs) -> anyhow::Result<()> {
    process::keep_files_private();
    let config = Config::load(&args.config, config::environment())?;
    let Some(from) = args.from else {
        serve::migrate(&config).await?;
        println!("{} is up to date", config.store);
        return Ok(());
    };
    let Some(from) = from.strip_prefix("sqlite:").filter(|path| !path.is_empty()) else {
        bail!("--from is not sqlite:<path of the database file>")
    };
    let StoreUrl::Postgres(to) = &config.store else {
        bail!("store.url is not postgres://…: a store moves to the one that the configuration names")
    };
    let is_terminal = std::io::stderr().is_terminal();
    let progress = |table: &str, there: u64, all: u64| {
        // A line for each table, which is written over where somebody watches it grow.
        if is_terminal {
            eprint!("\r\x1b[K{table}: {there} of {all}{}", if there == all { "\n" } else { "" });
            let _ = std::io::stderr().flush();
        } else if there == all {
            eprintln!("{table}: {all}");
        }
    };
    let moved = backup::move_to_postgres(from.as_ref(), to, &SystemClock, progress).await?;
    println!(
        "moved to {} as store {moved}; sqlite:{from} stays as it was: keep it until you trust the new one",
        config.store
    );
    Ok(())
}
