//! Temporary key pairs: the vendor's Security Token Service, API version 2018-08-13, and the
//! metadata of its machines.

use super::{
    answer::read_answer,
    call::Call,
    catalogue::ErrorClass,
    clock_offset::VendorClock,
    endpoints::host_header,
    error::{Error, ErrorKind},
    options::ClientConfig,
    signer::{Signer, Unsigned},
};
use crate::{
    bounded_body::{self, ReadError},
    domain::key_pair::{KeyPair, UnverifiedKeyPair},
};
use bytes::Bytes;
use jiff::Timestamp;
use reqwest::header::{DATE, HeaderMap, HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use std::{sync::Arc, time::Duration};
use tracing::Instrument;
use url::Url;

const SERVICE: &str = "sts";
const VERSION: &str = "2018-08-13";
/// The default region of the vendor's SDKs; STS answers the same in every region.
pub const DEFAULT_REGION: &str = "ap-guangzhou";
const ROLE_PATH: &str = "/latest/meta-data/cam/security-credentials/";
/// Nobody waits for these but at the start, and they are asked for well ahead.
const TIMEOUT: Duration = Duration::from_secs(10);
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// Where temporary key pairs come from.
#[derive(Clone, Debug)]
pub struct StsConfig {
    /// Plain http only to loopback.
    pub endpoint: Url,
    /// Plain http: the address is the machine's own.
    pub metadata_endpoint: Url,
}

/// STS and metadata, reached over HTTP. One call is one try: the refresh comes back by itself.
pub struct StsClient {
    config: StsConfig,
    http: reqwest::Client,
    /// Without a proxy: what it asks is the machine itself.
    metadata: reqwest::Client,
    clock: Arc<VendorClock>,
    signer: Signer,
    host: HeaderValue,
}

/// A key pair that ends by itself.
pub struct TemporaryPair {
    pub pair: KeyPair,
    pub expires_at: Timestamp,
}

/// Which role, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    /// `qcs::cam::uin/…:roleName/…`
    pub arn: String,
    /// The session's name in the vendor's logs.
    pub session_name: String,
    /// Seconds, at most 43,200 and what the role allows.
    pub duration_s: u32,
}

/// The identity of a TKE pod.
pub struct WebIdentity {
    pub region: String,
    pub provider_id: String,
    pub token: SecretString,
}

impl StsClient {
    /// Makes a client, with the proxy and the certificates of the vendor's other client; connects
    /// when first used.
    ///
    /// # Errors
    /// When the TLS set-up fails.
    pub fn new(config: StsConfig, vendor: &ClientConfig, clock: Arc<VendorClock>) -> reqwest::Result<Self> {
        let trusted = vendor.ca_certificates.iter().map(|der| reqwest::Certificate::from_der(der));
        let trusted = trusted.collect::<reqwest::Result<Vec<_>>>()?;
        let http = || {
            reqwest::Client::builder()
                .user_agent(concat!("faceid-gateway/", env!("CARGO_PKG_VERSION")))
                .timeout(TIMEOUT)
                .redirect(reqwest::redirect::Policy::none())
                .tls_certs_merge(trusted.clone())
        };
        let sts = if let Some(proxy) = &vendor.proxy {
            http().proxy(reqwest::Proxy::all(proxy.expose_secret())?)
        } else if config.endpoint.scheme() == "http" {
            // Plain http is for what is on this machine, which no proxy of the environment can
            // reach.
            http().no_proxy()
        } else {
            http()
        };
        Ok(Self {
            http: sts.build()?,
            metadata: http().no_proxy().build()?,
            clock,
            signer: Signer::new(SERVICE, VERSION),
            host: HeaderValue::from_str(&host_header(&config.endpoint)).expect("a host is ASCII"),
            config,
        })
    }

    /// A role that the owner of `pair` may take on.
    ///
    /// # Errors
    /// See [`ErrorKind`].
    pub async fn assume_role(&self, pair: &KeyPair, role: &Role) -> Result<TemporaryPair, Error> {
        let request = AssumeRoleRequest {
            role_arn: &role.arn,
            role_session_name: &role.session_name,
            duration_seconds: role.duration_s,
            provider_id: None,
            web_identity_token: None,
        };
        self.ask("AssumeRole", DEFAULT_REGION, Some(pair), &request).await
    }

    /// The role of a pod. Not signed: the token identifies the pod.
    ///
    /// # Errors
    /// See [`ErrorKind`].
    pub async fn assume_role_with_web_identity(
        &self,
        identity: &WebIdentity,
        role: &Role,
    ) -> Result<TemporaryPair, Error> {
        let request = AssumeRoleRequest {
            role_arn: &role.arn,
            role_session_name: &role.session_name,
            duration_seconds: role.duration_s,
            provider_id: Some(&identity.provider_id),
            web_identity_token: Some(identity.token.expose_secret()),
        };
        self.ask("AssumeRoleWithWebIdentity", &identity.region, None, &request).await
    }

    /// The role that is bound to this machine; None: the metadata names it.
    ///
    /// # Errors
    /// See [`ErrorKind`].
    pub async fn cvm_role(&self, role: Option<&str>) -> Result<TemporaryPair, Error> {
        let mut call = Call::begin("CvmRole");
        call.tries = 1;
        let result = async {
            let named = match role {
                Some(role) => role.to_owned(),
                None => {
                    String::from_utf8(self.look_up("").await?).map_err(|_| no_answer("the role's name is no text"))?
                }
            };
            let told: RoleCredentials = serde_json::from_slice(&self.look_up(named.trim()).await?)
                .map_err(|_| no_answer("the role's credentials are not the documented JSON"))?;
            if told.code.as_deref() != Some("Success") {
                return Err(no_answer("the metadata has no credentials for the role"));
            }
            temporary(told.tmp_secret_id, told.tmp_secret_key, told.token, told.expired_time)
        };
        match result.instrument(call.span.clone()).await {
            Ok(temporary) => {
                call.succeeded("");
                Ok(temporary)
            }
            Err(kind) => Err(call.failed(kind)),
        }
    }

    async fn look_up(&self, role: &str) -> Result<Vec<u8>, ErrorKind> {
        let mut url = self.config.metadata_endpoint.clone();
        url.set_path(&format!("{ROLE_PATH}{role}"));
        let answer = self.metadata.get(url).send().await.map_err(failed)?;
        let status = answer.status();
        if status.is_success() { read_bounded(answer).await } else { Err(ErrorKind::HttpStatus(status.as_u16())) }
    }

    async fn ask(
        &self,
        action: &'static str,
        region: &str,
        pair: Option<&KeyPair>,
        request: &AssumeRoleRequest<'_>,
    ) -> Result<TemporaryPair, Error> {
        let mut call = Call::begin(action);
        let span = call.span.clone();
        let region = &HeaderValue::from_str(region).unwrap_or_else(|_| HeaderValue::from_static("unsendable"));
        let result = self.ask_in_time(&mut call, action, region, pair, request).instrument(span).await;
        match result {
            Ok((pair, request_id)) => {
                call.succeeded(&request_id);
                Ok(pair)
            }
            Err(kind) => Err(call.failed(kind)),
        }
    }

    /// Asks, and once more when the time of the signature was wrong: without a role's key pair
    /// nobody else could learn the time.
    async fn ask_in_time(
        &self,
        call: &mut Call,
        action: &'static str,
        region: &HeaderValue,
        pair: Option<&KeyPair>,
        request: &AssumeRoleRequest<'_>,
    ) -> Result<(TemporaryPair, String), ErrorKind> {
        let body: Bytes = serde_json::to_vec(request).expect("requests are plain data").into();
        let mut told = None;
        loop {
            let departure = self.clock.departure(told);
            let timestamp = departure.vendor_time().as_second();
            let unsigned = Unsigned { host: &self.host, action, body: &body, timestamp };
            let mut headers = self.signer.headers(&unsigned, pair)?;
            headers.insert(HeaderName::from_static("x-tc-region"), region.clone());
            call.tries += 1;
            let (answered, date) = self.post(headers, body.clone()).await?;
            match answered {
                Err(kind) if told.is_none() && kind.class() == ErrorClass::Clock => {
                    call.failed_once(&kind);
                    told = self.clock.offset_from_date(departure, date.as_ref());
                    if told.is_none() {
                        return Err(kind);
                    }
                }
                answered => {
                    let accepted = answered.as_ref().err().is_none_or(ErrorKind::signature_accepted);
                    if let (Some(told), true) = (told, accepted && pair.is_some()) {
                        self.clock.believe(told);
                    }
                    return answered;
                }
            }
        }
    }

    /// One try: what came of it, and the `Date` of the answer.
    async fn post(
        &self,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<(Result<(TemporaryPair, String), ErrorKind>, Option<HeaderValue>), ErrorKind> {
        let answer = self.http.post(self.config.endpoint.clone()).headers(headers).body(body).send().await;
        let answer = answer.map_err(failed)?;
        let status = answer.status();
        if !status.is_success() {
            return Err(ErrorKind::HttpStatus(status.as_u16()));
        }
        let date = answer.headers().get(DATE).cloned();
        let read = read_answer::<AssumeRoleResponse>(&read_bounded(answer).await?);
        let told = read.and_then(|answer| {
            let AssumeRoleResponse { credentials, expired_time } = answer.body;
            let told = credentials.ok_or_else(|| no_answer("Credentials is missing"))?;
            let pair = temporary(told.tmp_secret_id, told.tmp_secret_key, told.token, expired_time)?;
            Ok((pair, answer.request_id))
        });
        Ok((told, date))
    }
}

async fn read_bounded(answer: reqwest::Response) -> Result<Vec<u8>, ErrorKind> {
    bounded_body::read(answer, MAX_ANSWER_BYTES).await.map_err(|error| match error {
        ReadError::TooLarge { limit_bytes } => ErrorKind::TooLarge { limit_bytes },
        ReadError::Broken(error) => failed(error),
    })
}

fn failed(error: reqwest::Error) -> ErrorKind {
    if error.is_timeout() {
        ErrorKind::Timeout { timeout_ms: TIMEOUT.as_millis() }
    } else {
        ErrorKind::unreachable(error)
    }
}

fn no_answer(problem: &str) -> ErrorKind {
    ErrorKind::Unintelligible { problem: problem.to_owned(), request_id: String::new() }
}

/// All parts must be there, and must be ones that can be sent.
fn temporary(
    secret_id: Option<SecretString>,
    secret_key: Option<SecretString>,
    token: Option<SecretString>,
    expired_time: Option<i64>,
) -> Result<TemporaryPair, ErrorKind> {
    let part = |part: Option<SecretString>, name: &str| part.ok_or_else(|| no_answer(&format!("{name} is missing")));
    let pair = UnverifiedKeyPair {
        secret_id: part(secret_id, "TmpSecretId")?,
        secret_key: part(secret_key, "TmpSecretKey")?,
        session_token: Some(part(token, "Token")?),
    };
    let pair = pair.check().map_err(|faults| no_answer(&format!("its key pair: {}", faults[0])))?;
    let expires_at = expired_time.and_then(|at| Timestamp::from_second(at).ok());
    let expires_at = expires_at.ok_or_else(|| no_answer("ExpiredTime is missing or no time"))?;
    Ok(TemporaryPair { pair, expires_at })
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct AssumeRoleRequest<'a> {
    role_arn: &'a str,
    role_session_name: &'a str,
    duration_seconds: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    provider_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    web_identity_token: Option<&'a str>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct AssumeRoleResponse {
    credentials: Option<StsCredentials>,
    /// UNIX seconds.
    expired_time: Option<i64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct StsCredentials {
    token: Option<SecretString>,
    tmp_secret_id: Option<SecretString>,
    tmp_secret_key: Option<SecretString>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RoleCredentials {
    code: Option<String>,
    tmp_secret_id: Option<SecretString>,
    tmp_secret_key: Option<SecretString>,
    token: Option<SecretString>,
    /// UNIX seconds.
    expired_time: Option<i64>,
}
