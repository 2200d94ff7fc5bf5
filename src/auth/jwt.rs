//! JWTs (RFC 7519) as bearer tokens.

use super::{
    jwks::{self, Jwks, JwksSource},
    refused::Refused,
};
use crate::domain::clock::Clock;
use jiff::SignedDuration;
use jsonwebtoken::{Algorithm, Header, Validation, decode, decode_header, errors::ErrorKind};
use serde::Deserialize;
use std::{collections::HashSet, sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

/// Signatures by a private key that only the issuer has. With a shared secret every verifier could
/// sign, too.
const ALGORITHMS: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];
const MAX_BYTES: usize = 8 * 1024;

/// Whose JWTs count.
#[derive(Clone, Debug)]
pub struct JwtConfig {
    pub keys: JwksSource,
    /// The `iss` of every token.
    pub issuer: String,
    /// Every token's `aud` names one of these.
    pub audiences: Vec<String>,
    /// How far the issuer's clock may differ from ours.
    pub leeway: SignedDuration,
    /// How often the keys are fetched.
    pub refresh_interval: Duration,
}

/// Verifies JWTs.
pub(super) struct JwtVerifier {
    jwks: Arc<Jwks>,
    validation: Validation,
    leeway_s: f64,
    clock: Arc<dyn Clock>,
}

/// The claims that are checked here; jsonwebtoken checks issuer and audience.
#[derive(Deserialize)]
struct Claims {
    /// Text: jsonwebtoken would take a list that has ours among others.
    #[expect(dead_code, reason = "that it is a text is what is checked")]
    iss: String,
    sub: String,
    exp: f64,
    nbf: Option<f64>,
}

/// Whether a bearer token has the form of a JWT: three parts, of which the first is JSON in base64.
pub(super) fn looks_like_one(token: &str) -> bool {
    token.starts_with("ey") && token.bytes().filter(|byte| *byte == b'.').count() == 2
}

impl JwtVerifier {
    pub(super) async fn start(
        config: JwtConfig,
        clock: Arc<dyn Clock>,
        stop: CancellationToken,
    ) -> Result<Self, jwks::Error> {
        let jwks = Jwks::start(config.keys, config.refresh_interval, stop).await?;
        // The algorithm is set for each token, from ALGORITHMS.
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_issuer(&[config.issuer]);
        validation.set_audience(&config.audiences);
        validation.required_spec_claims = HashSet::from(["exp", "iss", "aud", "sub"].map(str::to_owned));
        // jsonwebtoken reads the machine's clock; these two are judged by ours.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        Ok(Self { jwks, validation, leeway_s: config.leeway.as_secs_f64(), clock })
    }

    /// The subject of a token that is valid now.
    ///
    /// # Errors
    /// A fault of the token, without its content.
    pub(super) async fn verify(&self, token: &str) -> Result<String, Refused> {
        let malformed = || Refused::because("the bearer token is not a JWT");
        if token.len() > MAX_BYTES {
            return Err(Refused::because(format!("the JWT has more than {MAX_BYTES} characters")));
        }
        let header = decode_header(token).map_err(|_| malformed())?;
        if !ALGORITHMS.contains(&header.alg) {
            return Err(Refused::because("the JWT is not signed with one of RS, PS, ES or EdDSA"));
        }
        if header.crit.is_some() {
            return Err(Refused::because("the JWT has critical extensions (crit), which are not known here"));
        }
        let claims = self.claims(token, &header).await?;
        let now_s = self.clock.now().as_duration().as_secs_f64();
        if now_s >= claims.exp + self.leeway_s {
            return Err(Refused::because("the JWT has expired"));
        }
        if claims.nbf.is_some_and(|nbf| now_s < nbf - self.leeway_s) {
            return Err(Refused::because("the JWT is not valid yet (nbf): a clock may be off"));
        }
        Ok(claims.sub)
    }

    /// The claims of a token with a good signature, for us, by our issuer.
    async fn claims(&self, token: &str, header: &Header) -> Result<Claims, Refused> {
        let key_id = header.kid.as_deref();
        let mut keys = self.jwks.keys();
        if keys.find(key_id, header.alg).is_none() {
            keys = self.jwks.look_again(&keys).await;
        }
        if keys.is_empty() {
            return Err(Refused::KeysUnavailable);
        }
        let key = keys
            .find(key_id, header.alg)
            .ok_or_else(|| Refused::because("the issuer has no key with the key id (kid) of this JWT"))?;
        let validation = Validation { algorithms: vec![header.alg], ..self.validation.clone() };
        let decoded = decode::<Claims>(token, key, &validation).map_err(|error| {
            Refused::because(match error.kind() {
                ErrorKind::InvalidIssuer => "the JWT is of another issuer (iss)".to_owned(),
                ErrorKind::InvalidAudience => "the JWT is for another audience (aud)".to_owned(),
                ErrorKind::MissingRequiredClaim(claim) => format!("the JWT has no {claim}"),
                ErrorKind::InvalidSignature => "the JWT's signature is wrong".to_owned(),
                _ => "the JWT cannot be verified".to_owned(),
            })
        })?;
        Ok(decoded.claims)
    }
}
