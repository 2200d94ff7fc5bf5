//! Faults of an input, field by field.

use std::fmt;

/// One bad field. Says what is wrong and what would be right, never the value: it may be personal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Path of the field, for instance `subject.id_number` or `flows[0].rule_id`.
    pub field: String,
    /// The fault, with the limit.
    pub problem: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.problem)
    }
}

/// Collects faults, so that a reader learns all of them at once.
#[derive(Debug, Default)]
pub struct Faults(Vec<Fault>);

impl Faults {
    /// Notes a fault.
    pub fn add(&mut self, field: impl Into<String>, problem: impl Into<String>) {
        self.0.push(Fault { field: field.into(), problem: problem.into() });
    }

    /// Takes the value out of a check, or notes what it found.
    pub fn check<T>(&mut self, field: &str, result: Result<T, String>) -> Option<T> {
        result.map_err(|problem| self.add(field, problem)).ok()
    }

    /// Takes the value out of a check that found any number of faults, or notes them.
    pub fn check_all<T>(&mut self, result: Result<T, Vec<Fault>>) -> Option<T> {
        result.map_err(|faults| self.0.extend(faults)).ok()
    }

    /// Notes the fault when the length in characters is over `limit`.
    pub fn check_length(&mut self, field: &str, text: &str, limit: usize) {
        let length = text.chars().count();
        if length > limit {
            self.add(field, format!("has {length} characters; the limit is {limit}"));
        }
    }

    /// How many were noted so far.
    #[expect(clippy::len_without_is_empty, reason = "whether there are none is what `finish` is for")]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The value, if nothing was noted.
    ///
    /// # Errors
    /// All faults, when there is at least one.
    pub fn finish<T>(self, value: impl FnOnce() -> T) -> Result<T, Vec<Fault>> {
        if self.0.is_empty() { Ok(value()) } else { Err(self.0) }
    }

    /// The faults so far.
    pub fn into_vec(self) -> Vec<Fault> {
        self.0
    }
}
