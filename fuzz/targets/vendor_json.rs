//! An answer of the vendor: read whole and read as a stream, cut into pieces anywhere.

#![no_main]

use faceid_gateway::tencent::fuzzing::{read_media, read_text};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, &[u8])| {
    let (piece_bytes, answer) = input;
    read_text(answer);
    let piece_bytes = usize::from(piece_bytes).max(1);
    let whole = read_media(answer, answer.len().max(1));
    assert_eq!(whole, read_media(answer, piece_bytes), "how an answer is cut into pieces changes what is read");
});
