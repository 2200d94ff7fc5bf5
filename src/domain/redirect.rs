//! The browser's way back: which targets are allowed, how a return is bound to its verification,
//! and how it is read.

use super::{
    fault::Faults,
    ids::{BizToken, VerificationId},
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use url::{Url, form_urlencoded};

/// Bytes of the MAC in a bound URL: 128 bits.
pub const MAC_BYTES: usize = 16;
/// The longest RedirectUrl that the vendor takes (document 31816).
pub const MAX_VENDOR_URL: usize = 1024;

const ID_PARAMETER: &str = "faceid_verification_id";
const MAC_PARAMETER: &str = "faceid_mac";
/// The names under which the vendor was seen to add its token, the documented one first.
const TOKEN_PARAMETERS: [&str; 4] = ["BizToken", "bizToken", "biz_token", "token"];
/// The name under which the vendor gives Extra back.
const EXTRA_PARAMETER: &str = "Extra";
/// A callback URL is at most the vendor's 1,024 characters, the token and Extra, percent-encoded.
const MAX_CALLBACK_URL: usize = 8192;
/// Room for what the vendor adds to a return beside the text of Extra: names and token.
const VENDOR_PARAMETERS: usize = 256;

/// A URL prefix that browsers may be sent to: same scheme, host and port, and a path at or below
/// its own.
#[derive(Clone, Debug)]
pub struct AllowedTarget(Url);

impl AllowedTarget {
    /// Reads an entry of `redirect_allow`.
    ///
    /// # Errors
    /// The fault.
    pub fn parse(text: &str) -> Result<Self, String> {
        let url = parse_http_url(text)?;
        if url.query().is_some() || url.fragment().is_some() {
            return Err("has a query or a fragment; give scheme, host and path only".into());
        }
        Ok(Self(url))
    }

    /// The prefix.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    fn allows(&self, url: &Url) -> bool {
        let same_origin = self.0.scheme() == url.scheme()
            && self.0.host() == url.host()
            && self.0.port_or_known_default() == url.port_or_known_default();
        let below = url
            .path()
            .strip_prefix(self.0.path())
            .is_some_and(|rest| rest.is_empty() || self.0.path().ends_with('/') || rest.starts_with('/'));
        same_origin && below
    }
}

/// Reads a redirect target of a caller. `allowed` is None when the flow is unknown, and with it the
/// list.
///
/// # Errors
/// The fault: no http(s) URL, or not on the list.
pub fn check_target(text: &str, allowed: Option<&[AllowedTarget]>) -> Result<Url, String> {
    let url = parse_http_url(text)?;
    // A server may read an encoded slash as a slash, and so leave the path that was allowed.
    let path = url.path().to_ascii_lowercase();
    if ["%2f", "%5c", "%2e"].iter().any(|encoded| path.contains(encoded)) {
        return Err("has an encoded slash, backslash or dot in its path".into());
    }
    // So does one that decodes twice, or one that drops what stands after a semicolon.
    if path.contains("%25") {
        return Err("has an encoded percent sign in its path".into());
    }
    if path.split('/').any(|segment| matches!(segment.split(';').next(), Some("." | ".."))) {
        return Err("has a segment of dots with parameters in its path".into());
    }
    if allowed.is_none_or(|allowed| allowed.iter().any(|target| target.allows(&url))) {
        Ok(url)
    } else {
        Err("is not on the flow's list of redirect targets (redirect_allow)".into())
    }
}

/// Whether the URL that the vendor sends the browser to already has a parameter that the vendor
/// adds: the return could then be read in two ways.
pub fn uses_vendor_parameter(url: &Url) -> Option<&'static str> {
    let reserved = TOKEN_PARAMETERS.into_iter().chain([EXTRA_PARAMETER]);
    let fragment = url.fragment().map(fragment_query).unwrap_or_default();
    let names: Vec<String> =
        pairs_of(url.query().unwrap_or_default()).chain(pairs_of(fragment)).map(|(name, _)| name).collect();
    reserved.into_iter().find(|reserved| names.iter().any(|name| name == reserved))
}

/// Whether the URL uses the gateway's parameter for something of the caller's own. A verification's
/// id is none: it is left from a round before, and replaced.
pub fn uses_gateway_parameter(url: &Url) -> Option<&'static str> {
    url.query_pairs()
        .any(|(name, value)| name == ID_PARAMETER && VerificationId::parse(&value).is_err())
        .then_some(ID_PARAMETER)
}

/// Sets the verification's id and the MAC over it in the URL that the vendor will send the browser
/// to. The caller's own query is kept as it is written.
pub fn bind(url: Url, id: VerificationId, mac: &[u8; MAC_BYTES]) -> Url {
    let mut url = with_verification_id(url, id);
    url.query_pairs_mut().append_pair(MAC_PARAMETER, &BASE64_URL_SAFE_NO_PAD.encode(mac));
    url
}

/// Whether the browser's return will be short enough to be read, with the token and `extra` that
/// the vendor adds.
///
/// # Errors
/// How long it will be.
pub fn check_return_length(bound: &Url, extra: &str) -> Result<(), String> {
    let extra_length: usize = form_urlencoded::byte_serialize(extra.as_bytes()).map(str::len).sum();
    let length = bound.as_str().len() + VENDOR_PARAMETERS + extra_length;
    if length <= MAX_CALLBACK_URL {
        return Ok(());
    }
    Err(format!(
        "makes the browser's return {length} characters long, for it comes back percent-encoded; the limit is {MAX_CALLBACK_URL}: \
         shorten it, or use ASCII letters and digits"
    ))
}

/// Sets the verification's id in the page that the browser goes to in the end, in place of one from
/// a round before.
pub fn with_verification_id(mut url: Url, id: VerificationId) -> Url {
    let is_ours = |part: &str| {
        let name = form_urlencoded::parse(part.as_bytes()).next().map(|(name, _)| name.into_owned());
        name.is_some_and(|name| name == ID_PARAMETER || name == MAC_PARAMETER)
    };
    let others = url.query().map(|query| query.split('&').filter(|part| !is_ours(part)).collect::<Vec<_>>().join("&"));
    url.set_query(others.as_deref().filter(|query| !query.is_empty()));
    url.query_pairs_mut().append_pair(ID_PARAMETER, &id.to_string());
    url
}

/// A browser's return as it came: well formed, but anyone may have written it.
pub struct UnverifiedReturn {
    pub verification_id: VerificationId,
    pub mac: Vec<u8>,
    pub biz_token: BizToken,
}

impl UnverifiedReturn {
    /// Reads a return from a URL, from a path with a query, or from a query alone. `field` names it
    /// in faults.
    ///
    /// Where the vendor adds its token to a target with a fragment is not documented, so the
    /// fragment is read too. Pages that write the URL into HTML and back leave `&amp;`; browsers
    /// and frameworks repeat parameters.
    pub fn parse(callback_url: &str, field: &str, faults: &mut Faults) -> Option<Self> {
        if callback_url.len() > MAX_CALLBACK_URL {
            faults.add(field, format!("has {} characters; the limit is {MAX_CALLBACK_URL}", callback_url.len()));
            return None;
        }
        let (query, fragment) = query_and_fragment_of(callback_url);
        let parameters: Vec<(String, String)> = pairs_of(query).chain(pairs_of(fragment)).collect();
        let single = |name: &str| {
            let mut values = parameters.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str());
            let first = values.next().ok_or_else(|| "is missing".to_owned())?;
            if values.all(|value| value == first) {
                Ok(first)
            } else {
                Err("is there more than once, with different values".to_owned())
            }
        };
        let token_parameter = TOKEN_PARAMETERS
            .into_iter()
            .find(|name| parameters.iter().any(|(key, _)| key == name))
            .unwrap_or(TOKEN_PARAMETERS[0]);

        let in_query = |parameter: &str| format!("{field}[{parameter}]");
        let verification_id =
            faults.check(&in_query(ID_PARAMETER), single(ID_PARAMETER).and_then(VerificationId::parse));
        let mac = faults.check(
            &in_query(MAC_PARAMETER),
            single(MAC_PARAMETER).and_then(|text| {
                BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| "is not base64 as the gateway wrote it".into())
            }),
        );
        let biz_token = faults.check(&in_query(token_parameter), single(token_parameter).and_then(BizToken::parse));
        Some(Self { verification_id: verification_id?, mac: mac?, biz_token: biz_token? })
    }

    /// Names the MAC's field in faults.
    pub fn mac_field(field: &str) -> String {
        format!("{field}[{MAC_PARAMETER}]")
    }

    /// Names the token's field in faults.
    pub fn token_field(field: &str) -> String {
        format!("{field}[{}]", TOKEN_PARAMETERS[0])
    }
}

fn query_and_fragment_of(callback_url: &str) -> (&str, &str) {
    let (without_fragment, fragment) = callback_url.split_once('#').unwrap_or((callback_url, ""));
    let query = match without_fragment.split_once('?') {
        Some((_, query)) => query,
        None if without_fragment.contains("://") || without_fragment.starts_with('/') => "",
        None => without_fragment,
    };
    (query, fragment_query(fragment))
}

/// A route in a fragment (`#/done?a=b`) may have a query of its own; else the fragment is one
/// (`#a=b`).
fn fragment_query(fragment: &str) -> &str {
    fragment.split_once('?').map_or(fragment, |(_, query)| query)
}

fn pairs_of(query: &str) -> impl Iterator<Item = (String, String)> {
    // `a=1&amp;b=2` reads as a parameter `amp;b`.
    let plain_name = |name: &str| name.trim_start_matches("amp;").to_owned();
    form_urlencoded::parse(query.as_bytes()).map(move |(name, value)| (plain_name(&name), value.into_owned()))
}

fn parse_http_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("is not an absolute URL: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("does not start with http:// or https://".into());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("has a user name or password in it".into());
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use proptest::prelude::*;

    fn id() -> VerificationId {
        VerificationId::generate(Timestamp::from_second(1_700_000_000).unwrap())
    }

    fn parse(callback: &str) -> Result<UnverifiedReturn, Vec<String>> {
        let mut faults = Faults::default();
        let parsed = UnverifiedReturn::parse(callback, "callback_url", &mut faults);
        parsed.ok_or_else(|| faults.into_vec().iter().map(ToString::to_string).collect())
    }

    #[test]
    fn only_targets_at_or_below_an_entry_are_allowed() {
        let allowed = [
            AllowedTarget::parse("https://shop.example.com/").unwrap(),
            AllowedTarget::parse("https://app.example.com/faceid").unwrap(),
        ];
        for good in [
            "https://shop.example.com",
            "https://SHOP.example.com:443/a/b?x=1#y",
            "https://app.example.com/faceid",
            "https://app.example.com/faceid/done?ok=1",
        ] {
            assert!(check_target(good, Some(&allowed)).is_ok(), "{good}");
        }
        for bad in [
            "http://shop.example.com/",
            "https://shop.example.com:8443/",
            "https://shop.example.com.evil.example/",
            "https://shop.example.com@evil.example/",
            "https://user@shop.example.com/",
            "https://app.example.com/faceid-evil",
            "https://app.example.com/faceid/../admin",
            "https://app.example.com/faceid/..%2fadmin",
            "https://app.example.com/faceid/%2e%2e/admin",
            "https://app.example.com/",
            "javascript:alert(1)",
            "ftp://shop.example.com/",
            "//shop.example.com/",
            "shop.example.com",
            "",
        ] {
            assert!(check_target(bad, Some(&allowed)).is_err(), "{bad}");
        }
    }

    #[test]
    fn binding_keeps_the_callers_query_and_fragment() {
        let bound =
            bind(Url::parse("https://shop.example.com/r?order=7&n=%E5%BC%A0#top").unwrap(), id(), &[7; MAC_BYTES]);
        assert!(bound.as_str().starts_with("https://shop.example.com/r?order=7&n=%E5%BC%A0&faceid_verification_id="));
        assert!(bound.as_str().ends_with("#top"));
    }

    #[test]
    fn an_id_from_a_round_before_is_replaced_and_the_rest_stays_as_it_was_written() {
        let old = VerificationId::generate(Timestamp::from_second(1_600_000_000).unwrap());
        let again = format!("https://shop.example.com/r?n=a%20b&faceid_verification_id={old}&faceid_mac=AAAA&x");
        let again = Url::parse(&again).unwrap();
        assert_eq!(uses_gateway_parameter(&again), None);
        let page = with_verification_id(again.clone(), id());
        assert!(page.as_str().starts_with("https://shop.example.com/r?n=a%20b&x&faceid_verification_id="), "{page}");
        for url in [page, bind(again, id(), &[7; MAC_BYTES])] {
            assert_eq!(url.query_pairs().filter(|(name, _)| name == ID_PARAMETER).count(), 1, "{url}");
            assert!(url.query_pairs().filter(|(name, _)| name == MAC_PARAMETER).count() <= 1, "{url}");
            assert!(!url.as_str().contains(&old.to_string()), "{url}");
        }
        let own = Url::parse("https://shop.example.com/r?faceid_verification_id=mine").unwrap();
        assert_eq!(uses_gateway_parameter(&own), Some(ID_PARAMETER));
    }

    #[test]
    fn parameters_that_the_vendor_adds_are_reserved() {
        for taken in ["BizToken=1", "x=1&Extra=", "token=own", "#/done?BizToken=1", "#biz_token=1"] {
            let separator = if taken.starts_with('#') { "" } else { "?" };
            let url = Url::parse(&format!("https://shop.example.com/r{separator}{taken}")).unwrap();
            assert!(uses_vendor_parameter(&url).is_some(), "{url}");
        }
        let own = Url::parse("https://shop.example.com/r?order=7#/done?page=2").unwrap();
        assert_eq!(uses_vendor_parameter(&own), None);
    }

    #[test]
    fn the_token_is_read_wherever_the_browser_brings_it() {
        let bound = |url: &str| bind(Url::parse(url).unwrap(), id(), &[7; MAC_BYTES]).to_string();
        let (plain, routed) = (bound("https://shop.example.com/r"), bound("https://shop.example.com/r#/done"));
        for url in [
            format!("{plain}&BizToken=CE661F1A&Extra=x"),
            format!("{plain}&BizToken=CE661F1A&BizToken=CE661F1A"),
            format!("{plain}&amp;BizToken=CE661F1A&amp;Extra=x"),
            format!("{plain}#BizToken=CE661F1A"),
            format!("{routed}?BizToken=CE661F1A"),
            routed.replace('#', "&BizToken=CE661F1A#"),
        ] {
            let read = parse(&url).unwrap_or_else(|faults| panic!("{url}: {faults:?}"));
            assert_eq!(read.biz_token.expose(), "CE661F1A", "{url}");
        }
    }

    #[test]
    fn a_bound_return_reads_back_in_every_form() {
        let bound = bind(Url::parse("https://shop.example.com/r?order=own").unwrap(), id(), &[7; MAC_BYTES]);
        let url = format!("{bound}&BizToken=CE661F1A&Extra=a%26b");
        let query = url.split_once('?').unwrap().1;
        for form in [url.clone(), format!("/r?{query}"), format!("?{query}"), query.to_owned(), format!("{url}#f?x")] {
            let parsed = parse(&form).unwrap_or_else(|faults| panic!("{form}: {faults:?}"));
            assert_eq!(parsed.verification_id, id_of(&bound));
            assert_eq!(parsed.mac, [7; MAC_BYTES]);
            assert_eq!(parsed.biz_token.expose(), "CE661F1A");
        }
    }

    fn id_of(bound: &Url) -> VerificationId {
        let (_, text) = bound.query_pairs().find(|(name, _)| name == ID_PARAMETER).unwrap();
        VerificationId::parse(&text).unwrap()
    }

    #[test]
    fn the_international_name_of_the_token_is_read_too() {
        let bound = bind(Url::parse("https://shop.example.com/r").unwrap(), id(), &[7; MAC_BYTES]);
        assert_eq!(parse(&format!("{bound}&token=CE661F1A")).ok().unwrap().biz_token.expose(), "CE661F1A");
    }

    #[test]
    fn every_bad_parameter_is_named() {
        assert_eq!(parse("https://shop.example.com/r").err().unwrap().len(), 3);
        let twice = "faceid_verification_id=1&faceid_mac=%00&BizToken=A&BizToken=B";
        let faults = parse(twice).err().unwrap();
        assert!(faults[0].starts_with("callback_url[faceid_verification_id]: is not a verification id"));
        assert!(faults[1].starts_with("callback_url[faceid_mac]: is not base64"));
        assert_eq!(faults[2], "callback_url[BizToken]: is there more than once, with different values");
        assert!(parse(&"x".repeat(10_000)).err().unwrap()[0].contains("10000 characters"));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in ".{0,300}") {
            let _ = parse(&text);
            let _ = check_target(&text, Some(&[]));
        }
    }
}
