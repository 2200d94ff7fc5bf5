//! Black-box tests through gRPC and HTTP, against the simulator.

mod bad_input;
mod callers;
mod harness;
mod idempotency;
mod life;
mod operations;
mod store;
mod vendor_faults;
mod views;
