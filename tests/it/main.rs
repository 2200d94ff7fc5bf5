//! Black-box tests through gRPC and HTTP, against the simulator.

mod bad_input;
mod callers;
mod evidence;
mod harness;
mod idempotency;
mod invariants;
mod killing;
mod life;
mod listing;
mod operations;
mod reconciling;
mod redacting;
mod resilience;
mod store;
mod usage;
mod vendor_faults;
mod views;
mod watching;
mod webhooks;
