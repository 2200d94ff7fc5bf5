//! `dev`: gateway, simulator and SQLite in one process.

mod page;

use self::page::{Around, LandingPage};
use super::{
    simulate::check_reach,
    walk::{Stage, walk},
};
use crate::{
    config::Config,
    domain::clock::SystemClock,
    process,
    serve::{Gateway, StopSignals},
    simulator::{self, Simulator, SimulatorConfig},
    telemetry::{LogFormat, Telemetry},
    vault::Keyring,
};
use anyhow::Context;
use clap::Args;
use std::{
    fs, iter,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
};
use toml::Value;

/// Run gateway and simulator in one process, everything seeded, and walk verifications all their
/// way.
#[derive(Args)]
pub struct DevArgs {
    /// Exit after the walk: 0 only if every step held.
    #[arg(long)]
    once: bool,
    /// Where the database and the vault's key are kept. Without it: a temporary folder, removed at
    /// the end.
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// Where callers connect. [default: 127.0.0.1:50051; with --once any free port]
    #[arg(long)]
    grpc_listen: Option<SocketAddr>,
    /// Where browsers connect: the landing page and /callback.
    /// [default: 127.0.0.1:8080; with --once any free port]
    #[arg(long)]
    http_listen: Option<SocketAddr>,
    /// Where metrics and probes are. [default: 127.0.0.1:9464; with --once any free port]
    #[arg(long)]
    admin_listen: Option<SocketAddr>,
    /// The simulator's API and H5 page. [default: 127.0.0.1:8081; with --once any free port]
    #[arg(long)]
    simulator_listen: Option<SocketAddr>,
    /// The simulator's control port. [default: 127.0.0.1:8082; with --once any free port]
    #[arg(long)]
    control_listen: Option<SocketAddr>,
    /// The address of this machine by which a phone reaches it: the QR code leads there. The
    /// simulator and the landing page then listen on all addresses unless told otherwise.
    #[arg(long, value_name = "IP", requires = "allow_remote")]
    reached_as: Option<IpAddr>,
    /// Where flows may send browsers, beside the simulator's shop and the examples' callback page
    /// on port 3000.
    #[arg(long, value_name = "URL")]
    redirect_allow: Vec<String>,
    /// Allow addresses that other machines reach for the simulator and the landing page. Neither
    /// has authentication.
    #[arg(long)]
    allow_remote: bool,
    /// Log level or directives. RUST_LOG goes before it.
    #[arg(long, default_value = "warn")]
    log_level: String,
}

pub(super) async fn run(args: DevArgs) -> anyhow::Result<()> {
    let telemetry = Telemetry::start(&args.log_level, LogFormat::Text, None)?;
    let mut signals = StopSignals::listen()?;
    process::raise_open_files();
    process::keep_files_private();
    let data = DataDir::open(args.data_dir.as_deref())?;
    let address = |given: Option<SocketAddr>, port: u16| {
        given.unwrap_or_else(|| SocketAddr::from((Ipv4Addr::LOCALHOST, if args.once { 0 } else { port })))
    };
    let for_browsers = |given: Option<SocketAddr>, port: u16| match (given, args.reached_as) {
        (None, Some(_)) => SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), address(None, port).port()),
        _ => address(given, port),
    };
    let listening = "an address is taken? see `dev --help` for the options that set them";
    let (listen, control_listen) = (for_browsers(args.simulator_listen, 8081), address(args.control_listen, 8082));
    let http_listen = for_browsers(args.http_listen, 8080);
    check_reach(&[listen, control_listen, http_listen], args.allow_remote)?;
    let known = known_simulator(&data.path)?;
    let config = SimulatorConfig { listen, control_listen, reached_as: args.reached_as, ..known };
    let simulator = simulator::start(config).await.context(listening)?;
    let listen = Listen {
        grpc: known_port(address(args.grpc_listen, 50051))?,
        http: known_port(http_listen)?,
        admin: known_port(address(args.admin_listen, 9464))?,
    };
    let faces = Faces::new(args.reached_as, listen.http, simulator.api_addr());
    let config = dev_config(&data.path, &listen, &faces, &simulator, &args.redirect_allow)?;
    let landing = LandingPage::new(Around {
        grpc: listen.grpc,
        admin: listen.admin,
        simulator: faces.simulator,
        control: simulator.control_addr(),
    })?;
    let clock = Arc::new(SystemClock);
    let gateway = Gateway::start_with_pages(config, clock, landing.router()).await.context(listening)?;
    landing.begin().await?;

    let stage = Stage { grpc: gateway.grpc_addr, simulator: faces.simulator, control: simulator.control_addr() };
    let walked = walk(&stage).await;
    if walked.is_ok() && !args.once {
        print_what_to_try(&gateway, &faces, &simulator);
        signals.next().await;
    }
    let stopped = gateway.stop_sooner(signals.next()).await;
    simulator.shutdown().await;
    telemetry.stop();
    walked.and(stopped)
}

/// A simulator with the key pair that it had before on this folder: the vault, which goes before
/// the configuration, has it.
fn known_simulator(data: &Path) -> anyhow::Result<SimulatorConfig> {
    let file = data.join("simulator.key");
    let config = SimulatorConfig::loopback();
    if !file.exists() {
        write_for_owner(&file, &format!("{}:{}", config.secret_id, config.secret_key))?;
    }
    let kept = fs::read_to_string(&file).with_context(|| format!("{} cannot be read", file.display()))?;
    let (id, key) = kept.trim().split_once(':').with_context(|| format!("{} is not <id>:<key>", file.display()))?;
    Ok(SimulatorConfig { secret_id: id.to_owned(), secret_key: key.to_owned(), ..config })
}

/// Where the gateway listens.
struct Listen {
    grpc: SocketAddr,
    http: SocketAddr,
    admin: SocketAddr,
}

/// Where browsers find what listens for them.
struct Faces {
    http: SocketAddr,
    simulator: SocketAddr,
}

impl Faces {
    fn new(reached_as: Option<IpAddr>, http: SocketAddr, simulator: SocketAddr) -> Self {
        let face = |address: SocketAddr| match reached_as {
            Some(ip) => SocketAddr::new(ip, address.port()),
            None => from_here(address),
        };
        Self { http: face(http), simulator: face(simulator) }
    }
}

/// Where this machine itself reaches what listens there.
fn from_here(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(if address.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() });
    }
    address
}

/// Written as TOML and read like any configuration, so that `dev` runs what production runs.
fn dev_config(
    data: &Path,
    listen: &Listen,
    faces: &Faces,
    simulator: &Simulator,
    targets: &[String],
) -> anyhow::Result<Config> {
    let keys_file = data.join("vault.keys");
    if !keys_file.exists() {
        write_for_owner(&keys_file, &Keyring::generate("dev"))?;
    }
    let shop = format!("http://{}/shop/", faces.simulator);
    let allowed = [&shop, "https://shop.example.com/", "http://127.0.0.1:3000/"].map(str::to_owned);
    let allowed = Value::from([&allowed, targets].concat()).to_string();
    let text = format!(
        r#"
        [grpc]
        listen = "{grpc}"
        [http]
        listen = "{http}"
        public_url = "http://{public}"
        [admin]
        listen = "{admin}"
        [store]
        url = {store}
        [evidence]
        url = {evidence}
        [vault]
        keys_file = {keys_file}
        [tencent]
        endpoint = "http://{vendor}"
        [auth]
        mode = "none"
        # The simulator has no such limits, and who tries things out has one ID number.
        [id_card_limits]
        per_minute = 0
        per_day = 0
        [[credentials]]
        name = "main"
        secret_id = {secret_id}
        secret_key = {secret_key}
        {onboarding}{photo}{signing}{encrypted}"#,
        grpc = listen.grpc,
        http = listen.http,
        public = faces.http,
        admin = listen.admin,
        store = quoted(&format!("sqlite:{}", data.join("gateway.db").display())),
        evidence = quoted(&format!("file:{}", data.join("evidence").display())),
        keys_file = quoted(&keys_file.display().to_string()),
        vendor = from_here(simulator.api_addr()),
        secret_id = quoted(simulator.secret_id()),
        secret_key = quoted(simulator.secret_key()),
        onboarding = dev_flow("onboarding", "1", "authority", r#""name", "id_number""#, &allowed),
        photo = dev_flow("photo", "2", "uploaded_photo", "", &allowed),
        signing = dev_flow("signing", "3", "authority", r#""name", "id_number""#, &allowed)
            + "intention = \"read_aloud\""
            + &encryption("sm4_gcm", &simulator.sm2_public_key()),
        encrypted = dev_flow("encrypted", "1", "authority", r#""name", "id_number""#, &allowed)
            + &encryption("aes_256_cbc", &simulator.rsa_public_key()),
    );
    Ok(Config::from_toml(&text, "dev", iter::empty())?)
}

fn dev_flow(name: &str, rule_id: &str, comparison: &str, requires: &str, allowed: &str) -> String {
    format!(
        r#"
        [[flows]]
        name = "{name}"
        rule_id = "{rule_id}"
        credential = "main"
        access_mode = "wechat_h5_normal"
        comparison = "{comparison}"
        requires = [{requires}]
        evidence = ["best_frame", "id_card", "video", "intention"]
        redirect_allow = {allowed}
        "#
    )
}

/// The simulator's keys are random, so there is none to keep.
fn encryption(algorithm: &str, public_key: &str) -> String {
    let public_key = quoted(public_key);
    format!(
        r#"
        [flows.encryption]
        algorithm = "{algorithm}"
        public_key = {public_key}
        whole_response = true
        "#
    )
}

fn quoted(text: &str) -> String {
    Value::String(text.to_owned()).to_string()
}

/// The ports must be known before the gateway listens: its public URL is part of the configuration,
/// and the landing page names the others.
fn known_port(address: SocketAddr) -> anyhow::Result<SocketAddr> {
    let listener = std::net::TcpListener::bind(address)
        .with_context(|| format!("{address} cannot be listened on; see `dev --help` for the option that sets it"))?;
    Ok(listener.local_addr()?)
}

/// A folder that is removed at the end unless it was named.
struct DataDir {
    path: PathBuf,
    temporary: bool,
}

impl DataDir {
    fn open(named: Option<&Path>) -> anyhow::Result<Self> {
        let (path, temporary) = match named {
            Some(path) => (path.to_owned(), false),
            None => (std::env::temp_dir().join(format!("faceid-gateway-{}", uuid::Uuid::new_v4())), true),
        };
        fs::create_dir_all(&path).with_context(|| format!("{} cannot be made", path.display()))?;
        Ok(Self { path, temporary })
    }
}

impl Drop for DataDir {
    fn drop(&mut self) {
        if self.temporary
            && let Err(error) = fs::remove_dir_all(&self.path)
        {
            tracing::warn!(path = %self.path.display(), error = %error, "the temporary folder stays");
        }
    }
}

fn write_for_owner(path: &Path, text: &str) -> anyhow::Result<()> {
    use std::{io::Write, os::unix::fs::OpenOptionsExt};
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    Ok(file.sync_all()?)
}

fn print_what_to_try(gateway: &Gateway, faces: &Faces, simulator: &Simulator) {
    let (grpc, shop) = (gateway.grpc_addr, faces.simulator);
    println!(
        r#"
Serving. Look, in a browser:

  http://{http}/

Or paste, in another terminal:

  grpcurl -plaintext {grpc} list
  grpcurl -plaintext -d '{{"flow": "onboarding", "subject": {{"name": "张三", "id_number": "11010519491231002X"}},
    "success_url": "http://{shop}/shop/welcome", "failure_url": "http://{shop}/shop/sorry"}}' \
    {grpc} faceid.v1.VerificationService/CreateVerification

Open the url of the answer in a browser, go through the page, and then

  grpcurl -plaintext -d '{{"verification_id": "<from the answer>"}}' {grpc} faceid.v1.VerificationService/GetResult

  callbacks                    http://{http}/callback
  metrics, health              http://{admin}/metrics
  simulator's control port     http://{control}/state    (what it can do: docs/SIMULATOR.md)
Ctrl-C stops."#,
        http = faces.http,
        admin = gateway.admin_addr,
        control = simulator.control_addr(),
    );
}
