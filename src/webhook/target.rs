//! Where events may be sent. A caller names the URL, and the gateway goes there from inside the
//! company's network: without a check, that would let the caller reach what only the network
//! protects (the cloud's metadata, databases, the gateway itself).
//!
//! A URL is checked when it is read. A name is checked each time that a connection is made, on the
//! very addresses that are then dialled, so that a name that answers differently the second time
//! (DNS rebinding) gains nothing.

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};
use url::{Host, Url};

const MAX_URL: usize = 2048;

/// A URL that events may be sent to.
#[derive(Clone, PartialEq, Eq)]
pub struct Target {
    url: Url,
    allow_private: bool,
}

impl Target {
    /// Reads a URL: https, at most 2,048 characters, without user name, password and fragment; on
    /// port 443 or from 1024 on (those below belong to other services); a literal address must be
    /// public. With `allow_private` any address and port will do, and plain http to loopback.
    ///
    /// # Errors
    /// The fault, without the URL: its path or query may be a receiver's password.
    pub fn parse(text: &str, allow_private: bool) -> Result<Self, String> {
        if text.len() > MAX_URL {
            return Err(format!("has {} characters; the limit is {MAX_URL}", text.len()));
        }
        let url = Url::parse(text).map_err(|error| format!("is not an absolute URL: {error}"))?;
        match url.scheme() {
            "https" => {}
            "http" if allow_private && is_loopback(&url) => {}
            "http" => return Err("is plain http; use https (http is for loopback, with allow_private)".into()),
            _ => return Err("does not start with https://".into()),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("has a user name or password in it".into());
        }
        if url.fragment().is_some() {
            return Err("has a fragment, which is never sent".into());
        }
        match url.port_or_known_default() {
            Some(443 | 1024..) => {}
            Some(1..) if allow_private => {}
            _ => return Err("has a port that is neither 443 nor from 1024 on".into()),
        }
        if !allow_private && literal_address(&url).is_some_and(|address| !is_public(address)) {
            return Err("is at an address that is not of the public internet; allow_private would allow it".into());
        }
        Ok(Self { url, allow_private })
    }

    /// The host and port: the rest may hold a password.
    pub fn host_and_port(&self) -> (&str, u16) {
        (self.url.host_str().unwrap_or_default(), self.url.port_or_known_default().unwrap_or_default())
    }

    /// The addresses that events may be sent to now.
    ///
    /// # Errors
    /// When the name has none, or none that the owner may send to.
    pub async fn addresses(&self) -> Result<Vec<IpAddr>, Box<dyn std::error::Error + Send + Sync>> {
        if let Some(address) = literal_address(&self.url) {
            return Ok(vec![address]);
        }
        let system: Arc<dyn Resolve> = Arc::new(SystemResolver);
        let resolver = if self.allow_private { system } else { Arc::new(PublicOnly(system)) };
        let name = self.host_and_port().0.parse()?;
        Ok(resolver.resolve(name).await?.map(|address| address.ip()).collect())
    }

    pub(super) fn url(&self) -> &Url {
        &self.url
    }

    /// Whether the owner may have events sent into private networks.
    pub(super) fn allow_private(&self) -> bool {
        self.allow_private
    }
}

/// Host and port: the rest may hold a password.
impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target")
            .field("host", &self.url.host_str())
            .field("port", &self.url.port_or_known_default())
            .field("allow_private", &self.allow_private)
            .finish()
    }
}

/// Leaves only public addresses of a name.
pub(super) struct PublicOnly(pub(super) Arc<dyn Resolve>);

/// A name that leads nowhere in the public internet.
#[derive(Debug, thiserror::Error)]
#[error("the name has no address of the public internet")]
pub struct NoPublicAddress;

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        let resolving = self.0.resolve(name);
        Box::pin(async move {
            let public: Vec<SocketAddr> = resolving.await?.filter(|address| is_public(address.ip())).collect();
            if public.is_empty() {
                return Err(NoPublicAddress.into());
            }
            Ok(Box::new(public.into_iter()) as Addrs)
        })
    }
}

/// The machine's resolver. The HTTP library has the same inside, but does not give it away to be
/// filtered.
pub(super) struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            // Port 0: the URL's port takes its place.
            let addresses: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

fn literal_address(url: &Url) -> Option<IpAddr> {
    match url.host()? {
        Host::Ipv4(address) => Some(address.into()),
        Host::Ipv6(address) => Some(address.into()),
        Host::Domain(_) => None,
    }
}

fn is_loopback(url: &Url) -> bool {
    url.host_str() == Some("localhost") || literal_address(url).is_some_and(|address| address.is_loopback())
}

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

/// Everything but IANA's special-purpose ranges.
fn is_public_v4(address: Ipv4Addr) -> bool {
    !matches!(
        address.octets(),
        [0 | 10 | 127, ..]            // this network, private, loopback
            | [100, 64..=127, ..]     // carrier-grade NAT
            | [169, 254, ..]          // link-local, with the clouds' metadata
            | [172, 16..=31, ..]      // private
            | [192, 0, 0, _]          // protocol assignments
            | [192, 0, 2, _]          // documentation
            | [192, 88, 99, _]        // 6to4 relays
            | [192, 168, ..]          // private
            | [198, 18 | 19, ..]      // benchmarks
            | [198, 51, 100, _]       // documentation
            | [203, 0, 113, _]        // documentation
            | [224..=255, ..] // multicast, reserved, broadcast
    )
}

/// Only global unicast, 2000::/3, less its special-purpose ranges. What is outside is refused
/// without a list: loopback, unspecified, link-local, unique local, multicast, and IPv4 in another
/// dress (mapped, compatible, NAT64).
fn is_public_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    let special = matches!(
        segments,
        [0x2001, ..=0x01ff, ..]       // protocol assignments: Teredo (IPv4 inside), benchmarks, ORCHID
            | [0x2001, 0x0db8, ..]    // documentation
            | [0x2002, ..]            // 6to4: IPv4 inside
            | [0x3fff, ..=0x0fff, ..] // documentation
    );
    matches!(segments[0], 0x2000..=0x3fff) && !special
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    const NOT_PUBLIC: &[&str] = &[
        "0.0.0.0",
        "0.1.2.3",
        "10.0.0.1",
        "10.255.255.255",
        "100.64.0.1",
        "100.100.100.200",
        "100.127.255.255",
        "127.0.0.1",
        "127.255.255.254",
        "169.254.0.23",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.192",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.1.1",
        "198.18.0.1",
        "198.19.255.255",
        "198.51.100.7",
        "203.0.113.7",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::8.8.8.8",
        "::ffff:127.0.0.1",
        "::ffff:8.8.8.8",
        "::ffff:0:8.8.8.8",
        "64:ff9b::10.0.0.1",
        "64:ff9b::8.8.8.8",
        "64:ff9b:1::10.0.0.1",
        "100::1",
        "2001::1",
        "2001:2::1",
        "2001:20::1",
        "2001:db8::1",
        "2002:7f00:1::",
        "3fff::1",
        "4000::1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fec0::1",
        "ff02::1",
    ];
    const PUBLIC: &[&str] = &[
        "1.1.1.1",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "126.255.255.255",
        "128.0.0.0",
        "169.253.255.255",
        "169.255.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "192.0.1.0",
        "192.167.255.255",
        "192.169.0.0",
        "198.17.255.255",
        "198.20.0.0",
        "223.255.255.255",
        "2000::1",
        "2001:200::1",
        "2001:4860:4860::8888",
        "2606:4700:4700::1111",
        "3fff:1000::1",
    ];

    fn host_of(address: &IpAddr) -> String {
        if address.is_ipv6() { format!("[{address}]") } else { address.to_string() }
    }

    #[test]
    fn only_public_addresses_are_literal_targets() {
        for (addresses, expected) in [(NOT_PUBLIC, false), (PUBLIC, true)] {
            for text in addresses {
                let address: IpAddr = text.parse().unwrap();
                let url = format!("https://{}/in", host_of(&address));
                assert_eq!(is_public(address), expected, "{text}");
                assert_eq!(Target::parse(&url, false).is_ok(), expected, "{url}");
                assert!(Target::parse(&url, true).is_ok(), "{url}");
            }
        }
    }

    #[test]
    fn an_address_in_disguise_is_still_that_address() {
        for host in ["2130706433", "0x7f000001", "0177.0.0.1", "127.1", "127.0.0.1.", "①②⑦.0.0.1", "%3127.0.0.1"]
        {
            let problem = Target::parse(&format!("https://{host}/"), false).err();
            assert!(problem.is_some_and(|problem| problem.contains("not of the public internet")), "{host}");
        }
    }

    #[test]
    fn names_the_fault_of_a_url_and_never_quotes_it() {
        for (text, allow_private, expected) in [
            ("", false, "is not an absolute URL"),
            ("hook.example.com/S3CRET", false, "is not an absolute URL"),
            ("https://", false, "is not an absolute URL"),
            ("ftp://hook.example.com/S3CRET", true, "does not start with https://"),
            ("http://hook.example.com/S3CRET", true, "is plain http"),
            ("http://10.0.0.1/S3CRET", true, "is plain http"),
            ("http://localhost.example.com/S3CRET", true, "is plain http"),
            ("http://127.0.0.1:8080/S3CRET", false, "is plain http"),
            ("https://user@hook.example.com/", false, "user name or password"),
            ("https://:S3CRET@hook.example.com/", true, "user name or password"),
            ("https://hook.example.com/#S3CRET", false, "has a fragment"),
            ("https://hook.example.com:0/S3CRET", true, "has a port"),
            ("https://hook.example.com:22/S3CRET", false, "has a port"),
            ("https://hook.example.com:1023/S3CRET", false, "has a port"),
            (&format!("https://hook.example.com/{}", "S3CRET".repeat(400)), false, "the limit is 2048"),
        ] {
            let problem = Target::parse(text, allow_private).err().unwrap_or_else(|| panic!("{text} was taken"));
            assert!(problem.contains(expected) && !problem.contains("S3CRET"), "{text}: {problem}");
        }
    }

    #[test]
    fn takes_what_a_receiver_may_be_at() {
        for (text, allow_private) in [
            ("https://hook.example.com", false),
            ("https://hook.example.com:443/in?tenant=1", false),
            ("https://hook.example.com:8443/in", false),
            ("https://hook.example.com:22/in", true),
            ("http://localhost/in", true),
            ("http://127.0.0.1:8080/in", true),
            ("http://[::1]:8080/in", true),
        ] {
            assert!(Target::parse(text, allow_private).is_ok(), "{text}");
        }
    }

    /// Answers each question with the next list.
    struct Answers(Mutex<Vec<Vec<&'static str>>>);

    impl Resolve for Answers {
        fn resolve(&self, _: Name) -> Resolving {
            let answer = self.0.lock().unwrap().remove(0);
            let addresses = answer.into_iter().map(|text| SocketAddr::new(text.parse().unwrap(), 0));
            Box::pin(std::future::ready(Ok(Box::new(addresses.collect::<Vec<_>>().into_iter()) as Addrs)))
        }
    }

    #[tokio::test]
    async fn a_name_leads_to_public_addresses_only_each_time_it_is_asked() {
        let resolver = PublicOnly(Arc::new(Answers(Mutex::new(vec![
            vec!["10.0.0.1", "1.1.1.1", "::1", "2606:4700:4700::1111"],
            vec!["127.0.0.1", "::ffff:1.1.1.1"],
            vec![],
        ]))));
        let name = || "hook.example.com".parse::<Name>().unwrap();

        let first: Vec<String> =
            resolver.resolve(name()).await.unwrap().map(|address| address.ip().to_string()).collect();
        assert_eq!(first, ["1.1.1.1", "2606:4700:4700::1111"]);
        for _ in ["rebound", "without an address"] {
            assert!(resolver.resolve(name()).await.err().unwrap().is::<NoPublicAddress>());
        }
    }

    #[tokio::test]
    async fn the_machines_own_name_is_not_public() {
        let name = || "localhost".parse::<Name>().unwrap();
        assert!(SystemResolver.resolve(name()).await.unwrap().all(|address| address.ip().is_loopback()));
        assert!(PublicOnly(Arc::new(SystemResolver)).resolve(name()).await.err().unwrap().is::<NoPublicAddress>());
    }
}
