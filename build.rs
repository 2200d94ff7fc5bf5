//! Compiles the contract in `proto/` to Rust, and to the descriptor set that reflection serves.

use prost::Message;
use std::{env, error::Error, fs, path::PathBuf};

const PROTO_ROOT: &str = "proto";
const PROTO_FILES: [&str; 10] = [
    "faceid/v1/verification_service.proto",
    "faceid/v1/usage_service.proto",
    "faceid/v1/credential_service.proto",
    "faceid/v1/audit_service.proto",
    "faceid/v1/vault_service.proto",
    "faceid/v1/flow_service.proto",
    "faceid/v1/server_service.proto",
    "faceid/v1/verification.proto",
    "faceid/v1/result.proto",
    "faceid/v1/error_reason.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed={PROTO_ROOT}");
    // Of a release: a build from a checkout is told nothing, and need not be done again for each
    // commit.
    println!("cargo:rerun-if-env-changed=FACEID_GATEWAY_COMMIT");
    println!("cargo:rerun-if-changed=src/store/migrations");
    let descriptors = protox::compile(PROTO_FILES, [PROTO_ROOT])?;
    let descriptor_file = PathBuf::from(env::var("OUT_DIR")?).join("faceid_descriptor.bin");
    fs::write(descriptor_file, descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        // Messages carry tokens, names and ID numbers: without Debug they cannot reach a log by
        // accident.
        .skip_debug(["."])
        // Labels in one order, so that one request has one fingerprint.
        .btree_map(".")
        .compile_fds(descriptors)?;
    Ok(())
}
