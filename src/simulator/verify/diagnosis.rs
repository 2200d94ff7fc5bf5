//! Finds the mistake behind a wrong signature.
//!
//! A server sees a signature, never the text that was signed. So every mistake that clients are
//! known to make is made here on purpose, one at a time, and the one that gives the client's
//! signature is named.

use super::signing::{
    Authorization, BEIJING_OFFSET_S, SigningInput, UnverifiedRequest, bare_host, joined_names, same_signature,
    sha256_hex, text, utc_date,
};

const VENDOR_HOSTS: [&str; 3] =
    ["faceid.tencentcloudapi.com", "faceid.ap-guangzhou.tencentcloudapi.com", "faceid.internal.tencentcloudapi.com"];

/// Explains why `expected` is not what the client signed.
pub(super) fn diagnose(
    expected: SigningInput,
    request: &UnverifiedRequest<'_>,
    authorization: &Authorization<'_>,
    secret_key: &str,
) -> Diagnosis {
    let explains = |input: &SigningInput| same_signature(&input.signature(secret_key), authorization.signature);
    let mistake = if expected.signature(secret_key).to_uppercase() == authorization.signature {
        Some(Mistake::SignatureUpperCase)
    } else {
        suspects(&expected, request, authorization).into_iter().find(|(_, input)| explains(input)).map(|(m, _)| m)
    };
    Diagnosis { mistake, canonical_request: loggable(expected).canonical_request() }
}

/// Hides the values of headers that may be secret: a client may sign whatever it sends, session
/// tokens included.
fn loggable(mut expected: SigningInput) -> SigningInput {
    for (name, value) in &mut expected.headers {
        if !PUBLIC_HEADERS.contains(&name.as_str()) {
            *value = "(hidden)".to_owned();
        }
    }
    expected
}

const PUBLIC_HEADERS: [&str; 8] = [
    "content-type",
    "host",
    "x-tc-action",
    "x-tc-version",
    "x-tc-timestamp",
    "x-tc-region",
    "x-tc-language",
    "x-tc-requestclient",
];

/// The likely cause of a wrong signature.
#[derive(Debug, PartialEq, Eq)]
pub struct Diagnosis {
    /// The mistake that explains the signature exactly; `None` when no known mistake does.
    pub mistake: Option<Mistake>,
    /// The canonical request that should have been signed, fit for a log: of the body it holds the
    /// hash only, and the values of headers that may be secret are hidden.
    pub canonical_request: String,
}

impl std::fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.mistake {
            Some(mistake) => write!(f, "{} differs: {}", mistake.line(), mistake.explanation()),
            None => f.write_str(
                "no known mistake explains it; most likely the SecretKey is wrong, or the body was changed after signing",
            ),
        }
    }
}

/// One entry per mistake: the line of the text signed that differs, and how the client came to it.
macro_rules! mistakes {
    ($($name:ident: $line:literal, $explanation:literal;)*) => {
        /// The mistakes that are tried on a wrong signature.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Mistake { $(#[doc = $explanation] $name),* }

        impl Mistake {
            /// Which line differs from what the server computes.
            pub fn line(self) -> &'static str { match self { $(Mistake::$name => $line),* } }
            /// How the client came to another line.
            pub fn explanation(self) -> &'static str { match self { $(Mistake::$name => $explanation),* } }
        }
    };
}

mistakes! {
    Method: "canonical request, line 1 (method)", "the method was not signed as it was sent, in capital letters";
    Path: "canonical request, line 2 (path)", "the path signed is not the path sent (it is \"/\")";
    QueryString: "canonical request, line 3 (query)", "the query signed is not the query sent (empty for POST)";
    ContentTypeCharset: "canonical request, content-type", "the Content-Type signed and the one sent differ in their charset";
    HostPort: "canonical request, host", "the Host was signed with a port that it was not sent with";
    HostName: "canonical request, host", "a vendor host name was signed, but another Host was sent";
    ValuesNotLowerCased: "canonical request, header values", "header values must be lower-cased before signing";
    ActionNotLowerCased: "canonical request, x-tc-action", "the value of x-tc-action must be lower-cased before signing";
    ValuesNotTrimmed: "canonical request, headers", "there must be no space around the colon or the value";
    ActionNotSigned: "canonical request, headers", "SignedHeaders names x-tc-action, but it was not signed";
    ActionNotNamed: "canonical request, signed header names", "x-tc-action was signed, but SignedHeaders does not name it";
    NoBlankLine: "canonical request, line after the headers", "each header line ends with a newline, and one more newline follows";
    UnsortedHeaders: "canonical request, headers", "headers must be sorted by name";
    EmptyBodyHash: "canonical request, last line (body hash)", "the hash is that of an empty body";
    ReserializedBody: "canonical request, last line (body hash)", "the JSON was written a second time, and its bytes are not those sent";
    BodyHashUpperCase: "canonical request, last line (body hash)", "the hash must be in lower-case hex";
    TrailingNewline: "canonical request, end", "there must be no newline after the body hash";
    TimestampReadTwice: "string to sign, line 2 (timestamp)", "the clock was read twice: the timestamp signed is not the one sent";
    LocalDate: "string to sign, line 3 (scope)", "the date is local (+08:00); it must be in UTC";
    LocalDateInKey: "signing key (date)", "the key was derived with the local date (+08:00); it must be in UTC";
    RequestHashUpperCase: "string to sign, line 4 (request hash)", "the hash must be in lower-case hex";
    NoKeyPrefix: "signing key", "the SecretKey must be prefixed with \"TC3\"";
    KeysInHex: "signing key", "the derived keys must be chained as raw bytes, not as hex";
    SignatureUpperCase: "signature", "the signature must be in lower-case hex";
}

/// The input that a client would have signed under each known mistake.
fn suspects(
    expected: &SigningInput,
    request: &UnverifiedRequest<'_>,
    authorization: &Authorization<'_>,
) -> Vec<(Mistake, SigningInput)> {
    let mut suspects = Vec::new();
    let mut suspect = |mistake, edit: &dyn Fn(&mut SigningInput)| {
        let mut input = expected.clone();
        edit(&mut input);
        suspects.push((mistake, input));
    };
    let sent = |name: &str| text(request.headers, name).unwrap_or_default().to_owned();

    for method in ["GET", "post", "PUT"] {
        suspect(Mistake::Method, &|input| input.method = method.to_owned());
    }
    for path in ["", "/"] {
        suspect(Mistake::Path, &|input| input.path = path.to_owned());
    }
    suspect(Mistake::QueryString, &|input| input.query.clear());
    suspect(Mistake::QueryString, &|input| input.query = format!("Action={}", sent("x-tc-action")));

    for content_type in ["application/json", "application/json; charset=utf-8", "application/json;charset=utf-8"] {
        suspect(Mistake::ContentTypeCharset, &|input| set(input, "content-type", content_type));
    }
    let host = sent("host").to_lowercase();
    for port in ["443", "80"] {
        let signed = format!("{}:{port}", bare_host(&host));
        suspect(Mistake::HostPort, &|input| set(input, "host", &signed));
    }
    for vendor_host in VENDOR_HOSTS {
        suspect(Mistake::HostName, &|input| set(input, "host", vendor_host));
    }
    suspect(Mistake::ActionNotLowerCased, &|input| set(input, "x-tc-action", &sent("x-tc-action")));
    for one in ["host", "content-type"] {
        suspect(Mistake::ValuesNotLowerCased, &|input| set(input, one, &sent(one)));
        // A proxy or the HTTP library may have lower-cased on the wire what was signed in capitals.
        suspect(Mistake::ValuesNotLowerCased, &|input| set(input, one, &sent(one).to_uppercase()));
    }
    suspect(Mistake::ValuesNotLowerCased, &|input| {
        input.headers.iter_mut().for_each(|(name, value)| *value = sent(name));
    });
    for colon in [": ", " : "] {
        suspect(Mistake::ValuesNotTrimmed, &|input| input.colon = colon);
    }
    suspect(Mistake::ActionNotSigned, &|input| {
        input.headers.retain(|(name, _)| name != "x-tc-action");
        input.signed_names = joined_names(&input.headers);
    });
    suspect(Mistake::ActionNotSigned, &|input| input.headers.retain(|(name, _)| name != "x-tc-action"));
    suspect(Mistake::ActionNotNamed, &|input| {
        set(input, "x-tc-action", &sent("x-tc-action").to_lowercase());
        input.signed_names = joined_names(&input.headers);
    });
    suspect(Mistake::NoBlankLine, &|input| input.blank_line = "");
    for order in orders(expected, authorization) {
        suspect(Mistake::UnsortedHeaders, &|input| input.headers = order.clone());
        suspect(Mistake::UnsortedHeaders, &|input| {
            input.headers = order.clone();
            input.signed_names = joined_names(&order);
        });
    }

    suspect(Mistake::EmptyBodyHash, &|input| input.body_hash = sha256_hex(b""));
    for body in rewritten(request.body) {
        suspect(Mistake::ReserializedBody, &|input| input.body_hash = sha256_hex(body.as_bytes()));
    }
    suspect(Mistake::BodyHashUpperCase, &|input| input.body_hash = input.body_hash.to_uppercase());
    suspect(Mistake::TrailingNewline, &|input| input.end = "\n");

    for drift_s in [-2, -1, 1, 2] {
        suspect(Mistake::TimestampReadTwice, &|input| input.timestamp_s += drift_s);
    }
    // Out of range only at the end of time, where there is nothing left to diagnose.
    let local_date = utc_date(expected.timestamp_s + BEIJING_OFFSET_S).unwrap_or_default();
    suspect(Mistake::LocalDate, &|input| {
        input.date.clone_from(&local_date);
        input.date_in_key.clone_from(&local_date);
    });
    suspect(Mistake::LocalDate, &|input| input.date.clone_from(&local_date));
    suspect(Mistake::LocalDateInKey, &|input| input.date_in_key.clone_from(&local_date));
    suspect(Mistake::RequestHashUpperCase, &|input| input.upper_case_request_hash = true);
    suspect(Mistake::NoKeyPrefix, &|input| input.key_prefix = "");
    suspect(Mistake::KeysInHex, &|input| input.keys_in_hex = true);
    suspects
}

/// Gives a header another value; adds it, in sorted order, where it was not signed.
fn set(input: &mut SigningInput, name: &str, value: &str) {
    input.headers.retain(|(existing, _)| existing != name);
    input.headers.push((name.to_owned(), value.to_owned()));
    input.headers.sort();
}

/// Every order of the signed headers that a client may have used: all of them while they are few,
/// else its own list's.
fn orders(expected: &SigningInput, authorization: &Authorization<'_>) -> Vec<Vec<(String, String)>> {
    if expected.headers.len() > 4 {
        let position = |name: &str| authorization.signed_headers.iter().position(|signed| *signed == name);
        let mut as_listed = expected.headers.clone();
        as_listed.sort_by_key(|(name, _)| position(name));
        return vec![as_listed];
    }
    let mut orders = vec![Vec::new()];
    for header in &expected.headers {
        orders = orders
            .iter()
            .flat_map(|order: &Vec<_>| {
                (0..=order.len()).map(|at| {
                    let mut longer = order.clone();
                    longer.insert(at, header.clone());
                    longer
                })
            })
            .collect();
    }
    orders
}

/// The body as other JSON writers would have written it: compact, sorted, indented, in Python's
/// spacing, in ASCII.
fn rewritten(body: &[u8]) -> Vec<String> {
    let (Ok(text), Ok(value)) = (std::str::from_utf8(body), serde_json::from_slice::<serde_json::Value>(body)) else {
        return Vec::new();
    };
    let sorted = serde_json::to_string(&value).unwrap_or_default();
    let mut spaced = vec![serde_json::to_string_pretty(&value).unwrap_or_default(), format!("{text}\n")];
    for source in [text, &sorted] {
        spaced.push(respaced(source, ",", ":"));
        spaced.push(respaced(source, ", ", ": "));
    }
    let ascii: Vec<String> = spaced.iter().map(|text| in_ascii(text)).collect();
    spaced.extend(ascii);
    spaced
}

/// The same JSON text with other separators; strings are left alone.
fn respaced(json: &str, comma: &str, colon: &str) -> String {
    let mut out = String::with_capacity(json.len());
    let (mut in_string, mut escaped) = (false, false);
    for c in json.chars() {
        match c {
            _ if in_string => {
                out.push(c);
                in_string = escaped || c != '"';
                escaped = c == '\\' && !escaped;
            }
            ',' => out.push_str(comma),
            ':' => out.push_str(colon),
            _ if c.is_ascii_whitespace() => {}
            _ => {
                out.push(c);
                in_string = c == '"';
            }
        }
    }
    out
}

fn in_ascii(json: &str) -> String {
    let mut units = [0; 2];
    json.chars().fold(String::with_capacity(json.len()), |mut out, c| {
        if c.is_ascii() {
            out.push(c);
        } else {
            c.encode_utf16(&mut units).iter().for_each(|unit| out.push_str(&format!("\\u{unit:04x}")));
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::hmac;
    use http::HeaderMap;

    use super::super::{KeyPair, Refusal, verify};
    use super::*;

    // 22:13:20 in UTC on 14 November, already the 15th in Beijing.
    const NOW_S: i64 = 1_700_000_000;
    const BODY: &str = r#"{"RuleId": "1", "Name": "韦小宝"}"#;
    const SECRET_KEY: &str = "Gu5t9xGARNpq86cd98joQYCN3EXAMPLE";

    /// A client that signs any text in any way; it shares no code with what is tested, but for the
    /// hash.
    struct Client {
        canonical_request: String,
        request_hash_in_capitals: bool,
        timestamp_s: i64,
        date: &'static str,
        key_date: &'static str,
        key_prefix: &'static str,
        keys_in_hex: bool,
    }

    impl Client {
        fn signing(canonical_request: String) -> Self {
            Self {
                canonical_request,
                request_hash_in_capitals: false,
                timestamp_s: NOW_S,
                date: "2023-11-14",
                key_date: "2023-11-14",
                key_prefix: "TC3",
                keys_in_hex: false,
            }
        }

        fn signature(&self) -> String {
            let mut hash = sha256_hex(self.canonical_request.as_bytes());
            if self.request_hash_in_capitals {
                hash = hash.to_uppercase();
            }
            let (timestamp_s, date) = (self.timestamp_s, self.date);
            let text = format!("TC3-HMAC-SHA256\n{timestamp_s}\n{date}/faceid/tc3_request\n{hash}");
            let mut key = [self.key_prefix, SECRET_KEY].concat().into_bytes();
            for message in [self.key_date, "faceid", "tc3_request", &text] {
                let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), message.as_bytes());
                let is_last = message == text;
                key = if self.keys_in_hex && !is_last { hex::encode(tag).into_bytes() } else { tag.as_ref().to_vec() };
            }
            hex::encode(key)
        }
    }

    fn right() -> String {
        format!(
            "POST\n/\n\ncontent-type:application/json; charset=utf-8\nhost:localhost:9000\nx-tc-action:detectauth\n\n\
             content-type;host;x-tc-action\n{}",
            sha256_hex(BODY.as_bytes())
        )
    }

    /// What is said of a request that carries this signature.
    fn verdict(signature: &str, host: &str, query: &str, signed_headers: &str) -> Result<(), Refusal> {
        let authorization = format!(
            "TC3-HMAC-SHA256 Credential=AKIDexample/2023-11-14/faceid/tc3_request, \
             SignedHeaders={signed_headers}, Signature={signature}"
        );
        let timestamp = NOW_S.to_string();
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("content-type", "application/json; charset=utf-8"),
            ("host", host),
            ("x-tc-action", "DetectAuth"),
            ("x-tc-version", "2018-03-01"),
            ("x-tc-token", "session-secret"),
            ("x-tc-timestamp", &timestamp),
            ("authorization", &authorization),
        ] {
            headers.insert(name, value.parse().unwrap());
        }
        let body = BODY.as_bytes();
        let request = UnverifiedRequest { method: "POST", path: "/", query, headers: &headers, body };
        let key = KeyPair { secret_id: "AKIDexample".to_owned(), secret_key: SECRET_KEY.to_owned() };
        verify(&request, &[key], NOW_S)
    }

    fn diagnosis(client: &Client) -> Option<Mistake> {
        mistake(verdict(&client.signature(), "localhost:9000", "", "content-type;host;x-tc-action"))
    }

    fn mistake(verdict: Result<(), Refusal>) -> Option<Mistake> {
        match verdict {
            Err(Refusal::SignatureFailure(diagnosis)) => diagnosis.mistake,
            other => panic!("expected a wrong signature, got {other:?}"),
        }
    }

    #[test]
    fn the_client_of_these_tests_can_sign() {
        let signature = Client::signing(right()).signature();
        assert_eq!(verdict(&signature, "localhost:9000", "", "content-type;host;x-tc-action"), Ok(()));
    }

    #[test]
    fn each_wrong_line_of_the_canonical_request_is_named() {
        let hash = sha256_hex(BODY.as_bytes());
        let with_body = |body: &str| right().replace(&hash, &sha256_hex(body.as_bytes()));
        for (expected, signed) in [
            (Mistake::Method, right().replacen("POST", "GET", 1)),
            (Mistake::Path, right().replacen("\n/\n", "\n\n", 1)),
            (Mistake::QueryString, right().replacen("/\n\n", "/\nAction=DetectAuth\n", 1)),
            (Mistake::ContentTypeCharset, right().replace("; charset=utf-8", "")),
            (Mistake::HostPort, right().replace(":9000", ":443")),
            (Mistake::HostName, right().replace("localhost:9000", "faceid.tencentcloudapi.com")),
            (Mistake::ValuesNotLowerCased, right().replace("localhost", "LOCALHOST")),
            (Mistake::ActionNotLowerCased, right().replace("detectauth", "DetectAuth")),
            (
                Mistake::ValuesNotTrimmed,
                right().replace("type:", "type: ").replace("\nhost:", "\nhost: ").replace("action:", "action: "),
            ),
            (Mistake::ActionNotSigned, right().replace("x-tc-action:detectauth\n", "")),
            (Mistake::NoBlankLine, right().replace("detectauth\n\n", "detectauth\n")),
            (
                Mistake::UnsortedHeaders,
                right().replace(
                    "host:localhost:9000\nx-tc-action:detectauth",
                    "x-tc-action:detectauth\nhost:localhost:9000",
                ),
            ),
            (Mistake::EmptyBodyHash, with_body("")),
            (Mistake::ReserializedBody, with_body(r#"{"RuleId":"1","Name":"韦小宝"}"#)),
            (Mistake::ReserializedBody, with_body(r#"{"Name":"韦小宝","RuleId":"1"}"#)),
            (Mistake::ReserializedBody, with_body(r#"{"RuleId": "1", "Name": "\u97e6\u5c0f\u5b9d"}"#)),
            (Mistake::BodyHashUpperCase, right().replace(&hash, &hash.to_uppercase())),
            (Mistake::TrailingNewline, right() + "\n"),
        ] {
            assert_eq!(diagnosis(&Client::signing(signed)), Some(expected));
        }
    }

    #[test]
    fn each_mistake_after_the_canonical_request_is_named() {
        let client = || Client::signing(right());
        for (expected, client) in [
            (Mistake::TimestampReadTwice, Client { timestamp_s: NOW_S + 1, ..client() }),
            (Mistake::LocalDate, Client { date: "2023-11-15", key_date: "2023-11-15", ..client() }),
            (Mistake::LocalDate, Client { date: "2023-11-15", ..client() }),
            (Mistake::LocalDateInKey, Client { key_date: "2023-11-15", ..client() }),
            (Mistake::RequestHashUpperCase, Client { request_hash_in_capitals: true, ..client() }),
            (Mistake::NoKeyPrefix, Client { key_prefix: "", ..client() }),
            (Mistake::KeysInHex, Client { keys_in_hex: true, ..client() }),
        ] {
            assert_eq!(diagnosis(&client), Some(expected));
        }
        let in_capitals = client().signature().to_uppercase();
        let verdict = verdict(&in_capitals, "localhost:9000", "", "content-type;host;x-tc-action");
        assert_eq!(mistake(verdict), Some(Mistake::SignatureUpperCase));
    }

    #[test]
    fn mistakes_of_other_requests_are_named() {
        let with_port = right().replace("localhost:9000", "localhost:443");
        let verdict_1 =
            verdict(&Client::signing(with_port).signature(), "localhost", "", "content-type;host;x-tc-action");
        assert_eq!(mistake(verdict_1), Some(Mistake::HostPort));

        let signed = Client::signing(right()).signature();
        let verdict_2 = verdict(&signed, "localhost:9000", "debug=1", "content-type;host;x-tc-action");
        assert_eq!(mistake(verdict_2), Some(Mistake::QueryString));

        let verdict_3 = verdict(&signed, "localhost:9000", "", "content-type;host");
        assert_eq!(mistake(verdict_3), Some(Mistake::ActionNotNamed));
    }

    #[test]
    fn what_no_mistake_explains_is_a_wrong_key_or_body() {
        let client = Client::signing(right().replace("detectauth", "another"));
        let Err(Refusal::SignatureFailure(diagnosis)) =
            verdict(&client.signature(), "localhost:9000", "", "content-type;host;x-tc-action")
        else {
            panic!("a wrong signature was accepted");
        };
        assert_eq!(diagnosis, Diagnosis { mistake: None, canonical_request: right() });
        assert!(diagnosis.to_string().contains("SecretKey is wrong"));
    }

    #[test]
    fn headers_that_may_be_secret_are_hidden() {
        let signed_headers = "content-type;host;x-tc-token";
        let Err(Refusal::SignatureFailure(diagnosis)) = verdict("00", "localhost", "", signed_headers) else {
            panic!("a wrong signature was accepted");
        };
        assert!(diagnosis.canonical_request.contains("x-tc-token:(hidden)\n"));
        assert!(!diagnosis.canonical_request.contains("session-secret"));
    }
}
