//! The gRPC port with TLS.

use crate::{
    authority::{Authority, Certified, SERVER_NAME, tls_section},
    harness::{FINANCE, ORDERS, World, bearing, by_id, config_text, succeeded},
};
use faceid_gateway::{
    config::Config,
    domain::clock::SystemClock,
    grpc::pb::verification_service_client::VerificationServiceClient,
    serve::Gateway,
    simulator::{self, SimulatorConfig},
};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use std::{fs, iter, os::unix::fs::symlink, path::Path, sync::Arc};
use tempfile::TempDir;
use tonic::{Code, transport::Channel};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

async fn world(
    certificates: &Path,
    client_cert: Option<&str>,
    authority: &Authority,
    own: Option<&Certified>,
) -> World {
    let simulator = simulator::start(SimulatorConfig::loopback()).await.expect("simulator starts");
    let folder = TempDir::new().expect("temporary folder");
    let text = config_text(&simulator, &folder, "") + &tls_section(certificates, client_cert);
    let config = Config::from_toml(&text, "tls", iter::empty()).unwrap_or_else(|error| panic!("{error}"));
    World::start_with_config(simulator, folder, config, |address| authority.endpoint(address, own)).await
}

/// A call by the caller `orders`: what it is about is not there, and that is told over a connection
/// that works.
async fn works(channel: &Channel) -> bool {
    let mut client = VerificationServiceClient::new(channel.clone());
    let answer = client.get_result(bearing(ORDERS, by_id("01a20c39-f179-7714-bb52-7f22ca46238b"))).await;
    answer.is_err_and(|status| status.code() == Code::NotFound)
}

/// Whether a new connection can be made and used, with trust in this authority.
async fn connects(world: &World, authority: &Authority, own: Option<&Certified>) -> bool {
    match authority.endpoint(world.gateway.grpc_addr, own).connect().await {
        Ok(channel) => works(&channel).await,
        Err(_) => false,
    }
}

async fn reload_failures(world: &World) -> u64 {
    let (_, metrics, _) = world.get(&world.admin_url("/metrics")).await;
    let line = metrics.lines().find_map(|line| line.strip_prefix("faceid_tls_reload_failures_total "));
    line.map_or(0, |count| count.parse().expect("a count"))
}

#[tokio::test]
async fn a_certificate_that_kubernetes_swaps_is_taken_and_a_bad_one_is_not() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let folder = TempDir::new().expect("temporary folder");
    let version = |name: &str| {
        let path = folder.path().join(name);
        fs::create_dir(&path).expect("a folder");
        path
    };
    // As the kubelet does it: files are links into ..data, which is a link to a folder, and is
    // replaced by renaming.
    let swap_to = |name: &str| {
        symlink(name, folder.path().join("..data_tmp")).expect("a link");
        fs::rename(folder.path().join("..data_tmp"), folder.path().join("..data")).expect("renamed");
    };
    old.server().write(&version("..v1"));
    swap_to("..v1");
    for file in ["tls.crt", "tls.key"] {
        symlink(format!("..data/{file}"), folder.path().join(file)).expect("a link");
    }
    let world = world(folder.path(), None, &old, None).await;
    assert!(works(&world.channel).await);
    assert!(!connects(&world, &new, None).await);

    new.server().write(&version("..v2"));
    swap_to("..v2");
    world.until("the new certificate", async || connects(&world, &new, None).await).await;
    assert!(!connects(&world, &old, None).await, "new connections get the new one only");
    assert!(works(&world.channel).await, "the connection from before goes on");

    // A certificate whose key is another's, then one that has ended: each is left aside.
    let mut failures = reload_failures(&world).await;
    let ended = new.certify(&[crate::authority::SERVER_NAME], (2020, 2021));
    let mismatched = Certified { certificate: new.server().certificate, key: new.server().key };
    for (name, bad) in [("..v3", mismatched), ("..v4", ended)] {
        bad.write(&version(name));
        swap_to(name);
        world.until("the failure", async || reload_failures(&world).await > failures).await;
        failures = reload_failures(&world).await;
        assert!(connects(&world, &new, None).await, "{name}: the one from before stays");
    }
    let (_, metrics, _) = world.get(&world.admin_url("/metrics")).await;
    assert!(metrics.contains("faceid_tls_certificate_expiry_timestamp_seconds "), "{metrics}");
}

#[tokio::test]
async fn where_a_client_certificate_is_required_nobody_connects_without() {
    let (authority, other) = (Authority::new("mesh"), Authority::new("other"));
    let folder = TempDir::new().expect("temporary folder");
    authority.server().write(folder.path());
    fs::write(folder.path().join("ca.crt"), authority.root()).expect("a file");
    let own = authority.client("spiffe://mesh/ns/shop/sa/orders");
    let world = world(folder.path(), Some("required"), &authority, Some(&own)).await;
    assert!(works(&world.channel).await);
    assert!(!connects(&world, &authority, None).await);
    assert!(!connects(&world, &authority, Some(&other.client("spiffe://mesh/ns/shop/sa/orders"))).await);
    let ended = authority.certify(&["spiffe://mesh/ns/shop/sa/orders"], (2020, 2021));
    assert!(!connects(&world, &authority, Some(&ended)).await);
    let plain = Channel::from_shared(format!("http://{}", world.gateway.grpc_addr)).expect("a URI");
    if let Ok(channel) = plain.connect().await {
        assert!(!works(&channel).await, "without TLS nothing is served");
    }

    // The client CA is loaded again too.
    fs::write(folder.path().join("ca.crt"), other.root()).expect("a file");
    let of_other = other.client("spiffe://mesh/ns/shop/sa/orders");
    world.until("the other CA", async || connects(&world, &authority, Some(&of_other)).await).await;
    assert!(!connects(&world, &authority, Some(&own)).await);
}

#[tokio::test]
async fn files_that_cannot_be_used_stop_the_start_and_are_named() {
    let simulator = simulator::start(SimulatorConfig::loopback()).await.expect("simulator starts");
    let folder = TempDir::new().expect("temporary folder");
    let authority = Authority::new("mesh");
    let start = async || {
        let text = config_text(&simulator, &folder, "") + &tls_section(folder.path(), None);
        let config = match Config::from_toml(&text, "tls", iter::empty()) {
            Ok(config) => config,
            Err(error) => return error.to_string(),
        };
        let Err(error) = Gateway::start(config, Arc::new(SystemClock)).await else { panic!("it started") };
        format!("{error:#}")
    };
    let missing = start().await;
    assert!(missing.contains("grpc.tls.cert_file: ") && missing.contains("tls.crt: cannot be read"), "{missing}");
    let server = authority.server();
    server.write(folder.path());
    fs::write(folder.path().join("tls.key"), "SECRET").expect("a file");
    let no_key = start().await;
    assert!(no_key.contains("tls.key: has no private key") && !no_key.contains("SECRET"), "{no_key}");
    authority.certify(&["gateway.test"], (2020, 2021)).write(folder.path());
    let ended = start().await;
    assert!(ended.starts_with("grpc.tls: ") && ended.contains("2021-01-01"), "{ended}");
    assert!(!folder.path().join("gateway.db").exists(), "nothing is written before the certificate can be used");
}

#[tokio::test]
async fn health_and_reflection_are_open_or_not() {
    let simulator = simulator::start(SimulatorConfig::loopback()).await.expect("simulator starts");
    let folder = TempDir::new().expect("temporary folder");
    for (open, expected) in [(r#"["health", "reflection"]"#, [Ok(()), Ok(())]), ("[]", [Err(()), Err(())])] {
        let text = config_text(&simulator, &folder, "") + &format!("[auth]\nopen = {open}\n");
        let config = Config::from_toml(&text, "open", iter::empty()).unwrap_or_else(|error| panic!("{error}"));
        let gateway = Gateway::start(config, Arc::new(SystemClock)).await.expect("gateway starts");
        let uri = Channel::from_shared(format!("http://{}", gateway.grpc_addr)).expect("a URI");
        let channel = uri.connect().await.expect("gateway is reached");
        let refused = |status: tonic::Status| assert_eq!(status.code(), Code::Unauthenticated);
        let health = HealthClient::new(channel.clone()).check(HealthCheckRequest::default()).await;
        let reflection =
            tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient::new(channel.clone())
                .server_reflection_info(futures_util::stream::empty())
                .await;
        assert_eq!([health.map(drop).map_err(refused), reflection.map(drop).map_err(refused)], expected);
        // With a token they are served in any case.
        succeeded(HealthClient::new(channel.clone()).check(bearing(ORDERS, HealthCheckRequest::default())).await);
        drop(channel);
        gateway.stop().await.expect("gateway stops");
    }
}

#[tokio::test]
async fn tls_1_2_is_spoken_too() {
    let authority = Authority::new("own");
    let folder = TempDir::new().expect("temporary folder");
    authority.server().write(folder.path());
    let world = world(folder.path(), None, &authority, None).await;
    let mut roots = rustls::RootCertStore::empty();
    let root = CertificateDer::from_pem_slice(authority.root().as_bytes()).expect("PEM");
    roots.add(root).expect("a root");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let client = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider));
        let client = client.with_protocol_versions(&[version]).expect("a version");
        let mut client = client.with_root_certificates(roots.clone()).with_no_client_auth();
        client.alpn_protocols = vec![b"h2".to_vec()];
        let tcp = tokio::net::TcpStream::connect(world.gateway.grpc_addr).await.expect("a connection");
        let name = SERVER_NAME.try_into().expect("a name");
        let stream = tokio_rustls::TlsConnector::from(Arc::new(client)).connect(name, tcp).await.expect("a handshake");
        assert_eq!(stream.get_ref().1.protocol_version(), Some(version.version));
    }
}

#[tokio::test]
async fn the_command_line_reaches_a_gateway_by_its_certificate() {
    let (authority, other) = (Authority::new("own"), Authority::new("other"));
    let folder = TempDir::new().expect("temporary folder");
    authority.server().write(folder.path());
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).expect("a file");
        path
    };
    let (ca, other_ca) = (file("own.crt", &authority.root()), file("other.crt", &other.root()));
    let token = file("token", FINANCE);
    let world = world(folder.path(), None, &authority, None).await;
    let list = async |more: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_faceid-gateway"));
        command.args(["vault", "keys", "--grpc", &format!("https://{}", world.gateway.grpc_addr), "--token-file"]);
        command.arg(&token).args(more);
        let output =
            tokio::task::spawn_blocking(move || command.output().expect("the command runs")).await.expect("no panic");
        (output.status.success(), String::from_utf8([output.stdout, output.stderr].concat()).expect("text"))
    };
    let path = |path: &std::path::PathBuf| path.display().to_string();
    let (done, shown) = list(&["--ca-file", &path(&ca), "--server-name", SERVER_NAME]).await;
    assert!(done && shown.contains("test"), "{shown}");
    let (done, shown) = list(&["--ca-file", &path(&other_ca), "--server-name", SERVER_NAME]).await;
    assert!(!done && shown.contains("no gateway answers"), "an authority that did not sign: {shown}");
    let (done, shown) = list(&["--ca-file", &path(&ca), "--server-name", "elsewhere.example"]).await;
    assert!(!done && shown.contains("no gateway answers"), "a name that is not in the certificate: {shown}");
    let (done, shown) = list(&[]).await;
    assert!(!done && shown.contains("--ca-file is needed"), "{shown}");
}
