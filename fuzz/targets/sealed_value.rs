//! What lies in the store as sealed: opens only as it was sealed, and never panics.

#![no_main]

use faceid_gateway::vault::{Keyring, Place};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

const PLACE: Place<'_> = Place { table: "verifications", row: "r1", column: "sealed_result" };

static KEYRING: LazyLock<Keyring> =
    LazyLock::new(|| Keyring::parse("k1:AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=").expect("a keyring"));

fuzz_target!(|input: (&[u8], u16, u8)| {
    let (bytes, position, flip) = input;
    assert!(KEYRING.open(PLACE, bytes).is_err(), "nobody without the key makes a sealed value");
    let mut sealed = KEYRING.seal(PLACE, bytes);
    assert_eq!(KEYRING.open(PLACE, &sealed).expect("opens").as_slice(), bytes);
    if flip != 0 {
        let position = usize::from(position) % sealed.len();
        sealed[position] ^= flip;
        assert!(KEYRING.open(PLACE, &sealed).is_err(), "an altered value opens");
    }
});
