pub mod domain;
pub mod store;
pub mod tc3;
pub mod tencent;
pub mod vault;
