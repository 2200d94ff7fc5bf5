//! kill -9 at random moments, on a moved clock: from the first acknowledged verification to the
//! last one settled.
//!
//! The gateway that is killed is a process of its own: this test's executable, started again with
//! [`CONFIG`] set.

use crate::engine;
use crate::harness::{self, Created, ORDERS, bearing, by_id, state_name, succeeded};
use faceid_gateway::{
    config::Config,
    domain::clock::MovableClock,
    grpc::pb::{
        CancelVerificationRequest, CreateVerificationRequest, GetResultRequest, RedactVerificationRequest, Subject,
        verification_service_client::VerificationServiceClient,
    },
    serve::Gateway,
    simulator::{self, Simulator, SimulatorConfig},
};
use jiff::SignedDuration;
use rand::{RngExt, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    io::{BufRead, BufReader, Lines, Write},
    iter,
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::Arc,
    time::Duration,
};
use tempfile::TempDir;
use tonic::{Code, transport::Channel};

/// Path of the configuration of the process that is to be killed.
const CONFIG: &str = "FACEID_TEST_KILLED_CONFIG";
/// How far its clock is ahead when it starts, in seconds.
const MOVED_S: &str = "FACEID_TEST_KILLED_MOVED_S";
/// What that process says before what the test reads; the test framework writes to the same output.
const SAYS: &str = "killed-gateway ";
/// What that process reads when it is to sweep.
const SWEEP: &str = "sweep";
const KILLS: u64 = 12;
const USERS: u64 = 4;
/// A run that fails can be run again with the same choices; the moments of the kills differ with
/// the machine's pace.
const SEED: u64 = 20_180_301;

#[tokio::test(flavor = "multi_thread")]
async fn at_any_moment_loses_nothing_and_doubles_nothing() {
    if let Ok(config) = env::var(CONFIG) {
        return serve_until_killed(Path::new(&config)).await;
    }
    let mut run = Run::start().await;
    for round in 0..KILLS {
        run.round(round).await;
    }
    run.settle_everything().await;
    run.check().await;
}

/// The killed process: serves, moves its clock by the seconds that it reads, and sweeps when it is
/// told to.
async fn serve_until_killed(config: &Path) {
    let config = Config::load(config, iter::empty()).unwrap_or_else(|error| panic!("{error}"));
    let clock = Arc::new(MovableClock::default());
    // Before it starts: what is due is due at once.
    let moved_s = env::var(MOVED_S).expect("set with the configuration").parse().expect("seconds");
    clock.advance(SignedDuration::from_secs(moved_s));
    let gateway = Gateway::start(config, Arc::clone(&clock) as _).await.expect("gateway starts");
    println!("\n{SAYS}{}", gateway.grpc_addr);
    let (app, runtime) = (Arc::clone(&gateway.app), tokio::runtime::Handle::current());
    let orders = tokio::task::spawn_blocking(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            if line == SWEEP {
                runtime.block_on(app.sweep_orphans()).expect("swept");
            } else {
                clock.advance(SignedDuration::from_secs(line.parse().expect("seconds")));
            }
            println!("\n{SAYS}done");
        }
    });
    orders.await.expect("the test goes on for longer");
    drop(gateway);
}

/// The gateway's process as the test sees it.
struct Killable {
    process: Child,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
    channel: Channel,
}

impl Killable {
    async fn start(config: &Path, moved_s: i64) -> Self {
        let mut process = Command::new(env::current_exe().expect("this executable"))
            .args(["--exact", "killing::at_any_moment_loses_nothing_and_doubles_nothing", "--nocapture"])
            .env(CONFIG, config)
            .env(MOVED_S, moved_s.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("this executable starts");
        let stdin = process.stdin.take().expect("piped");
        let mut lines = BufReader::new(process.stdout.take().expect("piped")).lines();
        let address = heard(&mut lines).parse().expect("an address");
        let channel = harness::connect(address).await;
        Self { process, stdin, lines, channel }
    }

    fn move_clock(&mut self, seconds: i64) {
        self.order(&seconds.to_string());
    }

    fn sweep(&mut self) {
        self.order(SWEEP);
    }

    fn order(&mut self, line: &str) {
        writeln!(self.stdin, "{line}").expect("the gateway reads");
        assert_eq!(heard(&mut self.lines), "done");
    }

    fn client(&self) -> VerificationServiceClient<Channel> {
        VerificationServiceClient::new(self.channel.clone())
    }
}

impl Drop for Killable {
    /// SIGKILL.
    fn drop(&mut self) {
        self.process.kill().expect("killed");
        self.process.wait().expect("ended");
    }
}

fn heard(lines: &mut Lines<BufReader<ChildStdout>>) -> String {
    tokio::task::block_in_place(|| {
        for line in lines.map_while(Result::ok) {
            if let Some(said) = line.strip_prefix(SAYS) {
                return said.to_owned();
            }
        }
        panic!("the gateway ended before it was killed")
    })
}

/// What was acknowledged of a verification.
struct Acknowledged {
    request: CreateVerificationRequest,
    created: Created,
    state: Option<&'static str>,
    redacted: bool,
}

struct Run {
    simulator: Simulator,
    folder: TempDir,
    config: std::path::PathBuf,
    http: reqwest::Client,
    moved_s: i64,
    acknowledged: BTreeMap<String, Acknowledged>,
    random: StdRng,
}

impl Run {
    async fn start() -> Self {
        let simulator = simulator::start(SimulatorConfig::loopback()).await.expect("simulator starts");
        let folder = TempDir::new().expect("temporary folder");
        let config = folder.path().join("gateway.toml");
        fs::write(&config, harness::config_text(&simulator, &folder, "")).expect("configuration is written");
        let http = reqwest::Client::builder().no_proxy().build().expect("HTTP client");
        let random = StdRng::seed_from_u64(SEED);
        let run = Self { simulator, folder, config, http, moved_s: 0, acknowledged: BTreeMap::new(), random };
        // Many small fetches meet more kills than few large ones.
        run.control("media", json!({ "video_bytes": 10_000 })).await;
        run
    }

    async fn control(&self, path: &str, body: Value) {
        let url = format!("http://{}/{path}", self.simulator.control_addr());
        let answer = self.http.post(url).json(&body).send().await.expect("control port answers");
        assert!(answer.status().is_success(), "{path}: {}", answer.text().await.unwrap_or_default());
    }

    /// Users at work, time that goes on, and a kill in the middle.
    async fn round(&mut self, round: u64) {
        let mut gateway = Killable::start(&self.config, self.moved_s).await;
        let users: Vec<_> = (0..USERS)
            .map(|user| {
                let user = User {
                    client: gateway.client(),
                    http: self.http.clone(),
                    control: format!("http://{}", self.simulator.control_addr()),
                    shop: format!("http://{}/shop/welcome", self.simulator.api_addr()),
                    name: format!("{round}-{user}"),
                    random: StdRng::seed_from_u64(SEED ^ (round << 8 | user)),
                    acknowledged: Vec::new(),
                };
                tokio::spawn(user.work_until_killed())
            })
            .collect();
        for _ in 0..self.random.random_range(1..4) {
            tokio::time::sleep(Duration::from_millis(self.random.random_range(50..500))).await;
            let seconds = self.random.random_range(1..1200);
            self.advance(&mut gateway, seconds).await;
        }
        drop(gateway);
        if engine::is_postgresql() {
            // Else the next one leaves it its part of the quota until it counts as dead, for longer than
            // a round.
            engine::execute(self.folder.path(), "DELETE FROM replicas");
        }
        for user in users {
            for acknowledged in user.await.expect("a user") {
                self.acknowledged.insert(acknowledged.created.id.clone(), acknowledged);
            }
        }
    }

    async fn advance(&mut self, gateway: &mut Killable, seconds: i64) {
        gateway.move_clock(seconds);
        self.moved_s += seconds;
        self.control("clock", json!({ "advance_s": seconds })).await;
    }

    /// Lets every token end and all work be done. Then a day goes by, after which blobs without a
    /// row are swept.
    async fn settle_everything(&mut self) {
        let mut gateway = Killable::start(&self.config, self.moved_s).await;
        self.advance(&mut gateway, 7203).await;
        let jobs = "SELECT count(*) FROM jobs WHERE kind IN ('settle', 'evidence', 'delete_blobs')";
        let leased = "SELECT count(*) FROM jobs WHERE lease_token IS NOT NULL";
        // By now the leases of those who were killed have ended. Time that runs ahead of the living
        // would end theirs, too.
        let deadline = tokio::time::Instant::now() + Duration::from_secs(120);
        while harness::count(&self.folder, jobs) > 0 {
            if harness::count(&self.folder, leased) == 0 {
                self.advance(&mut gateway, 60).await;
            }
            let now = tokio::time::Instant::now();
            assert!(now < deadline, "jobs that do not end: {}", harness::count(&self.folder, jobs));
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        self.advance(&mut gateway, 25 * 3600).await;
    }

    async fn check(&mut self) {
        let mut gateway = Killable::start(&self.config, self.moved_s).await;
        for _ in ["the first run tells", "the second deletes"] {
            gateway.sweep();
        }
        assert!(self.acknowledged.len() as u64 >= KILLS, "the users came to nothing");
        let vendor = self.vendor().await;
        let mut passed_with_evidence = 0;
        for (id, acknowledged) in &self.acknowledged {
            let answer = succeeded(gateway.client().get_result(bearing(ORDERS, by_id(id))).await).into_inner();
            let told = answer.verification.expect("a verification");
            let state = state_name(&told);
            let codes = &vendor[&acknowledged.created.token].codes;
            let by_vendor = match (codes.contains(&0), codes.is_empty()) {
                (true, _) => "PASSED",
                (false, false) => "FAILED",
                (false, true) => "EXPIRED",
            };
            assert!(state == by_vendor || state == "CANCELED", "{id} is {state}; the vendor: {codes:?}");
            if let Some(before) = acknowledged.state {
                assert_eq!(state, before, "{id}: a final state that was told has changed");
            }
            assert_eq!(u64::from(told.charged_attempts), vendor[&acknowledged.created.token].charged, "{id}");
            let kept = answer.evidence.iter().filter(|evidence| evidence.erase_time.is_none()).count();
            if acknowledged.redacted {
                assert!(told.redact_time.is_some() && answer.result.is_none() && kept == 0, "{id} is not redacted");
            } else if told.redact_time.is_none() && told.flow == "photo" && state == "PASSED" {
                assert!(kept > 0, "{id} has no evidence");
                passed_with_evidence += 1;
            }
            self.check_idempotency(&gateway, acknowledged, told.redact_time.is_some()).await;
        }
        assert!(passed_with_evidence > 0, "no user came as far as evidence");
        self.check_ledger_and_events(&vendor);
        self.check_blobs().await;
        println!("{KILLS} kills, {} verifications acknowledged, all settled", self.acknowledged.len());
        drop(gateway);
    }

    async fn check_idempotency(&self, gateway: &Killable, acknowledged: &Acknowledged, redacted: bool) {
        let again = gateway.client().create_verification(bearing(ORDERS, acknowledged.request.clone())).await;
        if redacted {
            assert_eq!(again.err().expect("a redacted one is not given again").code(), Code::FailedPrecondition);
        } else {
            assert_eq!(Created::of(succeeded(again).into_inner()).token, acknowledged.created.token);
        }
    }

    /// Each attempt in the ledger exactly once: also those of verifications that nobody was told
    /// of.
    fn check_ledger_and_events(&self, vendor: &BTreeMap<String, VendorToken>) {
        let count = |sql: &str| harness::count(&self.folder, sql);
        let attempts: usize = self.acknowledged.values().map(|a| vendor[&a.created.token].codes.len()).sum();
        assert_eq!(count("SELECT count(*) FROM attempts"), attempts as i64, "the ledger");
        let doubled = "SELECT count(*) FROM (SELECT 1 FROM events WHERE kind IN ('settled', 'canceled') \
                       GROUP BY verification_id HAVING count(*) > 1) AS doubled";
        assert_eq!(count(doubled), 0, "two outcomes");
        assert_eq!(count("SELECT count(*) FROM verifications WHERE state = 'pending'"), 0, "not settled");
        if !engine::is_postgresql() {
            assert_eq!(engine::texts(self.folder.path(), "PRAGMA integrity_check"), [Some("ok".to_owned())]);
        }
    }

    /// After the sweep, the blobs are those that rows tell of.
    async fn check_blobs(&self) {
        let sql = "SELECT verification_id || '/' || kind || '-' || position || '-' || id FROM evidence \
                   WHERE erased_at_ms IS NULL";
        let rows: BTreeSet<String> = engine::texts(self.folder.path(), sql).into_iter().flatten().collect();
        let root = self.folder.path().join("evidence");
        let name = |path: std::path::PathBuf| path.strip_prefix(&root).expect("inside").display().to_string();
        let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
        loop {
            let blobs: BTreeSet<String> = harness::blobs(&self.folder).into_iter().map(name).collect();
            if blobs == rows {
                return;
            }
            let now = tokio::time::Instant::now();
            let differ: Vec<_> = blobs.symmetric_difference(&rows).take(10).collect();
            assert!(now < deadline, "{} blobs, {} rows; the first that differ: {differ:?}", blobs.len(), rows.len());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn vendor(&self) -> BTreeMap<String, VendorToken> {
        let url = format!("http://{}/tokens", self.simulator.control_addr());
        let text = self.http.get(url).send().await.expect("control port").text().await.expect("a text");
        let tokens: Vec<Value> = serde_json::from_str(&text).expect("tokens are JSON");
        let summary = |token: &Value| {
            let attempts = token["attempts"].as_array().cloned().unwrap_or_default();
            let codes = attempts.iter().filter_map(|attempt| attempt["code"].as_i64()).collect();
            let charged = attempts.iter().filter(|attempt| attempt["charged"] == true).count() as u64;
            (token["biz_token"].as_str().unwrap_or_default().to_owned(), VendorToken { codes, charged })
        };
        tokens.iter().map(summary).collect()
    }
}

struct VendorToken {
    codes: Vec<i64>,
    charged: u64,
}

/// Creates verifications and takes each some way, until the gateway is gone.
struct User {
    client: VerificationServiceClient<Channel>,
    http: reqwest::Client,
    control: String,
    shop: String,
    name: String,
    random: StdRng,
    acknowledged: Vec<Acknowledged>,
}

impl User {
    async fn work_until_killed(mut self) -> Vec<Acknowledged> {
        while self.one_verification().await.is_some() {}
        self.acknowledged
    }

    /// `None` when the gateway was killed on the way.
    async fn one_verification(&mut self) -> Option<()> {
        let request = self.request();
        let created = self.client.create_verification(bearing(ORDERS, request.clone())).await.ok()?;
        let created = Created::of(created.into_inner());
        let (id, token) = (created.id.clone(), created.token.clone());
        self.acknowledged.push(Acknowledged { request, created, state: None, redacted: false });
        let codes: &[&[i32]] = &[&[], &[0], &[2016], &[2016, 0], &[1004, 2016]];
        for code in *codes.choose(&mut self.random).expect("some") {
            self.attempt(&token, *code).await;
            let fresh = GetResultRequest { fresh: true, ..by_id(&id) };
            let told = self.client.get_result(bearing(ORDERS, fresh)).await.ok()?.into_inner();
            let state = state_name(&told.verification.expect("a verification"));
            self.last().state = Some(state).filter(|state| *state != "PENDING");
        }
        if self.random.random_bool(0.2) {
            let cancel = CancelVerificationRequest { verification_id: id.clone() };
            match self.client.cancel_verification(bearing(ORDERS, cancel)).await {
                Ok(_) => self.last().state = Some("CANCELED"),
                Err(status) if status.code() == Code::FailedPrecondition => {}
                Err(_) => return None,
            }
        }
        if self.random.random_bool(0.2) {
            let redact = RedactVerificationRequest { verification_id: id };
            match self.client.redact_verification(bearing(ORDERS, redact)).await {
                Ok(_) => self.last().redacted = true,
                Err(status) if status.code() == Code::FailedPrecondition => {}
                Err(_) => return None,
            }
        }
        Some(())
    }

    fn last(&mut self) -> &mut Acknowledged {
        self.acknowledged.last_mut().expect("one was created")
    }

    fn request(&mut self) -> CreateVerificationRequest {
        let request = CreateVerificationRequest {
            request_id: format!("{}-{}", self.name, self.acknowledged.len()),
            success_url: self.shop.clone(),
            failure_url: self.shop.clone(),
            ..CreateVerificationRequest::default()
        };
        if self.random.random_bool(0.25) {
            let photo: Vec<u8> =
                iter::empty().chain([0xFF, 0xD8, 0xFF, 0xE0]).chain([7; 1000]).chain([0xFF, 0xD9]).collect();
            CreateVerificationRequest { flow: "photo".into(), reference_photo: photo, ..request }
        } else {
            let subject = Subject { name: "张三".into(), id_number: harness::ID_NUMBER.into() };
            CreateVerificationRequest { flow: "onboarding".into(), subject: Some(subject), ..request }
        }
    }

    /// At the vendor's, whatever becomes of the gateway.
    async fn attempt(&self, token: &str, code: i32) {
        let url = format!("{}/tokens/{token}/attempts", self.control);
        let made = self.http.post(url).json(&json!({ "code": code })).send().await.expect("control port");
        assert!(made.status().is_success(), "{}", made.text().await.unwrap_or_default());
    }
}
