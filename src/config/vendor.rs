//! `[tencent]`: the way to the vendor.

use super::{section::Section, value};
use crate::{
    domain::fault::Faults,
    tencent::{ClientConfig, certificates},
};
use rustls::pki_types::CertificateDer;
use std::fs;
use url::Url;

pub(super) fn read(tencent: &mut Section, faults: &mut Faults) -> Option<ClientConfig> {
    let endpoint = tencent.parsed("endpoint", faults, value::endpoint);
    let backup_endpoints: Vec<Url> = tencent.parsed_list("backup_endpoints", faults, value::endpoint);
    let host_path = tencent.path_of("host");
    let host = tencent.text("host", faults).and_then(|text| faults.check(&host_path, host(&text)));
    let service = tencent.parsed("service", faults, service);
    let proxy = if tencent.has("proxy") || tencent.has("proxy_file") { tencent.secret("proxy", faults) } else { None };
    let proxy_path = tencent.path_of("proxy");
    let proxy = proxy.filter(|proxy| faults.check(&proxy_path, value::proxy(proxy)).is_some());
    let ca_path = tencent.path_of("ca_file");
    let ca_file = tencent.text("ca_file", faults);
    let ca_certificates = ca_file.and_then(|file| faults.check(&ca_path, read_certificates(&file))).unwrap_or_default();
    let connect_timeout = tencent.parsed("connect_timeout_ms", faults, value::timeout);
    let first_byte_timeout = tencent.parsed("first_byte_timeout_ms", faults, value::timeout);
    let timeout = tencent.parsed("timeout_ms", faults, value::timeout);
    let max_in_flight = tencent.parsed("max_in_flight", faults, |text| value::number(text, 2..=100_000));
    let requests_per_second = tencent.parsed("requests_per_second", faults, |text| value::number(text, 1..=100_000));
    let mut all: Vec<&Url> = endpoint.iter().chain(&backup_endpoints).collect();
    all.sort();
    if all.windows(2).any(|pair| pair[0] == pair[1]) {
        faults.add(tencent.path_of("backup_endpoints"), "has an endpoint twice, or tencent.endpoint itself");
    }
    Some(ClientConfig {
        endpoint: endpoint?,
        backup_endpoints,
        host,
        service: service?,
        proxy,
        ca_certificates,
        connect_timeout: connect_timeout?,
        first_byte_timeout: first_byte_timeout?,
        timeout: timeout?,
        max_in_flight: max_in_flight? as usize,
        requests_per_second: requests_per_second?,
    })
}

fn host(text: &str) -> Result<String, String> {
    let problem = || "is not <host name> or <host name>:<port>".to_owned();
    let url = Url::parse(&format!("https://{text}/")).map_err(|_| problem())?;
    let is_one = url.host_str().is_some()
        && url.path() == "/"
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && text.is_ascii();
    if is_one { Ok(text.to_ascii_lowercase()) } else { Err(problem()) }
}

fn service(text: &str) -> Result<String, String> {
    let is_one = (1..=32).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
    if is_one { Ok(text.to_owned()) } else { Err("is not a service of the vendor, such as faceid".into()) }
}

fn read_certificates(file: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    certificates(&fs::read(file).map_err(|error| format!("cannot be read: {error}"))?)
}
