//! A gateway and a simulator in this process, on free loopback ports, with a clock that can be
//! moved.

use crate::engine;
use faceid_gateway::{
    config::Config,
    domain::clock::{Clock, MovableClock},
    grpc::pb::{
        self, CreateVerificationRequest, CreateVerificationResponse, GetResultRequest, GetResultResponse,
        HandleCallbackRequest, HandleCallbackResponse, Subject, verification_service_client::VerificationServiceClient,
    },
    serve::Gateway,
    simulator::{self, Simulator, SimulatorConfig},
};
use serde_json::{Value, json};
use std::{
    iter,
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    process,
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
};
use tempfile::TempDir;
use tonic::{
    Code, Request, Response, Status,
    transport::{Channel, Endpoint},
};
use tonic_types::StatusExt;

pub const ID_NUMBER: &str = "11010519491231002X";
/// The tokens of the callers `orders` (may see FULL), `loans` and `stranger` (may use no flow).
pub const ORDERS: &str = "orders-token";
pub const LOANS: &str = "loans-token";
pub const STRANGER: &str = "stranger-token";
/// The token of the caller `finance`, who has the right admin.
pub const FINANCE: &str = "finance-token";
/// The token of the caller `auditor`, who has the right audit.
pub const AUDITOR: &str = "auditor-token";
/// The key of the vault unless a test gives others.
pub const VAULT_KEY: &str = "test:AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";

pub struct World {
    pub gateway: Gateway,
    pub simulator: Simulator,
    pub folder: TempDir,
    clock: Arc<MovableClock>,
    http: reqwest::Client,
    pub channel: Channel,
}

impl World {
    pub async fn start() -> Self {
        let simulator = simulator::start(SimulatorConfig::loopback()).await.expect("simulator starts");
        Self::start_with(simulator, TempDir::new().expect("temporary folder")).await
    }

    /// On a folder and a simulator that were used before.
    pub async fn start_with(simulator: Simulator, folder: TempDir) -> Self {
        Self::start_with_webhook(simulator, folder, "").await
    }

    /// With these lines of TOML in `[tencent]`.
    pub async fn start_with_tencent(tencent: &str) -> Self {
        let simulator = simulator::start(SimulatorConfig::loopback()).await.expect("simulator starts");
        let folder = TempDir::new().expect("temporary folder");
        let own = format!("endpoint = \"http://{}\"", simulator.api_addr());
        let own = if tencent.contains("endpoint =") { String::new() } else { own };
        let lines = tencent.replace("SIMULATOR", &format!("http://{}", simulator.api_addr()));
        let text = config_text(&simulator, &folder, "");
        let from = text.find("endpoint = ").expect("an endpoint");
        let to = text.find("timeout_ms = ").expect("a timeout");
        let text = format!("{}{own}\n{lines}\n{}", &text[..from], &text[to..]);
        let config = Config::from_toml(&text, "harness", iter::empty()).unwrap_or_else(|error| panic!("{error}"));
        Self::start_with_config(simulator, folder, config, endpoint).await
    }

    /// With these lines of TOML for the caller `orders`, which tables of their own may follow.
    pub async fn start_with_webhook(simulator: Simulator, folder: TempDir, webhook: &str) -> Self {
        let config = config(&simulator, &folder, webhook);
        Self::start_with_config(simulator, folder, config, endpoint).await
    }

    /// With a configuration that differs from the usual one as `edit` says.
    pub async fn start_edited(simulator: Simulator, folder: TempDir, edit: impl FnOnce(String) -> String) -> Self {
        let text = edit(config_text(&simulator, &folder, ""));
        Self::start_configured(simulator, folder, &text).await
    }

    /// With such a configuration, and with variables of the environment.
    pub async fn start_in_environment(
        simulator: Simulator,
        folder: TempDir,
        edit: impl FnOnce(String) -> String,
        environment: &[(&str, &str)],
    ) -> Self {
        let text = edit(config_text(&simulator, &folder, ""));
        let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let config = Config::from_toml(&text, "harness", environment).unwrap_or_else(|error| panic!("{error}"));
        Self::start_with_config(simulator, folder, config, endpoint).await
    }

    /// Why a gateway with such a configuration does not start.
    pub async fn refuses_to_start(
        simulator: &Simulator,
        folder: &TempDir,
        edit: impl FnOnce(String) -> String,
    ) -> String {
        let config = parse(&edit(config_text(simulator, folder, "")));
        let started = Gateway::start(config, Arc::new(MovableClock::default())).await;
        format!("{:#}", started.err().expect("the gateway has started"))
    }

    async fn start_configured(simulator: Simulator, folder: TempDir, text: &str) -> Self {
        Self::start_with_config(simulator, folder, parse(text), endpoint).await
    }

    /// With a configuration that the simulator and the folder are part of; `connect` says how
    /// [`World::channel`] connects.
    pub async fn start_with_config(
        simulator: Simulator,
        folder: TempDir,
        config: Config,
        connect: impl FnOnce(SocketAddr) -> Endpoint,
    ) -> Self {
        let clock = Arc::new(MovableClock::default());
        let gateway = Gateway::start(config, Arc::clone(&clock) as _).await.expect("gateway starts");
        let channel = connect(gateway.grpc_addr).connect().await.expect("gateway is reached");
        let http = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build();
        Self { gateway, simulator, folder, clock, http: http.expect("HTTP client"), channel }
    }

    /// A second gateway on the same store, evidence and clock.
    pub async fn another_gateway(&self) -> Gateway {
        self.gateway_with(config(&self.simulator, &self.folder, "")).await
    }

    /// A second gateway, with a configuration of its own, on the same store and clock. On PostgreSQL
    /// it has connections of its own, as another process has.
    pub async fn gateway_with(&self, config: Config) -> Gateway {
        if engine::is_postgresql() {
            return Gateway::start(config, Arc::clone(&self.clock) as _).await.expect("another gateway starts");
        }
        let store = Arc::clone(&self.gateway.store);
        Gateway::start_on(store, config, Arc::clone(&self.clock) as _).await.expect("another gateway starts")
    }

    pub fn client(&self) -> VerificationServiceClient<Channel> {
        VerificationServiceClient::new(self.channel.clone()).max_encoding_message_size(usize::MAX)
    }

    pub fn shop(&self, page: &str) -> String {
        format!("http://{}/shop/{page}", self.simulator.api_addr())
    }

    /// A request that flow `onboarding` takes; the browser comes back through the gateway's own
    /// callback.
    pub fn request(&self) -> CreateVerificationRequest {
        CreateVerificationRequest {
            flow: "onboarding".into(),
            subject: Some(Subject { name: "张三".into(), id_number: ID_NUMBER.into() }),
            success_url: self.shop("welcome"),
            failure_url: self.shop("sorry"),
            ..CreateVerificationRequest::default()
        }
    }

    /// A request for flow `photo`, whose evidence is kept.
    pub fn photo_request(&self) -> CreateVerificationRequest {
        CreateVerificationRequest {
            flow: "photo".into(),
            subject: None,
            reference_photo: [&[0xFF, 0xD8, 0xFF, 0xE0][..], &[7; 1000], &[0xFF, 0xD9]].concat(),
            ..self.request()
        }
    }

    pub async fn create(&self, request: CreateVerificationRequest) -> Result<CreateVerificationResponse, Status> {
        self.create_as(ORDERS, request).await
    }

    pub async fn create_as(
        &self,
        token: &str,
        request: CreateVerificationRequest,
    ) -> Result<CreateVerificationResponse, Status> {
        self.client().create_verification(bearing(token, request)).await.map(Response::into_inner)
    }

    /// A verification that was created and must be there.
    pub async fn created(&self) -> Created {
        Created::of(succeeded(self.create(self.request()).await))
    }

    pub async fn callback_as(
        &self,
        token: &str,
        source: pb::handle_callback_request::Source,
    ) -> Result<HandleCallbackResponse, Status> {
        let request = HandleCallbackRequest { source: Some(source) };
        self.client().handle_callback(bearing(token, request)).await.map(Response::into_inner)
    }

    pub async fn callback(&self, url: &str) -> Result<HandleCallbackResponse, Status> {
        self.callback_as(ORDERS, pb::handle_callback_request::Source::CallbackUrl(url.to_owned())).await
    }

    pub async fn result_as(&self, token: &str, request: GetResultRequest) -> Result<GetResultResponse, Status> {
        self.client().get_result(bearing(token, request)).await.map(Response::into_inner)
    }

    /// The result, asked freshly of the vendor.
    pub async fn result(&self, id: &str) -> Result<GetResultResponse, Status> {
        self.result_as(ORDERS, GetResultRequest { fresh: true, ..by_id(id) }).await
    }

    /// The state after the vendor was asked, without the enum's prefix.
    pub async fn state(&self, id: &str) -> &'static str {
        state_name(&succeeded(self.result(id).await).verification.expect("a verification"))
    }

    /// The user's attempt ends with `code`. Gives the URL that the vendor sends the browser to.
    pub async fn attempt(&self, created: &Created, code: i32) -> String {
        let answer = self.control(&format!("tokens/{}/attempts", created.token), json!({ "code": code })).await;
        answer["redirect_url"].as_str().unwrap_or_default().to_owned()
    }

    /// The state as the store has it, without asking anybody.
    pub async fn stored_state(&self, id: &str) -> String {
        self.gateway.store.find(id).await.expect("store").expect("a row").progress.state
    }

    /// Waits until a condition holds; the test runner's own time limit ends a wait in vain.
    pub async fn until(&self, what: &str, mut condition: impl AsyncFnMut() -> bool) {
        let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(90);
        while !condition().await {
            assert!(tokio::time::Instant::now() < deadline, "waited in vain for {what}");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }

    /// A POST to the simulator's control port.
    pub async fn control(&self, path: &str, body: Value) -> Value {
        let url = format!("http://{}/{path}", self.simulator.control_addr());
        let answer = self.http.post(url).json(&body).send().await.expect("control port answers");
        let status = answer.status();
        let text = answer.text().await.expect("control port answers a text");
        assert!(status.is_success(), "{path}: {text}");
        serde_json::from_str(&text).expect("control port answers JSON")
    }

    pub async fn fault(&self, body: Value) {
        self.control("faults", body).await;
    }

    /// The vendor is well again.
    pub async fn clear_faults(&self) {
        let url = format!("http://{}/faults", self.simulator.control_addr());
        self.http.delete(url).send().await.expect("control port answers");
    }

    /// How many calls are still to meet a planned fault.
    pub async fn faults_left(&self) -> u64 {
        let text = self.get(&format!("http://{}/state", self.simulator.control_addr())).await.1;
        let state: Value = serde_json::from_str(&text).expect("the state is JSON");
        state["faults"].as_u64().expect("a number")
    }

    /// How often an action of the vendor was called, whatever came of it.
    pub async fn vendor_calls(&self, action: &str) -> u64 {
        let text = self.get(&format!("http://{}/calls", self.simulator.control_addr())).await.1;
        let calls: Value = serde_json::from_str(&text).expect("calls are JSON");
        calls[action].as_object().map_or(0, |by_code| by_code.values().filter_map(Value::as_u64).sum())
    }

    /// The time of the gateway's clock.
    pub fn now(&self) -> jiff::Timestamp {
        self.clock.now()
    }

    /// Moves the gateway's and the vendor's clock.
    pub async fn advance(&self, seconds: i64) {
        // The vendor's first: what comes due by ours would else be signed for a time that the
        // vendor does not have yet.
        self.control("clock", json!({ "advance_s": seconds })).await;
        self.clock.advance(jiff::SignedDuration::from_secs(seconds));
    }

    /// Moves only the gateway's clock.
    pub fn skew(&self, seconds: i64) {
        self.clock.advance(jiff::SignedDuration::from_secs(seconds));
    }

    /// A GET as a browser does it, without following redirects: status, body, `Location`.
    pub async fn get(&self, url: &str) -> (u16, String, String) {
        let answer = self.http.get(url).send().await.expect("an answer");
        let location = answer.headers().get("location").map(|value| value.to_str().expect("a URL").to_owned());
        let status = answer.status().as_u16();
        (status, answer.text().await.expect("a body"), location.unwrap_or_default())
    }

    pub fn http_url(&self, path: &str) -> String {
        format!("http://{}{path}", self.gateway.http_addr)
    }

    pub fn admin_url(&self, path: &str) -> String {
        format!("http://{}{path}", self.gateway.admin_addr)
    }

    /// Rows in a table, read past the gateway.
    pub fn rows(&self, table: &str) -> i64 {
        self.count(&format!("SELECT count(*) FROM {table}"))
    }

    /// Events of the audit trail that are about a verification.
    pub fn audited(&self) -> i64 {
        self.count("SELECT count(*) FROM audit_events WHERE verification_id <> ''")
    }

    /// Verifications that are still to be looked at.
    pub fn settle_jobs(&self) -> i64 {
        self.count("SELECT count(*) FROM jobs WHERE kind = 'settle'")
    }

    /// Jobs that somebody works on.
    pub fn leased_jobs(&self) -> i64 {
        self.count("SELECT count(*) FROM jobs WHERE lease_token IS NOT NULL")
    }

    /// Of the lease of a settle job, if one is claimed.
    pub fn lease_token(&self) -> Option<String> {
        engine::texts(self.folder.path(), "SELECT max(lease_token) FROM jobs WHERE kind = 'settle'").remove(0)
    }

    /// A number, read past the gateway.
    pub fn count(&self, sql: &str) -> i64 {
        count(&self.folder, sql)
    }

    /// Files under the folder of the evidence.
    pub fn blobs(&self) -> Vec<PathBuf> {
        blobs(&self.folder)
    }

    /// Actions in the audit trail of a verification, oldest first.
    pub async fn audit(&self, id: &str) -> Vec<String> {
        let trail = self.gateway.store.audit_of(id).await.expect("audit trail");
        trail.into_iter().map(|event| format!("{} {}", event.actor, event.action)).collect()
    }

    /// Stops the gateway; simulator and folder go on.
    pub async fn stop_gateway(self) -> (Simulator, TempDir) {
        drop(self.channel);
        self.gateway.stop().await.expect("gateway stops");
        (self.simulator, self.folder)
    }
}

pub fn endpoint(address: SocketAddr) -> Endpoint {
    Channel::from_shared(format!("http://{address}")).expect("an address is a URI")
}

pub async fn connect(address: SocketAddr) -> Channel {
    endpoint(address).connect().await.expect("gateway is reached")
}

/// A number, read past the gateway whose data is in `folder`.
pub fn count(folder: &TempDir, sql: &str) -> i64 {
    engine::count(folder.path(), sql)
}

/// Files under the folder of the evidence in `folder`, without the marker that says whose it is.
pub fn blobs(folder: &TempDir) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.path().join("evidence")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
            if entry.is_dir() {
                folders.push(entry);
            } else if !entry.ends_with("evidence/faceid-gateway.store") {
                files.push(entry);
            }
        }
    }
    files
}

/// What a test needs of a new verification.
pub struct Created {
    pub id: String,
    pub token: String,
    pub url: String,
}

impl Created {
    pub fn of(created: CreateVerificationResponse) -> Self {
        Self {
            id: created.verification.expect("a verification").verification_id,
            token: created.biz_token,
            url: created.url,
        }
    }
}

/// A state without the enum's prefix.
pub fn state_name(verification: &pb::Verification) -> &'static str {
    let name = verification.state().as_str_name();
    name.strip_prefix("VERIFICATION_STATE_").unwrap_or(name)
}

pub fn by_id(id: &str) -> GetResultRequest {
    GetResultRequest {
        key: Some(pb::get_result_request::Key::VerificationId(id.to_owned())),
        ..GetResultRequest::default()
    }
}

pub fn bearing<T>(token: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let value = format!("Bearer {token}").parse().expect("a token is a header value");
    request.metadata_mut().insert("authorization", value);
    request
}

/// The answer of a call that must succeed.
#[track_caller]
pub fn succeeded<T>(result: Result<T, Status>) -> T {
    result.unwrap_or_else(|status| panic!("{:?}: {}", status.code(), status.message()))
}

/// What is compared of an error: code, `ErrorInfo.reason`, and the bad fields.
#[derive(Debug, PartialEq, Eq)]
pub struct Refusal {
    pub code: Code,
    pub reason: String,
    pub fields: Vec<String>,
    pub retry: bool,
}

/// The error of a call that must fail.
#[track_caller]
pub fn refused<T>(result: Result<T, Status>) -> Refusal {
    let Err(status) = result else { panic!("the call succeeded") };
    let details = status.get_error_details();
    let info = details.error_info().unwrap_or_else(|| panic!("no ErrorInfo: {status:?}"));
    assert_eq!(info.domain, "faceid-gateway");
    let fields = details.bad_request().map(|bad| bad.field_violations.iter().map(|v| v.field.clone()).collect());
    Refusal {
        code: status.code(),
        reason: info.reason.clone(),
        fields: fields.unwrap_or_default(),
        retry: details.retry_info().is_some(),
    }
}

/// A refusal for these fields.
pub fn invalid(fields: &[&str]) -> Refusal {
    Refusal {
        code: Code::InvalidArgument,
        reason: "INVALID_FIELDS".into(),
        fields: fields.iter().map(|field| (*field).to_owned()).collect(),
        retry: false,
    }
}

fn config(simulator: &Simulator, folder: &TempDir, lines_of_orders: &str) -> Config {
    parse(&config_text(simulator, folder, lines_of_orders))
}

/// A configuration that must be right.
pub fn parse(toml: &str) -> Config {
    Config::from_toml(toml, "harness", iter::empty()).unwrap_or_else(|error| panic!("{error}"))
}

/// An address for a listener that must be known before it listens. The port is below those that
/// systems give out by themselves, so that no connection and no other test takes it meanwhile.
fn free_address() -> SocketAddr {
    static TAKEN: AtomicU16 = AtomicU16::new(0);
    const FIRST: u16 = 12_000;
    const PORTS: u16 = 18_000;
    loop {
        // Two runs at once begin far apart, though their process ids are neighbours.
        let start = (process::id().wrapping_mul(397) % u32::from(PORTS)) as u16;
        let port = FIRST + (start + TAKEN.fetch_add(1, Ordering::Relaxed) % PORTS) % PORTS;
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
            return listener.local_addr().expect("its address");
        }
    }
}

/// The configuration of a gateway whose data is in `folder`, with these lines of TOML for the
/// caller `orders`.
pub fn config_text(simulator: &Simulator, folder: &TempDir, lines_of_orders: &str) -> String {
    let store = engine::store_url(folder.path());
    let http = free_address();
    let flows: String = [
        ("onboarding", "1", "authority", r#""name", "id_number""#),
        ("photo", "2", "uploaded_photo", ""),
        ("read-aloud", "3", "authority", r#""name", "id_number""#),
        ("questions", "4", "authority", r#""name", "id_number""#),
        ("nods", "5", "authority", r#""name", "id_number""#),
        ("console-intention", "3", "authority", r#""name", "id_number""#),
        ("unapproved", "999", "authority", ""),
    ]
    .map(|(name, rule_id, comparison, requires)| {
        // As the simulator's console has it; of `console-intention` the gateway is not told.
        let intention = match name {
            "read-aloud" => "intention = \"read_aloud\"",
            "questions" => "intention = \"questions\"",
            "nods" => "intention = \"nods\"",
            _ => "",
        };
        let evidence = if name == "onboarding" { "[]" } else { r#"["best_frame", "id_card", "video", "intention"]"# };
        format!(
            r#"
            [[flows]]
            name = "{name}"
            rule_id = "{rule_id}"
            credential = "main"
            access_mode = "wechat_h5_native_overlay"
            comparison = "{comparison}"
            requires = [{requires}]
            {intention}
            evidence = {evidence}
            redirect_allow = ["http://{}/shop/", "https://shop.example.com/"]
            "#,
            simulator.api_addr()
        )
    })
    .concat();
    let flow_names = r#"["onboarding", "photo", "read-aloud", "questions", "nods", "console-intention", "unapproved"]"#;
    let callers: String = [
        ("orders", ORDERS, flow_names, r#"["full_view", "evidence"]"#),
        ("loans", LOANS, flow_names, "[]"),
        ("stranger", STRANGER, "[]", "[]"),
        ("finance", FINANCE, "[]", r#"["admin"]"#),
        ("auditor", AUDITOR, "[]", r#"["audit"]"#),
    ]
    .map(|(name, token, flows, rights)| {
        let more = if name == "orders" { lines_of_orders } else { "" };
        let hash = hex::encode(<sha2::Sha256 as sha2::Digest>::digest(token.as_bytes()));
        format!(
            "[[callers]]\nname = \"{name}\"\ntoken_sha256 = [\"{hash}\"]\nflows = {flows}\nrights = {rights}\n{more}"
        )
    })
    .concat();
    format!(
        r#"
        [grpc]
        listen = "127.0.0.1:0"
        [http]
        listen = "{http}"
        public_url = "http://{http}"
        [admin]
        listen = "127.0.0.1:0"
        [store]
        url = "{store}"
        [evidence]
        url = "file:{}"
        [vault]
        keys = """{VAULT_KEY}"""
        [tencent]
        endpoint = "http://{}"
        timeout_ms = 4000
        [id_card_limits]
        per_minute = 0
        per_day = 0
        [[credentials]]
        name = "main"
        secret_id = "{}"
        secret_key = "{}"
        {flows}
        {callers}
        "#,
        folder.path().join("evidence").display(),
        simulator.api_addr(),
        simulator.secret_id(),
        simulator.secret_key(),
    )
}
