//! Entry points of the fuzz targets: reading answers, without a vendor.

use super::{
    answer::read_answer,
    h5::{findings::read_report, tree::Tree},
};
use jiff::Timestamp;

pub use super::h5::media::fuzz_media as read_media;

/// Reads an answer to a call that asks for text, as far as the result that is kept.
pub fn read_text(answer: &[u8]) {
    if let Ok(answer) = read_answer::<Tree>(answer) {
        let answer = answer.answers(Timestamp::UNIX_EPOCH, 1);
        let _ = read_report(answer.body, answer.request_id, Timestamp::UNIX_EPOCH);
    }
}
