//! The header `x-forwarded-client-cert`, as Envoy writes it.
//!
//! ```text
//! header  = element *("," element)            one element for each proxy, the last one's at the end
//! element = key "=" value *(";" key "=" value)
//! value   = token | "\"" text "\""            in a quoted text \" stands for "
//! ```
//!
//! The parser is strict. What Envoy would not write is refused as a whole, as a header that could
//! be read in two ways might name somebody else.
//!
//! Envoy writes URIs and DNS names as they are in the certificate, without quotes: one with `,` or
//! `;` in it looks like several. So the client CA must not sign what has these; a SPIFFE id cannot
//! have them.

/// A value is an identity or a hash; certificates (`Cert`, `Chain`) make the longest.
const MAX_LENGTH: usize = 64 * 1024;

/// The keys that Envoy writes, in lower case: keys are compared without case.
const KEYS: [&str; 7] = ["by", "hash", "cert", "chain", "subject", "uri", "dns"];

/// A client's certificate as one proxy reports it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Element {
    /// Its URI names.
    pub uris: Vec<String>,
    /// Its DNS names.
    pub dns_names: Vec<String>,
}

/// A header that Envoy would not write. Tells nothing of its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a header x-forwarded-client-cert as Envoy writes it")]
pub struct Malformed;

/// Reads all of a header, and gives its last element: the one that the nearest proxy added.
///
/// # Errors
/// When any part of the header is malformed.
pub fn last_element(header: &str) -> Result<Element, Malformed> {
    if header.len() > MAX_LENGTH {
        return Err(Malformed);
    }
    let mut rest = header.trim_matches([' ', '\t']);
    let mut element = Element::default();
    loop {
        let (key, after_key) = rest.split_once('=').ok_or(Malformed)?;
        let key = key.to_ascii_lowercase();
        if !KEYS.contains(&key.as_str()) {
            return Err(Malformed);
        }
        let (value, after_value) = take_value(after_key)?;
        // Envoy writes an empty value where a certificate has no such name.
        match key.as_str() {
            "uri" if !value.is_empty() => element.uris.push(value),
            "dns" if !value.is_empty() => element.dns_names.push(value),
            _ => {}
        }
        match after_value.as_bytes() {
            [] => return Ok(element),
            [b';', ..] => rest = &after_value[1..],
            [b',', ..] => {
                rest = after_value[1..].trim_start_matches([' ', '\t']);
                element = Element::default();
            }
            _ => return Err(Malformed),
        }
    }
}

/// A value, and what comes after it.
fn take_value(text: &str) -> Result<(String, &str), Malformed> {
    if let Some(quoted) = text.strip_prefix('"') {
        return take_quoted(quoted);
    }
    let end = text.find([',', ';']).unwrap_or(text.len());
    let (value, rest) = text.split_at(end);
    // Envoy quotes a value with any of these; a URI may have "=" in its query.
    let plain = value.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\');
    if plain { Ok((value.to_owned(), rest)) } else { Err(Malformed) }
}

/// Envoy writes a subject as RFC 2253 does, with a backslash before `"`, `,`, `;` and `\`; its
/// manual knows only the one before `"`. So a mark after one backslash is part of the text, and a
/// mark after several could be either: that is refused.
fn take_quoted(text: &str) -> Result<(String, &str), Malformed> {
    let mut value = String::new();
    let mut backslashes = 0;
    for (at, character) in text.char_indices() {
        match character {
            '"' if backslashes == 0 => return Ok((value, &text[at + 1..])),
            '"' if backslashes == 1 => {
                value.pop();
                value.push('"');
            }
            '"' => return Err(Malformed),
            _ if character.is_control() => return Err(Malformed),
            _ => value.push(character),
        }
        backslashes = if character == '\\' { backslashes + 1 } else { 0 };
    }
    Err(Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn uris(header: &str) -> Result<Vec<String>, Malformed> {
        last_element(header).map(|element| element.uris)
    }

    #[test]
    fn reads_what_envoy_writes() {
        let header = "By=spiffe://cluster.local/ns/faceid/sa/gateway;Hash=468ed33be74eee6556d90c0149c1309e9ba61d64\
                      25303443c0748a02dd8de688;Subject=\"CN=orders,O=\\\"Shop\\\", Inc.\";URI=spiffe://cluster.local/ns/shop/sa/orders;\
                      DNS=orders.shop;DNS=orders.internal";
        let element = last_element(header).unwrap();
        assert_eq!(element.uris, ["spiffe://cluster.local/ns/shop/sa/orders"]);
        assert_eq!(element.dns_names, ["orders.shop", "orders.internal"]);
        assert_eq!(
            uris("by=a;Uri=spiffe://m/a?x=1;URI=\"spiffe://m/b,c\"").unwrap(),
            ["spiffe://m/a?x=1", "spiffe://m/b,c"]
        );
        assert!(uris("By=spiffe://m/gw;Hash=00;Subject=\"\";URI=").unwrap().is_empty());
    }

    /// As Envoy 1.40 was seen to write it with APPEND_FORWARD: a subject with all that needs a
    /// backslash; and a client's own header before it that leaves a quotation mark open.
    #[test]
    fn reads_what_envoy_wrote_and_not_what_was_put_before_it() {
        let written = r#"By=spiffe://mesh/gw;Hash=12af7faff3e93583f5338a6f99dc46c8b060ce1a22094a852e12947e0e65f8cf;Subject="OU=a\\b,O=\"Shop\"\, Inc.,CN=x\"\;URI=spiffe://mesh/admin\;DNS=\"";URI=spiffe://mesh/ns/shop/sa/orders;DNS=orders.internal;DNS=orders.shop"#;
        let element = last_element(written).unwrap();
        assert_eq!(element.uris, ["spiffe://mesh/ns/shop/sa/orders"]);
        assert_eq!(element.dns_names, ["orders.internal", "orders.shop"]);
        assert_eq!(last_element(&format!("URI=spiffe://mesh/forged,{written}")), Ok(element));
        assert_eq!(last_element(&format!("URI=spiffe://mesh/forged;Subject=\",{written}")), Err(Malformed));
    }

    #[test]
    fn only_the_last_element_counts_and_all_must_be_well_formed() {
        assert_eq!(uris("URI=spiffe://m/forged, By=x;URI=spiffe://m/true").unwrap(), ["spiffe://m/true"]);
        assert!(uris("URI=spiffe://m/forged,By=spiffe://m/gw").unwrap().is_empty());
        assert_eq!(uris("URI,URI=spiffe://m/true"), Err(Malformed));
    }

    #[test]
    fn what_stands_in_quotes_stays_in_its_value() {
        let forged = "Subject=\"CN=\\\";URI=spiffe://m/admin;x=\\\"\";URI=spiffe://m/true";
        assert_eq!(uris(forged).unwrap(), ["spiffe://m/true"]);
        // A backslash before the closing mark, or an escaped mark after one?
        assert_eq!(uris("Subject=\"CN=x\\\\\";URI=spiffe://m/admin;DNS=\"\""), Err(Malformed));
    }

    #[test]
    fn anything_else_is_refused() {
        for header in [
            "",
            " ",
            ",",
            ";",
            "=",
            "URI",
            "URI=a;",
            "URI=a,",
            ",URI=a",
            "URI=a;;By=b",
            "Foo=a",
            "URI =a",
            "URI=a b",
            "URI=\"a",
            "URI=\"a\"b",
            "URI=a\"b\"",
            "URI=a\\b",
            "URI=\"a\nb\"",
            "URI=ä",
            "uri:a",
            "URI=a; By=b",
        ] {
            assert_eq!(last_element(header), Err(Malformed), "{header:?}");
        }
        assert_eq!(last_element(&format!("URI={}", "a".repeat(MAX_LENGTH))), Err(Malformed));
    }

    proptest! {
        #[test]
        fn any_text_in_quotes_stays_where_it_is(text in "[^\\\\\\p{Cc}]{0,40}") {
            let header = format!("Subject=\"{}\";URI=spiffe://m/true", text.replace('"', "\\\""));
            prop_assert_eq!(uris(&header), Ok(vec!["spiffe://m/true".to_owned()]));
        }

        #[test]
        fn what_was_sent_before_names_nobody(sent in "([,;\"\\\\]|URI=|DNS=|Subject=|By=|spiffe://m/admin){0,12}") {
            let own = "By=spiffe://m/gw;Hash=00;Subject=\"OU=a\\\\b,CN=true\";URI=spiffe://m/true";
            if let Ok(uris) = uris(&format!("{sent},{own}")) {
                prop_assert_eq!(uris, ["spiffe://m/true"]);
            }
        }

        #[test]
        fn no_header_panics(header in "[URIuri=\";,\\\\ a]{0,40}|.{0,60}") {
            let _ = last_element(&header);
        }
    }
}
