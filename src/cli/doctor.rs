//! `doctor`: what a gateway will meet, one line each.

use crate::{
    config::{self, Config},
    doctor::{Status, examine},
    domain::clock::SystemClock,
};
use clap::Args;
use std::{path::PathBuf, sync::Arc};

/// Examine what a gateway with this configuration will meet, and say what to do.
///
/// It changes nothing here, and may run beside a gateway that serves. At Tencent it asks about a
/// token that nobody has, and opens a free token for each flow. Ends with 1 when something fails.
#[derive(Args)]
pub struct DoctorArgs {
    /// The configuration file (TOML), read as `serve` reads it.
    #[arg(long)]
    config: PathBuf,
    /// Print a JSON array of {check, subject, status, finding, advice, manual}; status is ok, warn,
    /// fail, or note: cannot be seen.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: DoctorArgs) -> anyhow::Result<()> {
    let configuration = Config::load(&args.config, config::environment());
    let findings = examine(configuration, &args.config.display().to_string(), Arc::new(SystemClock)).await;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&findings)?);
    } else {
        for finding in &findings {
            println!("{finding}");
        }
    }
    let failed = findings.iter().filter(|finding| finding.status == Status::Fail).count();
    anyhow::ensure!(failed == 0, "{failed} of {} checks failed", findings.len());
    Ok(())
}
