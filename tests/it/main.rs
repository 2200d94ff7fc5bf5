//! Black-box tests through gRPC and HTTP, against the simulator.

mod authority;
mod bad_input;
mod caller_matrix;
mod callers;
mod doctor;
mod evidence;
mod harness;
mod idempotency;
mod invariants;
mod issuer;
mod killing;
mod life;
mod listing;
mod operations;
mod quotas;
mod reconciling;
mod redacting;
mod resilience;
mod rotating;
mod store;
mod tls;
mod usage;
mod vendor_faults;
mod views;
mod watching;
mod webhooks;
