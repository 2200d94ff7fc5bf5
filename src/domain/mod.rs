//! The rules of a verification: which requests are valid, what the vendor's answers mean, when a
//! result is final. No I/O, nothing async, and nothing of ours above it.

pub mod audit;
pub mod bill_day;
pub mod caller;
pub mod clock;
pub mod end_user;
pub mod event;
pub mod evidence;
pub mod fault;
pub mod flow;
pub mod id_card_limits;
pub mod identity;
pub mod ids;
pub mod image;
pub mod intention;
pub mod job;
pub mod key_pair;
pub mod named;
pub mod new_verification;
pub mod outcome;
pub mod reason;
pub mod redirect;
pub mod responsible_party;
pub mod result;
pub mod result_code;
pub mod schedule;
pub mod sealed;
pub mod secret_text;
pub mod store_identity;
pub mod verification;
