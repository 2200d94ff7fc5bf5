use serde_json::Value;
use sm2::SecretKey;

use super::*;

fn vectors() -> Value {
    serde_json::from_str(include_str!("../../../tests/vectors/encryption/encryption.json")).unwrap()
}

fn bytes(value: &Value) -> Vec<u8> {
    STANDARD.decode(value.as_str().unwrap()).unwrap()
}

/// The keys of the vectors.
fn keys(vectors: &Value) -> PrivateKeys {
    let rsa = PrivateDecryptingKey::from_pkcs8(&bytes(&vectors["aes_256_cbc"]["private_key_pkcs8"])).unwrap();
    let sm2 = hex::decode(vectors["sm4_gcm"]["private_key_hex"].as_str().unwrap()).unwrap();
    PrivateKeys { rsa: rsa.into(), sm2: SecretKey::from_slice(&sm2).unwrap().into() }
}

fn encryption(algorithm: &str, vector: &Value) -> Encryption {
    let mut encryption = json!({
        "Algorithm": algorithm, "CiphertextBlob": vector["wrapped_key"], "Iv": vector["iv"], "EncryptList": ["Name"],
    });
    if vector["tag"].is_string() {
        encryption["TagList"] = json!([vector["tag"]]);
    }
    serde_json::from_value(encryption).unwrap()
}

#[test]
fn what_others_have_encrypted_is_opened() {
    let vectors = vectors();
    let keys = keys(&vectors);
    for (algorithm, suite) in [("AES-256-CBC", "aes_256_cbc"), ("SM4-GCM", "sm4_gcm")] {
        for vector in vectors[suite]["vectors"].as_array().unwrap() {
            let session = Session::open(&keys, encryption(algorithm, vector)).unwrap();
            assert_eq!(session.key, vector["key"].as_str().unwrap().as_bytes());
            let mut name = vector["ciphertext"].as_str().map(str::to_owned);
            session.open_fields(&mut [("Name", &mut name)]).unwrap();
            assert_eq!(name.as_deref(), vector["clear"].as_str());
        }
    }
}

#[test]
fn gcm_encrypts_as_others_do() {
    for vector in vectors()["sm4_gcm"]["vectors"].as_array().unwrap() {
        let key = vector["key"].as_str().unwrap().as_bytes().try_into().unwrap();
        let (ciphertext, tag) =
            sm::encrypt_gcm(key, &bytes(&vector["iv"]), vector["clear"].as_str().unwrap().as_bytes());
        assert_eq!((ciphertext, tag.to_vec()), (bytes(&vector["ciphertext"]), bytes(&vector["tag"])));
    }
}

#[test]
fn public_keys_are_those_of_the_private_ones() {
    let vectors = vectors();
    let keys = keys(&vectors);
    assert_eq!(keys.rsa_public_key(), vectors["aes_256_cbc"]["public_keys"][0]);
    let without_breaks = |pem: &str| pem.replace('\n', "");
    let expected = vectors["sm4_gcm"]["public_keys"][0].as_str().unwrap();
    assert_eq!(without_breaks(&keys.sm2_public_key()), without_breaks(expected));
}

#[test]
fn refusals_have_the_vendors_codes() {
    type Spoil = fn(&mut Encryption);
    let vectors = vectors();
    let keys = keys(&vectors);
    let (aes, sm4) = (&vectors["aes_256_cbc"]["vectors"][0], &vectors["sm4_gcm"]["vectors"][0]);
    let cases: [(&str, &Value, Spoil, &str); 9] = [
        ("AES-256-CBC", aes, |sent| sent.algorithm = Some("AES".into()), "InvalidParameterValue"),
        ("AES-256-CBC", aes, |sent| sent.iv = Some("AAAA".into()), "InvalidParameterValue"),
        ("AES-256-CBC", aes, |sent| sent.ciphertext_blob = Some("A".into()), "InvalidParameterValue"),
        ("AES-256-CBC", aes, |sent| sent.ciphertext_blob = Some("AAAA".into()), "FailedOperation.DecryptSystemError"),
        ("AES-256-CBC", aes, |sent| sent.iv = Some(STANDARD.encode([0; 16])), "FailedOperation.DecryptSystemError"),
        (
            "AES-256-CBC",
            aes,
            |sent| sent.encrypt_list = Some(vec!["Extra".into()]),
            "InvalidParameter.UnsupportEncryptField",
        ),
        ("SM4-GCM", sm4, |sent| sent.ciphertext_blob = None, "FailedOperation.DecryptSystemError"),
        ("SM4-GCM", sm4, |sent| sent.tag_list = None, "InvalidParameterValue"),
        (
            "SM4-GCM",
            sm4,
            |sent| sent.tag_list = Some(vec![STANDARD.encode([0; 16])]),
            "FailedOperation.DecryptSystemError",
        ),
    ];
    for (algorithm, vector, spoil, code) in cases {
        let mut sent = encryption(algorithm, vector);
        spoil(&mut sent);
        // More than one block, so that another Iv spoils the padding of a single-block text only by
        // chance.
        let mut name = vector["ciphertext"].as_str().map(str::to_owned);
        let opened = Session::open(&keys, sent).and_then(|session| session.open_fields(&mut [("Name", &mut name)]));
        assert_eq!(opened.map_err(|error| error.code.into_owned()), Err(code.to_owned()));
    }
}

#[test]
fn points_off_the_curve_and_cut_ciphertexts_are_no_key() {
    let vectors = vectors();
    let keys = keys(&vectors);
    let wrapped = bytes(&vectors["sm4_gcm"]["vectors"][0]["wrapped_key"]);
    assert!(sm::decrypt_sm2(keys.sm2(), &wrapped).is_some());
    for length in [0, 1, 64, 65, 96, wrapped.len() - 1] {
        assert_eq!(sm::decrypt_sm2(keys.sm2(), &wrapped[..length]), None, "{length}");
    }
    for at in [5, 70, 100] {
        let mut other = wrapped.clone();
        other[at] ^= 1;
        assert_eq!(sm::decrypt_sm2(keys.sm2(), &other), None, "{at}");
    }
}
