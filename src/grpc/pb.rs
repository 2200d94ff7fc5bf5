//! Generated from `proto/faceid/v1/`.
#![allow(missing_docs, clippy::pedantic, reason = "generated")]

tonic::include_proto!("faceid.v1");
