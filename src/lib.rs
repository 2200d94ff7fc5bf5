//! The gateway between a company's services and Tencent Cloud FaceID (人脸核身).
//!
//! # Follow one verification
//!
//! 1. A caller's CreateVerification arrives in [`grpc`], which decodes it and knows the caller by
//!    [`auth`].
//! 2. [`app`] checks it with the rules of [`domain`], has [`tencent`] open a flow (signed by
//!    [`tc3`]), seals what came back with [`vault`], and keeps it in the [`store`]: one durable
//!    insert, then the answer.
//! 3. The user's browser visits the vendor and comes back to the caller's page (HandleCallback) or
//!    to [`http`] (`/callback`). Either way `app` checks that the return is bound to the
//!    verification, and then asks the vendor: the redirect is a hint.
//! 4. `domain::outcome` judges the vendor's answer, `domain::verification` makes the transition,
//!    and the store advances over the version that was read. GetResult tells of it.
//!
//! Imports point one way, and nowhere else (held by `tests/it/structure.rs`):
//!
//! ```text
//! cli        → serve, doctor, backup, simulator, config, telemetry, process, grpc, vault, domain
//! serve      → grpc, http, listen, process, worker, app, auth, reload, config, telemetry, credential, tencent, vault, store, evidence, webhook, domain
//! doctor     → app, config, credential, tencent, vault, store, evidence, domain
//! backup     → app, config, store, evidence, domain
//! config     → grpc, auth, listen, reload, telemetry, credential, tencent, vault, store, evidence, webhook, domain
//! grpc       → app, auth, tencent, listen, shares, reload, telemetry, domain
//! http       → app, tencent, listen, telemetry, domain
//! worker     → app, store, domain
//! app        → credential, tencent, vault, store, evidence, webhook, domain
//! credential → tencent, vault, store, domain
//! tencent    → tc3, bounded_body, domain
//! evidence   → vault, domain
//! store      → domain
//! vault      → domain
//! auth       → reload, bounded_body, domain
//! webhook    → bounded_body
//! domain, tc3, listen, shares, process, reload, bounded_body, telemetry, simulator → nothing of ours
//! ```
//!
//! The modules in reading order: [`domain`], [`app`], [`tencent`], [`tc3`], [`credential`],
//! [`vault`], [`store`], [`evidence`], [`webhook`], [`auth`], [`reload`], [`bounded_body`],
//! [`shares`], [`listen`], [`grpc`], [`http`], [`worker`], [`config`], [`process`], [`serve`],
//! [`doctor`], [`backup`], [`telemetry`], [`cli`], and, apart from all of them, [`simulator`].

pub mod app;
pub mod auth;
pub mod backup;
pub mod bounded_body;
pub mod cli;
pub mod config;
pub mod credential;
pub mod doctor;
pub mod domain;
pub mod evidence;
pub mod grpc;
pub mod http;
pub mod listen;
pub mod process;
pub mod reload;
pub mod serve;
pub mod shares;
pub mod simulator;
pub mod store;
pub mod tc3;
pub mod telemetry;
pub mod tencent;
pub mod vault;
pub mod webhook;
pub mod worker;
