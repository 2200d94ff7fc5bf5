//! Sends events to a caller's own server: one signed POST each, by Standard Webhooks 1.0.
//!
//! One send is one try. The caller decides on order, retries and parking, and finds in
//! [`SendError`] what a failure means. Where a caller's URL leads is not trusted: [`target`] keeps
//! the gateway from being sent into its own network.

pub mod receivers;
pub mod sender;
pub mod sign;
pub mod target;

pub use receivers::{Admission, Receivers, Slot};
pub use sender::{Message, SendError, Sender, Timeouts};
pub use sign::Secret;
pub use target::Target;

/// Where a caller wants its events, and what they are signed with.
#[derive(Clone, Debug)]
pub struct Endpoint {
    target: Target,
    secrets: Vec<Secret>,
}

impl Endpoint {
    /// Whether events for the other go to the same place.
    pub fn leads_where(&self, other: &Self) -> bool {
        self.target == other.target
    }

    /// Joins what [`Target::parse`] and [`Secret::parse`] read. An event carries one signature for
    /// each secret, so while a secret is replaced the old one and the new one are both given, and
    /// the receiver may know either.
    ///
    /// # Errors
    /// When there is no secret: nothing is sent unsigned.
    pub fn new(target: Target, secrets: Vec<Secret>) -> Result<Self, String> {
        if secrets.is_empty() {
            return Err("has no secret; events are not sent unsigned".into());
        }
        Ok(Self { target, secrets })
    }

    /// Where events are sent.
    pub fn target(&self) -> &Target {
        &self.target
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_has_a_secret_and_shows_none() {
        let target = || Target::parse("https://hook.example.com/in/path-token?key=query-token", false).unwrap();
        assert!(Endpoint::new(target(), vec![]).is_err());

        let secret = Secret::parse("whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=").unwrap();
        let shown = format!("{:?}", Endpoint::new(target(), vec![secret]).unwrap());
        assert!(shown.contains("hook.example.com") && shown.contains("REDACTED"), "{shown}");
        assert!(!shown.contains("token") && !shown.contains("48, 49"), "{shown}");
    }
}
