//! A configuration file. Every fault must come back as text, and none may quote what may be a
//! secret.

#![no_main]

use faceid_gateway::config::Config;
use libfuzzer_sys::fuzz_target;
use std::iter;

fuzz_target!(|text: &str| {
    // Files that it names are read, and what is behind a name here is not ours to open.
    if text.contains("_file") {
        return;
    }
    if let Err(error) = Config::from_toml(text, "fuzz.toml", iter::empty()) {
        assert!(!error.to_string().is_empty());
    }
});
