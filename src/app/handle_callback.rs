//! HandleCallback: the browser is back. The redirect is a hint; the vendor is asked.

use super::{App, AuditAction, Error, record::Record};
use crate::domain::{
    caller::Caller,
    fault::{Fault, Faults},
    ids::{BizToken, VerificationId},
    redirect::UnverifiedReturn,
    verification::{State, Verification},
};
use url::Url;

/// What came back.
pub enum CallbackSource {
    /// The URL, or its query, as the browser brought it.
    Url(String),
    /// The same in parts, from a caller that parsed the URL itself.
    Tokens { verification_id: String, biz_token: String },
}

/// Who brings it.
#[derive(Clone, Copy)]
pub enum Visitor<'a> {
    /// An authenticated caller, which must own the verification.
    Caller(&'a Caller),
    /// The user's browser itself, at the gateway's public callback.
    Browser,
}

/// Where the verification stands, and where to send the browser.
pub struct CallbackOutcome {
    pub verification: Verification,
    /// None when the verification was created without final targets.
    pub redirect_url: Option<Url>,
}

/// A return that was read but not yet checked.
struct Claim {
    id: VerificationId,
    token: BizToken,
    /// Absent where the caller, which is authenticated, named the verification itself.
    mac: Option<Vec<u8>>,
    mac_field: String,
    token_field: String,
}

impl App {
    /// Checks that the return belongs to the verification, then settles it. A replay gives the same answer.
    ///
    /// # Errors
    /// See [`Error`]. After an error nothing has changed but the audit trail.
    pub async fn handle_callback(
        &self,
        visitor: Visitor<'_>,
        source: CallbackSource,
    ) -> Result<CallbackOutcome, Error> {
        let claim = Claim::read(source)?;
        let record = self.bound_record(visitor, &claim).await?;
        let record = self.settle(record).await?;
        let passed = matches!(record.verification.state, State::Passed { .. });
        let redirect_url = record.targets.map(|targets| if passed { targets.success_url } else { targets.failure_url });
        Ok(CallbackOutcome { verification: record.verification, redirect_url })
    }

    async fn bound_record(&self, visitor: Visitor<'_>, claim: &Claim) -> Result<Record, Error> {
        let mac_holds = claim.mac.as_ref().is_none_or(|mac| self.keyring.verifies_redirect(claim.id, mac));
        let id = claim.id.to_string();
        let row = self.store.find(&id).await?.filter(|row| match visitor {
            Visitor::Caller(caller) => row.made.caller == caller.name,
            Visitor::Browser => true,
        });
        let not_bound = |field: &str, problem: &str| {
            Error::CallbackNotBound(Fault { field: field.to_owned(), problem: problem.to_owned() })
        };
        let Some(row) = row else {
            // Whoever does not hold our MAC learns nothing about which ids exist.
            return Err(if mac_holds {
                Error::VerificationNotFound
            } else {
                not_bound(&claim.mac_field, "was not made by this gateway for this verification")
            });
        };
        let record = Record::open(&self.keyring, row)?;
        let refusal = if !mac_holds {
            not_bound(&claim.mac_field, "was not made by this gateway for this verification")
        } else if record.token != claim.token {
            not_bound(&claim.token_field, "is not the token of this verification")
        } else {
            return Ok(record);
        };
        let actor = match visitor {
            Visitor::Caller(caller) => &caller.name,
            Visitor::Browser => "browser",
        };
        self.audit(actor, AuditAction::CallbackRefused, &id).await?;
        metrics::counter!("faceid_callbacks_refused_total").increment(1);
        Err(refusal)
    }
}

impl Claim {
    fn read(source: CallbackSource) -> Result<Self, Error> {
        let mut faults = Faults::default();
        let claim = match source {
            CallbackSource::Url(url) => {
                const FIELD: &str = "callback_url";
                UnverifiedReturn::parse(&url, FIELD, &mut faults).map(|unverified| Self {
                    id: unverified.verification_id,
                    token: unverified.biz_token,
                    mac: Some(unverified.mac),
                    mac_field: UnverifiedReturn::mac_field(FIELD),
                    token_field: UnverifiedReturn::token_field(FIELD),
                })
            }
            CallbackSource::Tokens { verification_id, biz_token } => {
                let id = faults.check("tokens.verification_id", VerificationId::parse(&verification_id));
                let token = faults.check("tokens.biz_token", BizToken::parse(&biz_token));
                id.zip(token).map(|(id, token)| Self {
                    id,
                    token,
                    mac: None,
                    mac_field: String::new(),
                    token_field: "tokens.biz_token".into(),
                })
            }
        };
        claim.ok_or_else(|| Error::InvalidFields(faults.into_vec()))
    }
}
