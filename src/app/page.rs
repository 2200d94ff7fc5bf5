//! Page sizes and page tokens, for all lists.

use crate::domain::fault::Faults;

pub(super) const FOREIGN_PAGE_TOKEN: &str = "was not given by this gateway for this caller and filter, or before a restore of its store: list from the first page";

/// How many entries a page has at most: 0 asks for the usual number, and more than `most` for
/// `most`.
pub(super) fn page_size(asked: i32, usual: u32, most: u32, faults: &mut Faults) -> u32 {
    match u32::try_from(asked) {
        Ok(0) => usual,
        Ok(asked) => asked.min(most),
        Err(_) => {
            faults.add("page_size", "is negative");
            usual
        }
    }
}
