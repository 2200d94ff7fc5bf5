//! Finds the mistake behind a wrong signature.
//!
//! A server sees a signature, never the text that was signed. So every mistake that clients are known to make is made
//! here on purpose, one at a time, and the one that gives the client's signature is named.

use super::{
    Authorization, BEIJING_OFFSET_S, SigningInput, UnverifiedRequest, joined_names, same_signature,
    sha256_hex, text, utc_date,
};

const VENDOR_HOSTS: [&str; 3] = [
    "faceid.tencentcloudapi.com",
    "faceid.ap-guangzhou.tencentcloudapi.com",
    "faceid.internal.tencentcloudapi.com",
];

/// Explains why `expected` is not what the client signed.
pub(super) fn diagnose(
    expected: SigningInput,
    request: &UnverifiedRequest<'_>,
    authorization: &Authorization<'_>,
    secret_key: &str,
) -> Diagnosis {
    let explains = |input: &SigningInput| {
        same_signature(&input.signature(secret_key), authorization.signature)
    };
    let mistake = if expected.signature(secret_key).to_uppercase() == authorization.signature {
        Some(Mistake::SignatureUpperCase)
    } else {
        suspects(&expected, request, authorization)
            .into_iter()
            .find(|(_, input)| explains(input))
            .map(|(m, _)| m)
    };
    Diagnosis {
        mistake,
        canonical_request: expected.canonical_request(),
    }
}

/// What a wrong signature was most likely made from.
#[derive(Debug, PartialEq, Eq)]
pub struct Diagnosis {
    /// The mistake that explains the signature exactly; `None` when no known mistake does.
    pub mistake: Option<Mistake>,
    /// The canonical request that should have been signed. Of the body it holds the hash only: no personal data.
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
    HostPort: "canonical request, host", "the Host was signed with a port and sent without it, or the other way round";
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

/// What a client would have signed under each known mistake.
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
    suspect(Mistake::QueryString, &|input| {
        input.query = format!("Action={}", sent("x-tc-action"))
    });

    for content_type in [
        "application/json",
        "application/json; charset=utf-8",
        "application/json;charset=utf-8",
    ] {
        suspect(Mistake::ContentTypeCharset, &|input| {
            set(input, "content-type", content_type)
        });
    }
    let host = sent("host").to_lowercase();
    // The part after the last colon is a port only outside the brackets of an IPv6 address.
    let bare_host = host
        .rsplit_once(':')
        .filter(|(_, port)| !port.contains(']'))
        .map_or(&*host, |(name, _)| name);
    for signed in [
        bare_host.to_owned(),
        format!("{bare_host}:443"),
        format!("{bare_host}:80"),
    ] {
        suspect(Mistake::HostPort, &|input| set(input, "host", &signed));
    }
    for vendor_host in VENDOR_HOSTS {
        suspect(Mistake::HostName, &|input| set(input, "host", vendor_host));
    }
    suspect(Mistake::ActionNotLowerCased, &|input| {
        set(input, "x-tc-action", &sent("x-tc-action"))
    });
    for one in ["host", "content-type"] {
        suspect(Mistake::ValuesNotLowerCased, &|input| {
            set(input, one, &sent(one))
        });
        // A proxy or the HTTP library may have lower-cased on the wire what was signed in capitals.
        suspect(Mistake::ValuesNotLowerCased, &|input| {
            set(input, one, &sent(one).to_uppercase())
        });
    }
    suspect(Mistake::ValuesNotLowerCased, &|input| {
        input
            .headers
            .iter_mut()
            .for_each(|(name, value)| *value = sent(name));
    });
    for colon in [": ", " : "] {
        suspect(Mistake::ValuesNotTrimmed, &|input| input.colon = colon);
    }
    suspect(Mistake::ActionNotSigned, &|input| {
        input.headers.retain(|(name, _)| name != "x-tc-action");
        input.signed_names = joined_names(&input.headers);
    });
    suspect(Mistake::ActionNotSigned, &|input| {
        input.headers.retain(|(name, _)| name != "x-tc-action")
    });
    suspect(Mistake::ActionNotNamed, &|input| {
        set(input, "x-tc-action", &sent("x-tc-action").to_lowercase());
        input.signed_names = joined_names(&input.headers);
    });
    suspect(Mistake::NoBlankLine, &|input| input.blank_line = "");
    for order in orders(expected, authorization) {
        suspect(Mistake::UnsortedHeaders, &|input| {
            input.headers = order.clone()
        });
        suspect(Mistake::UnsortedHeaders, &|input| {
            input.headers = order.clone();
            input.signed_names = joined_names(&order);
        });
    }

    suspect(Mistake::EmptyBodyHash, &|input| {
        input.body_hash = sha256_hex(b"")
    });
    for body in rewritten(request.body) {
        suspect(Mistake::ReserializedBody, &|input| {
            input.body_hash = sha256_hex(body.as_bytes())
        });
    }
    suspect(Mistake::BodyHashUpperCase, &|input| {
        input.body_hash = input.body_hash.to_uppercase()
    });
    suspect(Mistake::TrailingNewline, &|input| input.end = "\n");

    for drift_s in [-2, -1, 1, 2] {
        suspect(Mistake::TimestampReadTwice, &|input| {
            input.timestamp_s += drift_s
        });
    }
    // Out of range only at the end of time, where there is nothing left to diagnose.
    let local_date = utc_date(expected.timestamp_s + BEIJING_OFFSET_S).unwrap_or_default();
    suspect(Mistake::LocalDate, &|input| {
        input.date.clone_from(&local_date);
        input.date_in_key.clone_from(&local_date);
    });
    suspect(Mistake::LocalDate, &|input| {
        input.date.clone_from(&local_date)
    });
    suspect(Mistake::LocalDateInKey, &|input| {
        input.date_in_key.clone_from(&local_date)
    });
    suspect(Mistake::RequestHashUpperCase, &|input| {
        input.upper_case_request_hash = true
    });
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

/// Every order of the signed headers that a client may have used: all of them while they are few, else its own list's.
fn orders(
    expected: &SigningInput,
    authorization: &Authorization<'_>,
) -> Vec<Vec<(String, String)>> {
    if expected.headers.len() > 4 {
        let position = |name: &str| {
            authorization
                .signed_headers
                .iter()
                .position(|signed| *signed == name)
        };
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

/// The body as other JSON writers would have written it: compact, sorted, indented, in Python's spacing, in ASCII.
fn rewritten(body: &[u8]) -> Vec<String> {
    let (Ok(text), Ok(value)) = (
        std::str::from_utf8(body),
        serde_json::from_slice::<serde_json::Value>(body),
    ) else {
        return Vec::new();
    };
    let sorted = serde_json::to_string(&value).unwrap_or_default();
    let mut spaced = vec![
        serde_json::to_string_pretty(&value).unwrap_or_default(),
        format!("{text}\n"),
    ];
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
    json.chars()
        .fold(String::with_capacity(json.len()), |mut out, c| {
            if c.is_ascii() {
                out.push(c);
            } else {
                c.encode_utf16(&mut units)
                    .iter()
                    .for_each(|unit| out.push_str(&format!("\\u{unit:04x}")));
            }
            out
        })
}
