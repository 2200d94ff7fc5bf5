//! Identities in a client's certificate, and the proxies that are trusted to report them.

use super::{refused::Refused, xfcc};
use http::HeaderMap;
use ipnet::IpNet;
use std::{fmt, net::IpAddr, sync::Arc};
use x509_parser::{certificate::X509Certificate, extensions::GeneralName, prelude::FromDer};

/// The header in which a proxy tells of its client's certificate.
pub(super) const FORWARDED_CERTIFICATE: &str = "x-forwarded-client-cert";

/// A name in a certificate (subject alternative name).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Identity {
    /// A URI, for instance a SPIFFE id. Compared byte for byte.
    Uri(String),
    /// A DNS name, in lower case.
    Dns(String),
}

impl Identity {
    /// Reads `spiffe://…` or another URI, or `dns:<name>`.
    ///
    /// # Errors
    /// The fault.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text.strip_prefix("dns:") {
            Some(name) if !name.is_empty() && !name.contains('*') => Ok(Self::dns(name)),
            Some(_) => Err("is not dns:<name>; wildcards are not taken".into()),
            None if text.split_once("://").is_some_and(|(scheme, rest)| !scheme.is_empty() && !rest.is_empty()) => {
                Ok(Self::Uri(text.to_owned()))
            }
            None => Err("is neither a URI such as spiffe://mesh/ns/shop/sa/orders nor dns:<name>".into()),
        }
    }

    pub(super) fn dns(name: &str) -> Self {
        Self::Dns(name.to_ascii_lowercase())
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uri(uri) => f.write_str(uri),
            Self::Dns(name) => write!(f, "dns:{name}"),
        }
    }
}

/// The other end of a connection.
#[derive(Clone, Debug)]
pub struct Peer {
    pub ip: IpAddr,
    /// Identities in its certificate, if it showed one that the client CA has signed.
    pub identities: Arc<[Identity]>,
}

/// The URIs and DNS names of a certificate (DER) that was verified before. None where it cannot be
/// read.
pub fn identities_in(certificate: &[u8]) -> Arc<[Identity]> {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else { return Arc::default() };
    let Ok(Some(names)) = certificate.subject_alternative_name() else { return Arc::default() };
    let identity = |name: &GeneralName<'_>| match name {
        GeneralName::URI(uri) => Some(Identity::Uri((*uri).to_owned())),
        GeneralName::DNSName(name) => Some(Identity::dns(name)),
        _ => None,
    };
    names.value.general_names.iter().filter_map(identity).collect()
}

/// The proxies whose `x-forwarded-client-cert` is believed.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies {
    networks: Vec<IpNet>,
    identities: Vec<Identity>,
}

impl TrustedProxies {
    /// Adds an IP address, a network (CIDR) or the identity of a proxy's own certificate.
    ///
    /// # Errors
    /// The fault.
    pub fn add(&mut self, text: &str) -> Result<(), String> {
        if let Ok(ip) = text.parse::<IpAddr>() {
            self.networks.push(IpNet::from(ip));
        } else if let Ok(network) = text.parse::<IpNet>() {
            if network.prefix_len() == 0 {
                return Err("trusts everyone: anybody could then call in anybody's name".into());
            }
            self.networks.push(network);
        } else {
            let identity = Identity::parse(text)
                .map_err(|_| "is neither an IP address, a network such as 10.0.0.0/8, a URI, nor dns:<name>")?;
            self.identities.push(identity);
        }
        Ok(())
    }

    /// Whether no proxy is trusted.
    pub fn is_empty(&self) -> bool {
        self.networks.is_empty() && self.identities.is_empty()
    }

    /// Whether one of the proxies has this identity.
    pub fn has(&self, identity: &Identity) -> bool {
        self.identities.contains(identity)
    }

    fn trusts(&self, peer: &Peer) -> bool {
        self.networks.iter().any(|network| network.contains(&peer.ip))
            || peer.identities.iter().any(|identity| self.has(identity))
    }

    /// What names the client: of a trusted proxy's connection only what the proxy says of its
    /// client, of any other only the connection's own certificate. A trusted proxy's own
    /// certificate names nobody: a client that the proxy knows nothing of must not be taken for the
    /// proxy. None: nothing names it.
    pub(super) fn identities_of_client(
        &self,
        headers: &HeaderMap,
        peer: Option<&Peer>,
    ) -> Result<Option<Arc<[Identity]>>, Refused> {
        let Some(peer) = peer else { return Ok(None) };
        if !self.trusts(peer) {
            return Ok(Some(Arc::clone(&peer.identities)).filter(|identities| !identities.is_empty()));
        }
        // The last element of the last header is the one that the proxy added itself.
        let Some(header) = headers.get_all(FORWARDED_CERTIFICATE).iter().next_back() else { return Ok(None) };
        let malformed = || Refused::because("the proxy's x-forwarded-client-cert cannot be read");
        let element = xfcc::last_element(header.to_str().map_err(|_| malformed())?).map_err(|_| malformed())?;
        let uris = element.uris.into_iter().map(Identity::Uri);
        let names = element.dns_names.iter().map(|name| Identity::dns(name));
        Ok(Some(uris.chain(names).collect::<Arc<[_]>>()).filter(|identities| !identities.is_empty()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(ip: &str, identities: &[&str]) -> Peer {
        let identities = identities.iter().map(|text| Identity::parse(text).unwrap()).collect();
        Peer { ip: ip.parse().unwrap(), identities }
    }

    fn proxies(texts: &[&str]) -> TrustedProxies {
        let mut proxies = TrustedProxies::default();
        texts.iter().for_each(|text| proxies.add(text).unwrap());
        proxies
    }

    fn named(proxies: &TrustedProxies, peer: &Peer, headers: &[&str]) -> Result<Vec<String>, Refused> {
        let mut map = HeaderMap::new();
        for header in headers {
            map.append(FORWARDED_CERTIFICATE, header.parse().unwrap());
        }
        let identities = proxies.identities_of_client(&map, Some(peer))?;
        Ok(identities.iter().flat_map(|all| all.iter()).map(ToString::to_string).collect())
    }

    #[test]
    fn only_a_trusted_proxy_speaks_for_its_client() {
        let proxies = proxies(&["10.1.0.0/16", "127.0.0.6", "spiffe://mesh/ns/istio/sa/gateway"]);
        let forwarded = ["By=spiffe://mesh/gw;URI=spiffe://mesh/orders"];
        for trusted in
            [peer("10.1.2.3", &[]), peer("127.0.0.6", &[]), peer("10.2.0.1", &["spiffe://mesh/ns/istio/sa/gateway"])]
        {
            assert_eq!(named(&proxies, &trusted, &forwarded).unwrap(), ["spiffe://mesh/orders"]);
        }
        let stranger = peer("10.2.0.1", &["spiffe://mesh/stranger"]);
        assert_eq!(named(&proxies, &stranger, &forwarded).unwrap(), ["spiffe://mesh/stranger"]);
        assert!(named(&proxies, &peer("127.0.0.1", &[]), &forwarded).unwrap().is_empty());
        assert!(named(&TrustedProxies::default(), &peer("10.1.2.3", &[]), &forwarded).unwrap().is_empty());
    }

    #[test]
    fn a_trusted_proxy_is_not_its_own_client() {
        let gateway = "spiffe://mesh/ns/istio/sa/gateway";
        let (proxies, peer) = (proxies(&[gateway]), peer("10.2.0.1", &[gateway]));
        assert!(named(&proxies, &peer, &[]).unwrap().is_empty());
        assert!(named(&proxies, &peer, &["By=spiffe://mesh/gw;Hash=00"]).unwrap().is_empty());
        assert!(named(&proxies, &peer, &["URI"]).is_err());
    }

    #[test]
    fn the_last_element_counts_wherever_it_stands() {
        let (proxies, peer) = (proxies(&["10.1.2.3"]), peer("10.1.2.3", &[]));
        let last = ["URI=spiffe://mesh/forged", "URI=spiffe://mesh/old,URI=spiffe://mesh/new;DNS=Orders.Internal"];
        assert_eq!(named(&proxies, &peer, &last).unwrap(), ["spiffe://mesh/new", "dns:orders.internal"]);
    }

    #[test]
    fn what_is_no_identity_or_proxy_is_told() {
        for nonsense in ["", "orders", "dns:", "dns:*.internal", "spiffe://", "://x"] {
            assert!(Identity::parse(nonsense).is_err(), "{nonsense}");
        }
        for nonsense in ["", "10.0.0.0/33", "0.0.0.0/0", "::/0", "proxy"] {
            assert!(TrustedProxies::default().add(nonsense).is_err(), "{nonsense}");
        }
    }
}
