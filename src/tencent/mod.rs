//! The client of Tencent Cloud FaceID, API version 2018-03-01.
//!
//! Between a question and its answer are timeouts, resets, throttles, skewed clocks and outages. In reading order: [`client`] (the
//! actions, and signing), `attempt` (one call and its tries), `call` (what is counted of it), `answer`, `retry`, `endpoints` with
//! `breaker`, `quota`, `in_flight`, [`clock_offset`].

mod answer;
mod attempt;
mod breaker;
mod call;
pub mod catalogue;
pub mod client;
pub mod clock_offset;
pub mod encryption;
mod endpoints;
pub mod error;
mod findings;
#[cfg(fuzzing)]
pub mod fuzzing;
mod in_flight;
pub mod media;
pub mod probe;
mod quota;
mod retry;
pub mod sts;
pub mod wire;

pub use answer::Answer;
pub use client::{CallOptions, Client, ClientConfig, Urgency};
pub use clock_offset::VendorClock;
pub use encryption::FieldEncryption;
pub use endpoints::certificates;
pub use error::{Error, ErrorClass, ErrorKind};
pub use media::{MediaEvent, MediaStream};
pub use probe::{KeyVerdict, RuleVerdict};
