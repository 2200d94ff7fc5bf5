//! The parameters of a GET: flat names such as `Encryption.EncryptList.0`, and every value a text.

use serde_json::{Map, Value};

const NUMBERS: [&str; 4] = ["BestFramesCount", "Cursor", "IntentionType", "Speed"];
const FLAGS: [&str; 7] = [
    "IntentionRecognition",
    "IsCutIdCardImage",
    "IsEncrypt",
    "IsEncryptResponse",
    "IsNeedIdCardAvatar",
    "IsReturnAllVideo",
    "MouthOpenRecognition",
];

/// How deep parameters are nested at most; the vendor's reach a depth of four.
const MAX_DEPTH: usize = 8;

/// The body of the POST that asks the same. A value that does not fit its parameter is left a text,
/// for the action to refuse.
pub(super) fn to_json(query: &str) -> Vec<u8> {
    let mut parameters = Value::Object(Map::new());
    for (path, value) in url::form_urlencoded::parse(query.as_bytes()) {
        let mut place = &mut parameters;
        for name in path.splitn(MAX_DEPTH, '.') {
            if !place.is_object() {
                *place = Value::Object(Map::new());
            }
            place = &mut place[name];
        }
        *place = typed(path.rsplit('.').next().unwrap_or_default(), &value);
    }
    lists(&mut parameters);
    parameters.to_string().into_bytes()
}

fn typed(name: &str, value: &str) -> Value {
    let text = || Value::from(value);
    if NUMBERS.contains(&name) {
        value.parse::<i64>().map_or_else(|_| text(), Value::from)
    } else if FLAGS.contains(&name) {
        value.to_ascii_lowercase().parse::<bool>().map_or_else(|_| text(), Value::from)
    } else {
        text()
    }
}

/// Objects whose names are 0, 1, 2 … are lists.
fn lists(value: &mut Value) {
    let Value::Object(fields) = value else { return };
    fields.values_mut().for_each(lists);
    let items: Option<Vec<Value>> = (0..fields.len()).map(|n| fields.get(&n.to_string()).cloned()).collect();
    if let Some(items) = items.filter(|items| !items.is_empty()) {
        *value = Value::Array(items);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flat_parameters_become_the_json_of_a_post() {
        let query = "RuleId=1&Name=%E9%9F%A6&Cursor=0&IsEncrypt=True&IntentionActions.1.Text=b&IntentionActions.0.Text=a\
                     &Encryption.EncryptList.0=Name&Config.Speed=2";
        let expected = serde_json::json!({
            "RuleId": "1", "Name": "韦", "Cursor": 0, "IsEncrypt": true,
            "IntentionActions": [{ "Text": "a" }, { "Text": "b" }],
            "Encryption": { "EncryptList": ["Name"] }, "Config": { "Speed": 2 },
        });
        assert_eq!(serde_json::from_slice::<Value>(&to_json(query)).unwrap(), expected);
    }

    #[test]
    fn what_contradicts_itself_is_no_panic() {
        for query in ["", "A=1&A.B=2", "A.0=1&A.x=2", ".=1", "Cursor=x", "A.B=1&A=2"] {
            assert!(serde_json::from_slice::<Value>(&to_json(query)).unwrap().is_object(), "{query}");
        }
    }
}
