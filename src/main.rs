//! Reads the command line, runs the command, says what went wrong.

use clap::Parser;
use faceid_gateway::cli::Cli;
use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    match Cli::parse().run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("faceid-gateway: {error:#}");
            ExitCode::FAILURE
        }
    }
}
