//! `serve`: the gateway.

use crate::{
    config::{self, Config},
    domain::clock::SystemClock,
    process,
    serve::{Gateway, StopSignals},
    telemetry::Telemetry,
};
use anyhow::Context;
use clap::Args;
use std::{path::PathBuf, sync::Arc};

/// Serve the contract.
#[derive(Args)]
pub struct ServeArgs {
    /// The configuration file (TOML). Environment variables FACEID_GATEWAY__SECTION__KEY go before
    /// it.
    #[arg(long, required_unless_present_any = ["print_defaults", "print_schema"])]
    config: Option<PathBuf>,
    /// Print every setting with its default and meaning, and exit.
    #[arg(long)]
    print_defaults: bool,
    /// Print the JSON schema of the configuration file, and exit: editors complete and check with
    /// it.
    #[arg(long, conflicts_with = "print_defaults")]
    print_schema: bool,
}

pub(super) async fn run(args: ServeArgs) -> anyhow::Result<()> {
    if args.print_schema {
        println!("{}", serde_json::to_string_pretty(&config::json_schema())?);
        return Ok(());
    }
    let Some(file) = args.config.filter(|_| !args.print_defaults) else {
        print!("{}", config::default_file());
        return Ok(());
    };
    let config = Config::load(&file, config::environment())?;
    let telemetry = Telemetry::start(&config.log.filter, config.log.format, config.otlp_endpoint.as_deref())?;
    let mut signals = StopSignals::listen().context("signals")?;
    process::raise_open_files();
    process::keep_files_private();
    if !config.allow_core_dumps {
        process::forbid_core_dumps().context("core dumps cannot be switched off; see process.allow_core_dumps")?;
    }
    let mut gateway = tokio::select! {
        started = Gateway::start(config, Arc::new(SystemClock)) => started?,
        () = signals.next() => return Ok(()),
    };
    let ended = tokio::select! {
        () = signals.next() => gateway.stop_sooner(signals.next()).await,
        error = gateway.failed() => Err(error),
    };
    telemetry.stop();
    ended
}
