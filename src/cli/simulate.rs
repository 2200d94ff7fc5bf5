//! `simulate`: the vendor, for other programs' tests.

use crate::{
    serve::StopSignals,
    simulator::{self, SimulatorConfig},
    telemetry::{LogFormat, Telemetry},
};
use clap::Args;
use std::net::SocketAddr;

/// Run only the simulator of the vendor.
#[derive(Args)]
pub struct SimulateArgs {
    /// The vendor's API and H5 page.
    #[arg(long, default_value = "127.0.0.1:8081")]
    listen: SocketAddr,
    /// The control port: HTTP and JSON, without authentication.
    #[arg(long, default_value = "127.0.0.1:8082")]
    control_listen: SocketAddr,
    /// The one SecretId that is accepted. Random when not given.
    #[arg(long, env = "FACEID_SIMULATOR_SECRET_ID", hide_env_values = true)]
    secret_id: Option<String>,
    /// Its SecretKey. Random when not given.
    #[arg(long, env = "FACEID_SIMULATOR_SECRET_KEY", hide_env_values = true)]
    secret_key: Option<String>,
    /// Allow addresses that other machines reach. The control port has no authentication.
    #[arg(long)]
    allow_remote: bool,
    /// Log level or directives. RUST_LOG goes before it.
    #[arg(long, default_value = "info")]
    log_level: String,
}

pub(super) async fn run(args: SimulateArgs) -> anyhow::Result<()> {
    check_reach(&[args.listen, args.control_listen], args.allow_remote)?;
    let telemetry = Telemetry::start(&args.log_level, LogFormat::Text, None)?;
    let mut signals = StopSignals::listen()?;
    let random = SimulatorConfig::loopback();
    let made_up = args.secret_id.is_none() || args.secret_key.is_none();
    let simulator = simulator::start(SimulatorConfig {
        listen: args.listen,
        control_listen: args.control_listen,
        secret_id: args.secret_id.unwrap_or(random.secret_id),
        secret_key: args.secret_key.unwrap_or(random.secret_key),
        rules: random.rules,
        reached_as: None,
    })
    .await?;
    println!("vendor API and H5 page  http://{}", simulator.api_addr());
    println!("control port            http://{}", simulator.control_addr());
    if made_up {
        // On the terminal, not in the log: the user needs the made-up keys.
        println!("SecretId                {}", simulator.secret_id());
        println!("SecretKey               {}", simulator.secret_key());
    }
    signals.next().await;
    simulator.shutdown().await;
    telemetry.stop();
    Ok(())
}

/// The simulator is for this machine, unless told otherwise.
pub(super) fn check_reach(addresses: &[SocketAddr], allow_remote: bool) -> anyhow::Result<()> {
    for address in addresses {
        anyhow::ensure!(
            allow_remote || address.ip().is_loopback(),
            "{address} can be reached from other machines; add --allow-remote if that is meant"
        );
    }
    Ok(())
}
