//! The client of Tencent Cloud FaceID, API version 2018-03-01.
//!
//! [`Products`] is the door: what any product of the vendor does. [`h5`] is the product that there
//! is; the rest is the transport that every product shares. Between a question and its answer are
//! timeouts, resets, throttles, skewed clocks and outages. In reading order: [`product`], [`h5`],
//! [`client`], `attempt` (one call and its tries), `signer`, `call` (what is counted of it),
//! `answer`, `retry`, `endpoints` with `breaker`, `quota`, `in_flight`, [`clock_offset`].

mod answer;
mod attempt;
mod breaker;
mod call;
pub mod catalogue;
pub mod client;
pub mod clock_offset;
mod endpoints;
pub mod error;
#[cfg(fuzzing)]
pub mod fuzzing;
pub mod h5;
mod in_flight;
pub mod options;
pub mod product;
mod quota;
mod retry;
mod signer;
pub mod sts;
pub mod terms;

pub use catalogue::ErrorClass;
pub use client::Client;
pub use clock_offset::VendorClock;
pub use endpoints::{certificates, host_header};
pub use error::{Error, ErrorKind};
pub use h5::{
    encryption::{self, FieldEncryption},
    media::MediaStream,
    probe::{KeyVerdict, RuleVerdict},
};
pub use options::{ActionQuotas, CallOptions, ClientConfig, Urgency};
pub use product::Products;
pub use terms::{BesideMedia, Charge, MediaEvent, MediaQuery, MediumError, Opened};
