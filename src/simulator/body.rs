//! The body of an answer: JSON, into which its media are put only when it is sent. However large
//! they are, one copy of them serves all answers.

use axum::body::Bytes;
use serde_json::Value;

use super::media::{Mark, Medium, Writing};

/// Answer to an action: the content of `Response` without the RequestId, and the media that belong
/// in it.
pub(super) struct Answer {
    pub(super) content: Value,
    pub(super) attachments: Attachments,
}

impl From<Value> for Answer {
    fn from(content: Value) -> Self {
        Self { content, attachments: Attachments::default() }
    }
}

/// The media of one answer. In its JSON each is a placeholder that nobody can guess, and so no text
/// from outside can be taken for one.
pub(super) struct Attachments {
    placeholder: String,
    media: Vec<(Medium, Mark)>,
    /// In turn, those of the media.
    writings: &'static [Writing],
}

impl Default for Attachments {
    fn default() -> Self {
        Self::written(&[Writing::Plain])
    }
}

/// So many digits has the number behind a placeholder. An answer holds some dozens of media.
const NUMBER_DIGITS: usize = 4;

impl Attachments {
    pub(super) fn written(writings: &'static [Writing]) -> Self {
        Self { placeholder: format!("medium:{}:", super::random::random_uuid()), media: Vec::new(), writings }
    }

    /// Adds a medium; the string that is returned is to stand in its place.
    pub(super) fn add(&mut self, medium: &Medium, mark: Mark) -> Value {
        let number = self.media.len();
        self.media.push((medium.clone(), mark));
        Value::String(format!("{}{number:0NUMBER_DIGITS$}", self.placeholder))
    }

    /// The body, piece by piece: `json` with each medium in its place.
    pub(super) fn fill(&self, json: String) -> Vec<Bytes> {
        let places: Vec<(usize, usize)> = json
            .match_indices(&self.placeholder)
            .filter_map(|(at, placeholder)| {
                let number_at = at + placeholder.len();
                let number = json.get(number_at..number_at + NUMBER_DIGITS)?.parse().ok()?;
                Some((at, number))
            })
            .collect();
        let json = Bytes::from(json);
        let (mut pieces, mut done) = (Vec::new(), 0);
        for (at, number) in places {
            if let Some((medium, mark)) = self.media.get(number) {
                pieces.push(json.slice(done..at));
                let writing = self.writings.iter().cycle().nth(number).unwrap_or(&Writing::Plain);
                pieces.extend(medium.written(*mark, *writing));
                done = at + self.placeholder.len() + NUMBER_DIGITS;
            }
        }
        pieces.push(json.slice(done..));
        pieces
    }
}

/// The length of a body, in bytes.
pub(super) fn length(pieces: &[Bytes]) -> usize {
    pieces.iter().map(Bytes::len).sum()
}

/// The first `length` bytes of a body.
pub(super) fn cut(pieces: Vec<Bytes>, length: usize) -> Vec<Bytes> {
    let mut left = length;
    let kept = pieces.into_iter().map(|piece| {
        let kept = piece.slice(..piece.len().min(left));
        left -= kept.len();
        kept
    });
    kept.filter(|piece| !piece.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::media::{MIN_VIDEO_BYTES, liveness_video};
    use super::*;

    #[test]
    fn media_are_put_where_they_belong() {
        let (medium, mut attachments) = (liveness_video(MIN_VIDEO_BYTES), Attachments::default());
        let [one, other] = [Mark::new("T", "a", 0), Mark::new("T", "b", 0)];
        let content = json!({
            "a": attachments.add(&medium, one), "b": [attachments.add(&medium, other)], "c": "medium:x:0000",
        });
        let body = attachments.fill(content.to_string());
        let text = |mark| String::from_utf8(medium.marked(mark).collect::<Vec<_>>().concat()).unwrap();
        let expected = json!({ "a": text(one), "b": [text(other)], "c": "medium:x:0000" });
        assert_eq!(serde_json::from_slice::<Value>(&body.concat()).unwrap(), expected);
        assert_eq!(length(&body), expected.to_string().len());
    }

    #[test]
    fn a_body_is_cut_within_a_piece() {
        let body = vec![Bytes::from_static(b"abc"), Bytes::from_static(b"defg")];
        assert_eq!(cut(body.clone(), 4).concat(), b"abcd");
        assert_eq!(cut(body, 9).concat(), b"abcdefg");
    }
}
