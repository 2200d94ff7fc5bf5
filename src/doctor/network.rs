//! The way to an endpoint of the vendor, step by step on one connection: DNS, TCP, TLS, and the
//! vendor's clock.

use super::{
    finding::{Finding, Status},
    tls,
};
use crate::{
    domain::clock::Clock,
    tencent::{ClientConfig, host_header},
};
use bytes::Bytes;
use http_body_util::Empty;
use hyper_util::{client::proxy::matcher::Matcher, rt::TokioIo};
use jiff::{Timestamp, fmt::rfc2822};
use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use url::{Host, Url};

const DNS_TIMEOUT: Duration = Duration::from_secs(5);
const TLS_TIMEOUT: Duration = Duration::from_secs(5);
const HTTP_TIMEOUT: Duration = Duration::from_secs(5);
/// From here on somebody should look; the vendor refuses signatures that are [`CLOCK_FAIL_S`] off.
const CLOCK_WARN_S: u64 = 30;
const CLOCK_FAIL_S: u64 = 300;

/// Checks the way to `endpoint`; true when a request can be made.
pub(super) async fn check_endpoint(
    endpoint: &Url,
    config: &ClientConfig,
    clock: &dyn Clock,
    findings: &mut Vec<Finding>,
) -> bool {
    if let Some(proxy) = proxy(endpoint, config) {
        let finding = format!("calls go through the proxy of {proxy}, so DNS, TCP, TLS and clock are not checked");
        let advice = "right if a proxy is needed; the credentials below are checked through it";
        findings.push(Finding::new("proxy", authority(endpoint), Status::Warn, finding, advice));
        return true;
    }
    let Some(addresses) = resolve(endpoint, findings).await else { return false };
    let Some(stream) = connect(endpoint, &addresses, config.connect_timeout, findings).await else { return false };
    let asked = config.host.clone().unwrap_or_else(|| host_header(endpoint));
    if endpoint.scheme() != "https" {
        let finding = "plain http to this machine: a simulator, not Tencent";
        findings.push(Finding::ok("tls", authority(endpoint), finding));
        check_clock(endpoint, &asked, stream, clock, findings).await;
        return true;
    }
    let host = endpoint.host_str().unwrap_or_default().to_owned();
    match timeout(TLS_TIMEOUT, tls::handshake(stream, &host, &config.ca_certificates)).await {
        Ok(Ok((stream, peer))) => {
            findings.push(peer.finding(authority(endpoint), clock.now()));
            check_clock(endpoint, &asked, stream, clock, findings).await;
            true
        }
        failed => {
            let finding = match failed {
                Ok(Err(problem)) => problem,
                _ => format!("no handshake within {} s", TLS_TIMEOUT.as_secs()),
            };
            let advice =
                "does something intercept TLS here? Check tencent.ca_file, the machine's CA certificates and its clock";
            findings.push(Finding::new("tls", authority(endpoint), Status::Fail, finding, advice));
            false
        }
    }
}

/// Host and port, as on the command line of other tools.
fn authority(endpoint: &Url) -> String {
    let port = endpoint.port_or_known_default().unwrap_or_default();
    format!("{}:{port}", endpoint.host_str().unwrap_or_default())
}

/// Which setting makes the client go through a proxy, if one does. Of the environment's, plain http
/// takes none.
fn proxy(endpoint: &Url, config: &ClientConfig) -> Option<&'static str> {
    if config.proxy.is_some() {
        return Some("tencent.proxy");
    }
    let uri: http::Uri = endpoint.as_str().parse().ok()?;
    (endpoint.scheme() == "https" && Matcher::from_env().intercept(&uri).is_some())
        .then_some("HTTPS_PROXY or ALL_PROXY")
}

async fn resolve(endpoint: &Url, findings: &mut Vec<Finding>) -> Option<Vec<SocketAddr>> {
    let port = endpoint.port_or_known_default()?;
    let name = match endpoint.host()? {
        Host::Ipv4(address) => return Some(vec![(IpAddr::V4(address), port).into()]),
        Host::Ipv6(address) => return Some(vec![(IpAddr::V6(address), port).into()]),
        Host::Domain(name) => name,
    };
    let problem = match timeout(DNS_TIMEOUT, tokio::net::lookup_host((name, port))).await {
        Ok(Ok(addresses)) => {
            let mut addresses: Vec<SocketAddr> = addresses.collect();
            addresses.dedup();
            if !addresses.is_empty() {
                let shown: Vec<String> = addresses.iter().map(|address| address.ip().to_string()).collect();
                findings.push(Finding::ok("dns", name, shown.join(", ")));
                return Some(addresses);
            }
            "has no address".to_owned()
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer of the resolver within {} s", DNS_TIMEOUT.as_secs()),
    };
    let advice =
        "check tencent.endpoint, and the resolver of this machine or pod (/etc/resolv.conf, egress to port 53)";
    findings.push(Finding::new("dns", name, Status::Fail, problem, advice));
    None
}

/// Connects to each address, and goes on with the first that answers.
async fn connect(
    endpoint: &Url,
    addresses: &[SocketAddr],
    limit: Duration,
    findings: &mut Vec<Finding>,
) -> Option<TcpStream> {
    let mut connected = None;
    let mut times = Vec::new();
    let mut problems = Vec::new();
    for address in addresses {
        let started = Instant::now();
        match timeout(limit, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                times.push(format!("{} in {} ms", address.ip(), started.elapsed().as_millis()));
                connected.get_or_insert(stream);
            }
            // A name may have IPv6 addresses where the machine has none: nobody goes there.
            Ok(Err(error)) if address.is_ipv6() && has_no_route(&error) => {}
            Ok(Err(error)) => problems.push(format!("{}: {error}", address.ip())),
            Err(_) => problems.push(format!("{}: no answer within {} ms", address.ip(), limit.as_millis())),
        }
    }
    let finding = times.iter().chain(&problems).cloned().collect::<Vec<_>>().join(", ");
    let subject = authority(endpoint);
    findings.push(match (&connected, problems.is_empty()) {
        (Some(_), true) => Finding::ok("tcp", subject, finding),
        (Some(_), false) => {
            let advice = "calls go to the addresses that answer; open the firewall for the others too";
            Finding::new("tcp", subject, Status::Warn, finding, advice)
        }
        (None, _) => {
            let finding = if finding.is_empty() { "no route to any address".to_owned() } else { finding };
            let advice = "check tencent.endpoint and its port, firewall, NetworkPolicy, and whether a proxy is needed";
            Finding::new("tcp", subject, Status::Fail, finding, advice)
        }
    });
    connected
}

fn has_no_route(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable | io::ErrorKind::AddrNotAvailable
    )
}

/// Compares the clock with the `Date` of an answer to a question without a signature, which every
/// HTTP server gives.
async fn check_clock(
    endpoint: &Url,
    host: &str,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    clock: &dyn Clock,
    findings: &mut Vec<Finding>,
) {
    let before = clock.now();
    let date = timeout(HTTP_TIMEOUT, ask_date(host, stream)).await;
    let after = clock.now();
    findings.push(match date {
        Ok(Ok(date)) => clock_finding(authority(endpoint), offset_s(before, date, after)),
        failed => {
            let finding = match failed {
                Ok(Err(problem)) => problem,
                _ => format!("no answer within {} s", HTTP_TIMEOUT.as_secs()),
            };
            let advice = "something other than Tencent answers here? Check tencent.endpoint and what stands in between";
            Finding::new("clock", authority(endpoint), Status::Warn, finding, advice)
        }
    });
}

async fn ask_date(
    host: &str,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> Result<Timestamp, String> {
    let failed = |error: hyper::Error| format!("no HTTP answer: {error}");
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    let connection = tokio::spawn(connection);
    let request = http::Request::head("/")
        .header(http::header::HOST, host)
        .header(http::header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    let answer = sender.send_request(request).await.map_err(failed)?;
    connection.abort();
    let date = answer.headers().get(http::header::DATE).and_then(|date| date.to_str().ok());
    date.and_then(|date| rfc2822::DateTimeParser::new().parse_timestamp(date).ok())
        .ok_or_else(|| format!("HTTP {} without a Date that can be read", answer.status().as_u16()))
}

/// How far the vendor's clock is ahead of ours, in seconds. `Date` has whole seconds, cut off: half
/// a second is added.
fn offset_s(before: Timestamp, date: Timestamp, after: Timestamp) -> i64 {
    let ours_ms = i64::midpoint(before.as_millisecond(), after.as_millisecond());
    let ahead_ms = date.as_millisecond() + 500 - ours_ms;
    ahead_ms.signum() * ((ahead_ms.abs() + 500) / 1000)
}

fn clock_finding(subject: String, offset_s: i64) -> Finding {
    let seconds = offset_s.unsigned_abs();
    let finding = match offset_s {
        0 => "this machine's clock and the vendor's agree".to_owned(),
        1.. => format!("this machine's clock is {seconds} s behind the vendor's"),
        _ => format!("this machine's clock is {seconds} s ahead of the vendor's"),
    };
    match seconds {
        0..CLOCK_WARN_S => Finding::ok("clock", subject, finding),
        CLOCK_WARN_S..CLOCK_FAIL_S => {
            let advice = "set the clock (NTP): Tencent refuses signatures that are 300 s off";
            Finding::new("clock", subject, Status::Warn, finding, advice)
        }
        _ => {
            let advice = "set the clock (NTP): Tencent refuses signatures that are 300 s off, and the gateway must learn the time from a refusal";
            Finding::new("clock", subject, Status::Fail, finding, advice)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millisecond(1_700_000_000_000 + ms).unwrap()
    }

    #[test]
    fn the_offset_is_of_the_middle_of_the_call_and_of_the_second() {
        for (before, date, after, expected) in
            [(0, 0, 0, 1), (0, 0, 900, 0), (400, 0, 600, 0), (0, 10_000, 0, 11), (10_900, 0, 10_900, -10)]
        {
            assert_eq!(offset_s(at(before), at(date), at(after)), expected, "{before} {date} {after}");
        }
    }

    #[test]
    fn a_clock_is_graded_by_what_the_vendor_allows() {
        for (offset_s, status, text) in [
            (0, Status::Ok, "agree"),
            (29, Status::Ok, "29 s behind"),
            (-29, Status::Ok, "29 s ahead"),
            (30, Status::Warn, "30 s behind"),
            (-299, Status::Warn, "299 s ahead"),
            (300, Status::Fail, "300 s behind"),
            (-86_400, Status::Fail, "86400 s ahead"),
        ] {
            let finding = clock_finding("vendor".into(), offset_s);
            assert_eq!(finding.status, status, "{offset_s}");
            assert!(finding.finding.contains(text), "{offset_s}: {}", finding.finding);
            assert_eq!(finding.advice.is_empty(), status == Status::Ok);
        }
    }
}
