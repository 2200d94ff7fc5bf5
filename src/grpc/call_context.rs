//! What is known of a call while it is served: the id by which it is found again, in its trailers, in
//! the details of its error, and in the log; and the language of the person at its end.

use crate::domain::end_user::Language;
use http::{HeaderMap, HeaderValue, header};
use std::future::Future;
use uuid::Uuid;

/// As Envoy names it, in requests and in trailers.
pub(super) const REQUEST_ID: &str = "x-request-id";
const MAX_BYTES: usize = 64;

tokio::task_local! {
    static CURRENT: CallContext;
}

#[derive(Clone)]
pub(super) struct CallContext {
    /// A text that a header and a log can hold.
    id: HeaderValue,
    language: Language,
}

impl CallContext {
    /// The id is the call's own, or a new one where it has none that is fit for a log: 64 letters,
    /// digits and `-_.:` at most.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let given = headers.get(REQUEST_ID).filter(|value| is_fit(value.as_bytes()));
        let made = || HeaderValue::from_str(&Uuid::new_v4().to_string()).expect("hexadecimal digits and hyphens");
        let accepted = headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok());
        Self {
            id: given.cloned().unwrap_or_else(made),
            language: accepted.map_or_else(Language::default, Language::of),
        }
    }

    /// Of the call which is being served here; None outside of one.
    pub(super) fn current() -> Option<Self> {
        CURRENT.try_with(Clone::clone).ok()
    }

    pub(super) fn request_id(&self) -> &str {
        self.id.to_str().unwrap_or_default()
    }

    pub(super) fn header(&self) -> HeaderValue {
        self.id.clone()
    }

    pub(super) fn language(&self) -> Language {
        self.language
    }

    /// Serves this call.
    pub(super) fn serving<F: Future>(&self, call: F) -> impl Future<Output = F::Output> + use<F> {
        CURRENT.scope(self.clone(), call)
    }

    /// The same for a step that does not wait.
    pub(super) fn during<T>(&self, step: impl FnOnce() -> T) -> T {
        CURRENT.sync_scope(self.clone(), step)
    }
}

fn is_fit(id: &[u8]) -> bool {
    (1..=MAX_BYTES).contains(&id.len()) && id.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_a_log_can_hold_is_kept() {
        let of = |id: &str| {
            let headers = HeaderMap::from_iter([(
                http::HeaderName::from_static(REQUEST_ID),
                HeaderValue::from_bytes(id.as_bytes()).expect("a value"),
            )]);
            CallContext::of(&headers).request_id().to_owned()
        };
        let longest = "x".repeat(MAX_BYTES);
        for id in ["7f3a", "0af7651916cd43dd8448eb211c80319c", "a-b_c.d:e", &longest] {
            assert_eq!(of(id), id);
        }
        for id in ["", "two words", "\"quoted\"", "身份证", &"x".repeat(MAX_BYTES + 1)] {
            assert!(Uuid::parse_str(&of(id)).is_ok(), "{id}");
        }
        let none = HeaderMap::new();
        assert_ne!(CallContext::of(&none).request_id(), CallContext::of(&none).request_id());
    }

    #[tokio::test]
    async fn the_current_id_is_that_of_the_call() {
        assert!(CallContext::current().is_none());
        let id = CallContext::of(&HeaderMap::new());
        let current = || CallContext::current().map(|id| id.request_id().to_owned());
        assert_eq!(id.serving(async { current() }).await.as_deref(), Some(id.request_id()));
        assert_eq!(id.during(current).as_deref(), Some(id.request_id()));
    }
}
