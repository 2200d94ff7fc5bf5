//! Generated from `proto/faceid/v1/`.
#![allow(missing_docs, clippy::pedantic, clippy::large_enum_variant, reason = "generated")]

tonic::include_proto!("faceid.v1");
