//! The ciphers against vectors made by other implementations, and what is done with answers that
//! are not as asked for.

use super::*;
use crate::tencent::{answer::Answer, h5::tree::Tree};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeSet;

#[derive(Deserialize)]
struct Vectors {
    aes_256_cbc: Suite,
    sm4_gcm: Suite,
}

#[derive(Deserialize)]
struct Suite {
    public_keys: Vec<String>,
    short_public_key: Option<String>,
    vectors: Vec<Vector>,
    #[serde(default)]
    bad_paddings: Vec<String>,
}

#[derive(Deserialize)]
struct Vector {
    clear: String,
    key: String,
    iv: String,
    ciphertext: String,
    tag: Option<String>,
}

fn vectors() -> Vectors {
    serde_json::from_str(include_str!("../../../../tests/vectors/encryption/encryption.json")).unwrap()
}

fn decode(base64: &str) -> Vec<u8> {
    BASE64_STANDARD.decode(base64).unwrap()
}

#[test]
fn aes_256_cbc_is_that_of_others() {
    for vector in vectors().aes_256_cbc.vectors {
        let (key, iv, ciphertext) = (vector.key.as_bytes(), decode(&vector.iv), decode(&vector.ciphertext));
        assert_eq!(aes_cbc::encrypt(key, &iv, vector.clear.as_bytes()).unwrap(), ciphertext);
        assert_eq!(aes_cbc::decrypt(key, &iv, ciphertext).unwrap(), vector.clear.as_bytes());
    }
}

#[test]
fn every_byte_of_a_padding_is_checked() {
    let suite = vectors().aes_256_cbc;
    let (key, iv) = (suite.vectors[0].key.as_bytes(), decode(&suite.vectors[0].iv));
    assert!(suite.bad_paddings.len() > 5);
    for bad in &suite.bad_paddings {
        assert_eq!(aes_cbc::decrypt(key, &iv, decode(bad)), None);
    }
    for length in [0, 1, 15, 17] {
        assert_eq!(aes_cbc::decrypt(key, &iv, vec![7; length]), None, "{length}");
    }
}

#[test]
fn sm4_gcm_is_that_of_others() {
    for vector in vectors().sm4_gcm.vectors {
        let (key, iv, ciphertext) = (vector.key.as_bytes(), decode(&vector.iv), decode(&vector.ciphertext));
        let tag = decode(vector.tag.as_ref().unwrap());
        let (sealed, its_tag) = sm4_gcm::encrypt(key, &iv, vector.clear.as_bytes()).unwrap();
        assert_eq!((&sealed, its_tag.as_slice()), (&ciphertext, tag.as_slice()));
        assert_eq!(sm4_gcm::decrypt(key, &iv, ciphertext.clone(), &tag).unwrap(), vector.clear.as_bytes());
        for at in 0..tag.len() {
            let mut wrong = tag.clone();
            wrong[at] ^= 1;
            assert_eq!(sm4_gcm::decrypt(key, &iv, ciphertext.clone(), &wrong), None);
        }
        assert_eq!(sm4_gcm::decrypt(key, &iv, ciphertext, &tag[..12]), None, "a short tag");
    }
}

#[test]
fn public_keys_are_read_in_every_form_and_for_their_algorithm_only() {
    let Vectors { aes_256_cbc, sm4_gcm } = vectors();
    let fault = |algorithm, text: &str| PublicKey::parse(algorithm, text).err().unwrap();
    for key in aes_256_cbc.public_keys.iter().chain(&aes_256_cbc.short_public_key) {
        assert!(PublicKey::parse(Algorithm::Aes256Cbc, key).is_ok(), "{key}");
        assert!(fault(Algorithm::Sm4Gcm, key).starts_with("is an RSA key"), "{key}");
    }
    for key in &sm4_gcm.public_keys {
        assert!(PublicKey::parse(Algorithm::Sm4Gcm, key).is_ok(), "{key}");
        assert!(fault(Algorithm::Aes256Cbc, key).starts_with("is an SM2 key"), "{key}");
    }
    let off_curve = format!("04{}", "11".repeat(64));
    for junk in ["", "junk", "-----BEGIN PUBLIC KEY-----", &off_curve] {
        assert!(fault(Algorithm::Aes256Cbc, junk).starts_with("is not an RSA public key"), "{junk}");
        assert!(fault(Algorithm::Sm4Gcm, junk).starts_with("is not an SM2 public key"), "{junk}");
    }
}

fn encryption(algorithm: Algorithm, whole_response: bool) -> FieldEncryption {
    let Vectors { aes_256_cbc, sm4_gcm } = vectors();
    let keys = if algorithm == Algorithm::Aes256Cbc { aes_256_cbc } else { sm4_gcm };
    FieldEncryption { public_key: PublicKey::parse(algorithm, &keys.public_keys[0]).unwrap(), whole_response }
}

fn begin(algorithm: Algorithm, whole_response: bool) -> CallKey {
    encryption(algorithm, whole_response).begin().unwrap()
}

const ALGORITHMS: [Algorithm; 2] = [Algorithm::Aes256Cbc, Algorithm::Sm4Gcm];

#[test]
fn every_call_has_a_printable_key_and_an_iv_of_its_own() {
    for algorithm in ALGORITHMS {
        let encryption = encryption(algorithm, false);
        let calls: Vec<CallKey> = (0..50).map(|_| encryption.begin().unwrap()).collect();
        let distinct: BTreeSet<_> = calls.iter().map(|call| (call.key.to_vec(), call.iv.clone())).collect();
        assert_eq!(distinct.len(), calls.len());
        assert!(calls.iter().all(|call| call.key.len() == algorithm.key_bytes()));
        assert!(calls.iter().flat_map(|call| call.key.iter()).all(u8::is_ascii_graphic));
    }
}

/// With 94,000 characters, each of the 94 comes 1,000 times on average; 200 from it is more than
/// six standard deviations.
#[test]
fn keys_are_uniform_over_the_printable_characters() {
    let mut counts = [0_u32; 94];
    for byte in printable_key(94_000).unwrap().iter() {
        counts[usize::from(byte - b'!')] += 1;
    }
    assert!(counts.iter().all(|count| (800..1200).contains(count)), "{counts:?}");
}

#[test]
fn requests_carry_no_clear_text_and_one_tag_for_each_field() {
    let request = DetectAuthRequest {
        rule_id: "1",
        name: Some("张三"),
        id_card: Some("11010519491231002X"),
        extra: Some("kept"),
        ..DetectAuthRequest::default()
    };
    for algorithm in ALGORITHMS {
        let key = begin(algorithm, false);
        let sealed = key.seal(&request).unwrap();
        let json = serde_json::to_value(sealed.put_into(&request)).unwrap();
        assert!(!json.to_string().contains("张三") && !json.to_string().contains("11010519491231002X"));
        assert_eq!((&json["RuleId"], &json["Extra"]), (&"1".into(), &"kept".into()));
        let encryption = &json["Encryption"];
        assert_eq!(encryption["EncryptList"], serde_json::json!(["IdCard", "Name"]));
        if algorithm == Algorithm::Aes256Cbc {
            assert!(encryption.get("TagList").is_none());
        } else {
            let tags = encryption["TagList"].as_array().unwrap();
            assert!(tags.len() == 2 && tags[0] != tags[1]);
        }
    }
    let nobody = DetectAuthRequest::default();
    let sealed = begin(Algorithm::Sm4Gcm, false).seal(&nobody).unwrap();
    assert!(sealed.put_into(&nobody).encryption.is_none());
}

#[test]
fn answers_are_asked_for_as_the_flow_wants_them() {
    for whole in [false, true] {
        let request = GetDetectInfoEnhancedRequest { biz_token: "T", info_type: "1", ..Default::default() };
        let json = serde_json::to_value(begin(Algorithm::Aes256Cbc, whole).asking(&request)).unwrap();
        assert_eq!(json.get("IsEncryptResponse").is_some(), whole);
        assert_eq!((&json["BizToken"], &json["Encryption"]["EncryptList"]), (&"T".into(), &serde_json::json!([])));
    }
}

/// As the vendor encrypts an answer: its fields, in this order.
fn encrypted_answer(key: &CallKey, fields: &[(&str, &str)]) -> Value {
    let mut tags = Vec::new();
    let mut body = json!({ "Text": { "LivenessDetail": [{}, {}] } });
    for (path, clear) in fields {
        let (ciphertext, tag) = encrypt(key, clear);
        tags.extend(tag);
        let path = path.strip_prefix("Response.Text.").unwrap();
        match path.strip_prefix("LivenessDetail[1].") {
            Some(name) => body["Text"]["LivenessDetail"][1][name] = ciphertext.into(),
            None => body["Text"][path] = ciphertext.into(),
        }
    }
    let listed = fields.iter().map(|(path, _)| (*path).to_owned()).collect();
    body["Encryption"] = serde_json::to_value(key.object(listed, tags)).unwrap();
    body
}

fn encrypt(key: &CallKey, clear: &str) -> (String, Option<String>) {
    match key.algorithm {
        Algorithm::Aes256Cbc => {
            (BASE64_STANDARD.encode(aes_cbc::encrypt(&key.key, &key.iv, clear.as_bytes()).unwrap()), None)
        }
        Algorithm::Sm4Gcm => {
            let (ciphertext, tag) = sm4_gcm::encrypt(&key.key, &key.iv, clear.as_bytes()).unwrap();
            (BASE64_STANDARD.encode(ciphertext), Some(BASE64_STANDARD.encode(tag)))
        }
    }
}

const BOTH: [(&str, &str); 2] = [("Response.Text.Name", "张三"), ("Response.Text.IdCard", "11010519491231002X")];

fn open(key: &CallKey, body: Value) -> Result<Value, String> {
    let body: Tree = serde_json::from_value(body).unwrap();
    let opened = key.open(Answer { body, request_id: "r-1".into(), asked_at: Timestamp::UNIX_EPOCH, tries: 1 });
    opened.map(|answer| answer.body.into_value()).map_err(|error| error.to_string())
}

#[test]
fn answers_are_opened_field_by_field() {
    for algorithm in ALGORITHMS {
        let key = begin(algorithm, false);
        let opened = open(&key, encrypted_answer(&key, &BOTH)).unwrap();
        assert_eq!(
            (&opened["Text"]["Name"], &opened["Text"]["IdCard"]),
            (&json!("张三"), &json!("11010519491231002X"))
        );
        // Before there is an identity there is nothing to encrypt.
        assert!(open(&key, json!({})).is_ok());
    }
}

#[test]
fn whatever_the_answers_list_names_is_opened_in_its_place() {
    let fields = [
        ("Response.Text.LivenessDetail[1].Idcard", "11010519491231002X"),
        ("Response.Text.Name", "张三"),
        ("Response.Text.LivenessDetail[1].Name", "张三"),
        ("Response.Text.Mobile", "13800138000"),
    ];
    for algorithm in ALGORITHMS {
        let key = begin(algorithm, false);
        let mut body = encrypted_answer(&key, &fields);
        // What is listed and not there is nothing.
        let list = body["Encryption"]["EncryptList"].as_array_mut().unwrap();
        list.push(json!("Response.Text.LivenessDetail[7].Name"));
        let opened = open(&key, body).unwrap();
        let text = &opened["Text"];
        assert_eq!(text["LivenessDetail"][1], json!({ "Idcard": "11010519491231002X", "Name": "张三" }));
        assert_eq!((&text["Name"], &text["Mobile"]), (&json!("张三"), &json!("13800138000")));
    }
}

#[test]
fn what_came_in_the_clear_is_refused() {
    let key = begin(Algorithm::Aes256Cbc, false);
    let mut half = encrypted_answer(&key, &BOTH[..1]);
    half["Text"]["OcrName"] = json!("张三");
    let error = open(&key, half).err().unwrap();
    assert!(error.contains("Text.OcrName in plain text") && !error.contains("张三"), "{error}");

    let whole = open(&begin(Algorithm::Aes256Cbc, true), json!({})).err().unwrap();
    assert!(whole.contains("EncryptedBody in plain text"), "{whole}");
}

#[test]
fn what_does_not_open_is_named_and_not_quoted() {
    type Spoil = fn(&mut Value);
    let cases: [(Algorithm, Spoil, &str); 9] = [
        (Algorithm::Aes256Cbc, |body| body["Text"]["Name"] = json!("张三"), "Text.Name of the response is not base64"),
        (
            Algorithm::Aes256Cbc,
            |body| body["Text"]["IdCard"] = json!("AAAA"),
            "Text.IdCard of the response has a wrong padding",
        ),
        (Algorithm::Aes256Cbc, |body| body["Encryption"]["Iv"] = json!("AAAA"), "has an Iv of the wrong length"),
        (Algorithm::Aes256Cbc, |body| body["Encryption"]["Algorithm"] = json!("SM4-GCM"), "with another algorithm"),
        (
            Algorithm::Aes256Cbc,
            |body| body["Text"]["IdCard"] = json!({ "x": "张三" }),
            "Text.IdCard of the response is not a text",
        ),
        (
            Algorithm::Aes256Cbc,
            |body| body["Encryption"]["EncryptList"][1] = json!("Response.Text.Name"),
            "EncryptList of the response is not base64",
        ),
        (Algorithm::Sm4Gcm, |body| body["Encryption"]["TagList"] = Value::Null, "Text.Name of the response has no tag"),
        (
            Algorithm::Sm4Gcm,
            |body| body["Encryption"]["TagList"].as_array_mut().unwrap().truncate(1),
            "Text.IdCard of the response has no tag",
        ),
        (
            Algorithm::Sm4Gcm,
            |body| body["Encryption"]["TagList"].as_array_mut().unwrap().swap(0, 1),
            "Text.Name of the response has a wrong tag",
        ),
    ];
    for (algorithm, spoil, expected) in cases {
        let key = begin(algorithm, false);
        let mut body = encrypted_answer(&key, &BOTH);
        spoil(&mut body);
        let error = open(&key, body).err().unwrap_or_else(|| panic!("opened: {expected}"));
        assert!(error.contains(expected) && error.contains("r-1") && !error.contains("张三"), "{error}");
    }
    // Another call's key.
    for algorithm in ALGORITHMS {
        let (key, other) = (begin(algorithm, false), begin(algorithm, false));
        assert!(open(&other, encrypted_answer(&key, &BOTH)).is_err());
    }
}

#[test]
fn a_whole_answer_is_opened_and_what_was_outside_of_it_is_kept() {
    let clear = r#"{"Text":{"ErrCode":0,"Name":"张三"},"IsVerifyIntention":false,"Inside":1}"#;
    for algorithm in ALGORITHMS {
        let key = begin(algorithm, true);
        let (ciphertext, tag) = encrypt(&key, clear);
        let encryption = key.object(vec![], tag.into_iter().collect());
        let body = json!({ "Encryption": encryption, "EncryptedBody": ciphertext, "Outside": 2 });
        let opened = open(&key, body).unwrap();
        assert_eq!(opened["Text"]["Name"], "张三");
        assert_eq!((&opened["Inside"], &opened["Outside"]), (&json!(1), &json!(2)));
        assert!(opened.get("EncryptedBody").is_none());
    }
}
