//! The client of Tencent Cloud FaceID, API version 2018-03-01.

pub mod client;
pub mod error;
mod findings;
#[cfg(fuzzing)]
pub mod fuzzing;
pub mod media;
pub mod wire;

pub use client::{Answer, Client, ClientConfig};
pub use error::{Error, ErrorClass, ErrorKind};
pub use media::{MediaEvent, MediaStream};
