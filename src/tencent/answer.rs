//! Reads what the vendor answers: its envelope, and where it breaks.

use super::error::ErrorKind;
use jiff::Timestamp;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, value::RawValue};

/// An answer and the vendor's id of the call.
pub struct Answer<T> {
    pub body: T,
    pub request_id: String,
    /// When the question was put that this answers. The vendor took the signature for this time, so
    /// it is the vendor's, to within the 5 minutes that it allows, whatever the machine's clock
    /// says.
    pub asked_at: Timestamp,
    /// How many tries it took.
    pub tries: u32,
}

/// Content of the vendor's envelope.
pub(super) struct Unpacked<T> {
    pub(super) body: T,
    pub(super) request_id: String,
}

impl<T> Unpacked<T> {
    pub(super) fn answers(self, asked_at: Timestamp, tries: u32) -> Answer<T> {
        Answer { body: self.body, request_id: self.request_id, asked_at, tries }
    }
}

/// Reads the vendor's envelope: `{"Response": {"Error": …}}` or `{"Response": {…}}`.
pub(super) fn read_answer<T: DeserializeOwned>(body: &[u8]) -> Result<Unpacked<T>, ErrorKind> {
    let envelope: Envelope<'_> = serde_json::from_slice(body).map_err(|error| unintelligible(&error, ""))?;
    let response = envelope.response.get();
    let Head { request_id, error } = serde_json::from_str(response).map_err(|error| unintelligible(&error, ""))?;
    // Both go to logs and callers: nothing but a code and an id may pass for one.
    let request_id = request_id.as_str().filter(|id| is_word(id, "-_")).unwrap_or_default().to_owned();
    // An error without anything in it is none: a null is not a fact, and neither is `{}`.
    let has_error = error.as_object().map_or(!error.is_null() && error != "", |fields| !fields.is_empty());
    if has_error {
        return Err(match error["Code"].as_str().filter(|code| is_word(code, ".")) {
            Some(code) => ErrorKind::Refused { code: code.to_owned(), request_id },
            None => ErrorKind::Unintelligible { problem: "the error's code is not one".into(), request_id },
        });
    }
    let body = serde_json::from_str(response).map_err(|error| unintelligible(&error, &request_id))?;
    Ok(Unpacked { body, request_id })
}

fn is_word(text: &str, punctuation: &str) -> bool {
    const MAX_CHARS: usize = 128;
    (1..=MAX_CHARS).contains(&text.len())
        && text.chars().all(|char| char.is_ascii_alphanumeric() || punctuation.contains(char))
}

/// Says where the JSON broke. serde's own text quotes the value, which may be a name or an ID
/// number.
pub(super) fn unintelligible(error: &serde_json::Error, request_id: &str) -> ErrorKind {
    use serde_json::error::Category;
    let problem = match error.classify() {
        Category::Eof => "cut off",
        Category::Syntax => "not JSON",
        Category::Data => "a field is of another type than documented",
        Category::Io => "unreadable",
    };
    let problem = format!("{problem} at line {} column {}", error.line(), error.column());
    ErrorKind::Unintelligible { problem, request_id: request_id.to_owned() }
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(rename = "Response", borrow)]
    response: &'a RawValue,
}

#[derive(Deserialize)]
struct Head {
    #[serde(rename = "RequestId", default)]
    request_id: Value,
    #[serde(rename = "Error", default)]
    error: Value,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tencent::h5::tree::Tree;

    fn read(body: &str) -> Result<Unpacked<Tree>, ErrorKind> {
        read_answer(body.as_bytes())
    }

    #[test]
    fn reads_an_error_and_its_request_id() {
        let error = read(r#"{"Response":{"Error":{"Code":"InternalError","Message":"张三"},"RequestId":"r-1"}}"#).err();
        let Some(ErrorKind::Refused { code, request_id }) = error else { panic!("not refused") };
        assert_eq!((code.as_str(), request_id.as_str()), ("InternalError", "r-1"));
    }

    #[test]
    fn what_is_no_code_and_no_id_goes_nowhere() {
        for code in ["张三 11010519491231002X".to_owned(), String::new(), "A".repeat(129)] {
            let body = format!(r#"{{"Response":{{"Error":{{"Code":"{code}","Message":""}},"RequestId":"张三"}}}}"#);
            let error = read(&body).err().unwrap();
            assert!(matches!(error, ErrorKind::Unintelligible { .. }), "{error}");
            assert!(!error.to_string().contains("张三"), "{error}");
        }
    }

    #[test]
    fn says_where_an_answer_breaks_without_quoting_it() {
        for (body, expected) in [
            ("<html>502 张三</html>", "not JSON at line 1 column 1"),
            (r#"{"Response":{"Text":{"Name":"张三""#, "cut off"),
            (r#"{"Response":null}"#, "another type"),
            ("[]", "another type"),
            ("", "cut off at line 1 column 0"),
        ] {
            let text = read(body).err().unwrap_or_else(|| panic!("{body} was read")).to_string();
            assert!(text.contains(expected) && !text.contains("张三"), "{body}: {text}");
        }
    }

    #[test]
    fn an_error_with_nothing_in_it_is_none() {
        for nothing in ["null", "{}", r#""""#] {
            let body = format!(r#"{{"Response":{{"Error":{nothing},"RequestId":7,"Text":{{}}}}}}"#);
            assert!(read(&body).is_ok(), "{nothing}");
        }
        for odd in [r#"{"Message":"x"}"#, "7", "[1]"] {
            let body = format!(r#"{{"Response":{{"Error":{odd}}}}}"#);
            assert!(matches!(read(&body), Err(ErrorKind::Unintelligible { .. })), "{odd}");
        }
    }

    #[test]
    fn deep_nesting_is_refused() {
        let deep = format!(r#"{{"Response":{{"New":{}1{}}}}}"#, "[".repeat(100_000), "]".repeat(100_000));
        assert!(read(&deep).is_err());
    }
}
