//! The URL that a browser comes back with: anyone may have written it.

#![no_main]

use faceid_gateway::domain::{fault::Faults, redirect::UnverifiedReturn};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let mut faults = Faults::default();
    let read = UnverifiedReturn::parse(text, "callback_url", &mut faults);
    assert_eq!(read.is_none(), !faults.into_vec().is_empty(), "a return that is not read has faults, one that is read has none");
});
