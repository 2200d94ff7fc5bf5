//! Walks verifications all their way, as a caller, its user and the user's browser do, and checks
//! every step.

use crate::grpc::pb::{
    CreateVerificationRequest, CreateVerificationResponse, GetResultRequest, Subject, Verification, VerificationState,
    get_result_request::Key, verification_service_client::VerificationServiceClient,
};
use anyhow::{Context, ensure};
use reqwest::{StatusCode, header::LOCATION};
use std::net::SocketAddr;
use tonic::transport::Channel;

/// The participants of a walk.
pub(super) struct Stage {
    pub grpc: SocketAddr,
    pub simulator: SocketAddr,
    pub control: SocketAddr,
}

struct Walk<'a> {
    stage: &'a Stage,
    gateway: VerificationServiceClient<Channel>,
    browser: reqwest::Client,
}

/// Three verifications: one that passes, one that passes in a flow with field encryption, and one
/// that fails first and passes on retry with the same token.
pub(super) async fn walk(stage: &Stage) -> anyhow::Result<()> {
    let gateway = VerificationServiceClient::connect(format!("http://{}", stage.grpc)).await?;
    let browser = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build()?;
    let mut walk = Walk { stage, gateway, browser };

    println!("A person who passes:");
    let created = walk.create("onboarding").await?;
    walk.user_opens(&created).await?;
    walk.user_ends_with(0, &created, "welcome").await?;
    walk.expect_state(&created, VerificationState::Passed, None).await?;

    println!("Another, whose name and ID number are encrypted between gateway and vendor:");
    let created = walk.create("encrypted").await?;
    walk.user_opens(&created).await?;
    walk.user_ends_with(0, &created, "welcome").await?;
    walk.expect_state(&created, VerificationState::Passed, None).await?;

    println!("A person who fails, and passes on retry with the same token:");
    let created = walk.create("onboarding").await?;
    walk.user_opens(&created).await?;
    walk.user_ends_with(2016, &created, "sorry").await?;
    walk.expect_state(&created, VerificationState::Pending, Some(2016)).await?;
    walk.user_ends_with(0, &created, "welcome").await?;
    walk.expect_state(&created, VerificationState::Passed, None).await
}

impl Walk<'_> {
    async fn create(&mut self, flow: &str) -> anyhow::Result<CreateVerificationResponse> {
        let shop = format!("http://{}/shop", self.stage.simulator);
        let request = CreateVerificationRequest {
            request_id: uuid::Uuid::new_v4().to_string(),
            flow: flow.into(),
            subject: Some(Subject { name: "张三".into(), id_number: "11010519491231002X".into() }),
            success_url: format!("{shop}/welcome"),
            failure_url: format!("{shop}/sorry"),
            ..CreateVerificationRequest::default()
        };
        let created = self.gateway.create_verification(request).await.context("CreateVerification")?.into_inner();
        let verification = created.verification.as_ref().context("CreateVerification answered no verification")?;
        ensure!(verification.state() == VerificationState::Pending, "a new verification is not PENDING");
        println!("  created       {} in flow {}", verification.verification_id, verification.flow);
        Ok(created)
    }

    async fn user_opens(&self, created: &CreateVerificationResponse) -> anyhow::Result<()> {
        let page = self.browser.get(&created.url).send().await.context("the vendor's page")?;
        ensure!(page.status() == StatusCode::OK, "the vendor's page answered {}", page.status());
        println!("  user sent to  {}", created.url);
        Ok(())
    }

    /// The user's attempt ends with `code`; the browser goes to the gateway's callback, which sends
    /// it on to `page`.
    async fn user_ends_with(&self, code: i64, created: &CreateVerificationResponse, page: &str) -> anyhow::Result<()> {
        let attempt = format!("http://{}/tokens/{}/attempts", self.stage.control, created.biz_token);
        let answer = self.browser.post(attempt).json(&serde_json::json!({ "code": code })).send().await?;
        let answer: serde_json::Value =
            answer.error_for_status().context("the simulator's control port")?.json().await?;
        let redirect = answer["redirect_url"].as_str().context("the vendor gave no redirect")?;
        let sent_on = self.browser.get(redirect).send().await.context("the gateway's callback")?;
        ensure!(sent_on.status() == StatusCode::SEE_OTHER, "the gateway's callback answered {}", sent_on.status());
        let target = sent_on.headers().get(LOCATION).context("303 without Location")?.to_str()?;
        ensure!(target.contains(&format!("/shop/{page}?")), "the browser was sent to {target}, not to /shop/{page}");
        println!("  redirected    after code {code}: 303 to {target}");
        Ok(())
    }

    async fn expect_state(
        &mut self,
        created: &CreateVerificationResponse,
        state: VerificationState,
        last_attempt: Option<i64>,
    ) -> anyhow::Result<()> {
        let id = created.verification.as_ref().map(|verification| verification.verification_id.clone());
        let request = GetResultRequest { key: id.map(Key::VerificationId), ..GetResultRequest::default() };
        let told = self.gateway.get_result(request).await.context("GetResult")?.into_inner();
        let verification = told.verification.context("GetResult answered no verification")?;
        let is = verification.state().as_str_name();
        ensure!(verification.state() == state, "the state is {is}, not {}", state.as_str_name());
        if let Some(code) = last_attempt {
            let attempt = verification.last_attempt.as_ref().context("there is no last_attempt")?;
            ensure!(attempt.code() == code, "last_attempt is {}, not {code}", attempt.code());
        }
        println!("  {}", summary(&verification));
        Ok(())
    }
}

fn summary(verification: &Verification) -> String {
    let state = verification.state().as_str_name().trim_start_matches("VERIFICATION_STATE_");
    match (&verification.last_attempt, verification.state()) {
        (Some(attempt), VerificationState::Pending) => {
            format!("stays {state} with last_attempt {} ({})", attempt.code(), attempt.meaning)
        }
        _ => format!("settled {state}"),
    }
}
