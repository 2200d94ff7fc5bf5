//! The media of a full answer.

use std::collections::HashSet;

use super::*;

/// Every medium of an answer, decoded, by where it stands.
fn media_of(answer: &Value) -> Vec<(String, Vec<u8>)> {
    fn collect(path: &str, value: &Value, media: &mut Vec<(String, Vec<u8>)>) {
        match value {
            // No other text of an answer is nearly as long.
            Value::String(text) if text.len() > 1_000 => {
                media.push((path.to_owned(), STANDARD.decode(text).unwrap()));
            }
            Value::Array(items) => items.iter().for_each(|item| collect(path, item, media)),
            Value::Object(map) => map.iter().for_each(|(name, item)| collect(&format!("{path}/{name}"), item, media)),
            _ => {}
        }
    }
    let mut media = Vec::new();
    collect("", answer, &mut media);
    media
}

/// The hash at the beginning of a mark.
fn hash(text: &str, digits: usize) -> String {
    hex::encode(digest::digest(&digest::SHA256, text.as_bytes()))[..digits].to_owned()
}

fn contains(file: &[u8], text: &str) -> bool {
    file.windows(text.len()).any(|window| window == text.as_bytes())
}

impl Client {
    async fn everything(&self, token: &str, rule_id: &str) -> Value {
        let body = json!({
            "BizToken": token, "RuleId": rule_id, "BestFramesCount": 10, "IsCutIdCardImage": true,
            "IsNeedIdCardAvatar": true, "IsReturnAllVideo": true,
        });
        self.call("GetDetectInfoEnhanced", body).await
    }
}

#[tokio::test]
async fn each_medium_is_marked_as_its_tokens_and_attempts_own() {
    let client = Client::start().await;
    let mut seen = HashSet::new();
    for _ in 0..2 {
        let token = client.token("1").await;
        let path = format!("/tokens/{token}/attempts");
        let failed = client.told(&path, json!({ "code": 2016 })).await["seq"].as_str().unwrap().to_owned();
        let passed = client.told(&path, json!({ "code": 0 })).await["seq"].as_str().unwrap().to_owned();
        let answer = client.everything(&token, "1").await;
        assert_eq!(answer["BestFrame"]["BestFrames"].as_array().unwrap().len(), 10);
        let videos = &answer["VideoData"];
        assert_eq!(videos["LivenessVideo"], videos["LivenessVideos"][1]["Video"]);
        for (at, seq) in [&failed, &passed].into_iter().enumerate() {
            let video = STANDARD.decode(videos["LivenessVideos"][at]["Video"].as_str().unwrap()).unwrap();
            assert!(contains(&video[..200], &(hash(&token, 48) + &hash(seq, 24))));
        }
        let media = media_of(&answer);
        // Five of the card, the best frame and ten more, and three videos of which two are the
        // same.
        assert_eq!(media.len(), 5 + 11 + 3);
        for (path, file) in media {
            assert!(contains(&file[..200], &hash(&token, 48)), "{path}");
            seen.insert(file);
        }
        assert_eq!(media_of(&client.everything(&token, "1").await), media_of(&answer), "asked again, the same");
    }
    assert_eq!(seen.len(), 2 * (5 + 11 + 2));
}

#[tokio::test]
async fn intention_flows_carry_their_media_where_they_are_asked_for() {
    let client = Client::start().await;
    for (rule_id, digit, part, expected) in [
        (
            "3",
            "5",
            "IntentionVerifyData",
            vec!["/IntentionVerifyAudio", "/IntentionVerifyBestFrame", "/IntentionVerifyVideo"],
        ),
        ("4", "6", "IntentionQuestionResult", vec!["/Audios", "/Audios", "/ScreenShot", "/ScreenShot", "/Video"]),
        (
            "5",
            "6",
            "IntentionActionResult",
            vec!["/Details/ScreenShot", "/Details/ScreenShot", "/Details/Video", "/Details/Video"],
        ),
    ] {
        let order = json!({
            "RuleId": rule_id, "Name": NAME, "IdCard": ID_CARD,
            "IntentionQuestions": [{ "Question": "一", "Answers": ["是"] }, { "Question": "二", "Answers": ["是"] }],
            "IntentionActions": [{ "Text": "一" }, { "Text": "二" }],
        });
        let token = client.call("DetectAuth", order).await["BizToken"].as_str().unwrap().to_owned();
        client.told(&format!("/tokens/{token}/attempts"), json!({})).await;
        let ask = async |info_type: &str| {
            let body = json!({ "BizToken": token, "RuleId": rule_id, "InfoType": info_type });
            client.call("GetDetectInfoEnhanced", body).await
        };
        let media = media_of(&ask(digit).await[part]);
        let mut paths: Vec<&str> = media.iter().map(|(path, _)| path.as_str()).collect();
        paths.sort_unstable();
        assert_eq!(paths, expected);
        for (path, file) in &media {
            assert!(contains(&file[..200], &hash(&token, 48)), "{path}");
        }
        let files: HashSet<_> = media.iter().map(|(_, file)| file).collect();
        assert_eq!(files.len(), media.len(), "each question and each nod has its own");
        assert!(!says_something(&ask("1234").await[part]), "{part} is not asked for");
    }
}

#[tokio::test]
async fn liveness_videos_are_as_large_as_a_test_wants_them() {
    let client = Client::start().await;
    let token = client.token("1").await;
    client.told(&format!("/tokens/{token}/attempts"), json!({})).await;
    let length = async || {
        let answer = client.result(&token, "1").await;
        let video = STANDARD.decode(answer["VideoData"]["LivenessVideo"].as_str().unwrap()).unwrap();
        assert_eq!(&video[4..8], b"ftyp");
        assert!(contains(&video[..200], &hash(&token, 48)));
        video.len()
    };
    let default = length().await;
    client.told("/media", json!({ "video_bytes": 5_000_000 })).await;
    assert_eq!(length().await, 5_000_000);
    client.told("/media", json!({ "video_bytes": null })).await;
    assert_eq!(length().await, default);
    client.told("/media", json!({ "video_bytes": 2_000 })).await;
    client.told("/reset", json!({})).await;
    assert!(client.simulator.shared.state().liveness_video.is_none());
}

#[tokio::test]
async fn an_answer_with_media_announces_its_length_and_can_be_cut() {
    let client = Client::start().await;
    let token = client.token("1").await;
    client.told(&format!("/tokens/{token}/attempts"), json!({})).await;
    let ask = json!({ "BizToken": token, "RuleId": "1" }).to_string();
    let whole = client.send("GetDetectInfoEnhanced", &ask).await.unwrap();
    let announced = whole.content_length().unwrap();
    assert_eq!(whole.bytes().await.unwrap().len() as u64, announced);
    client.fault(json!({ "kind": "cut_json" })).await;
    let cut = client.send("GetDetectInfoEnhanced", &ask).await.unwrap().bytes().await.unwrap();
    assert_eq!(cut.len() as u64, announced / 2);
    assert!(serde_json::from_slice::<Value>(&cut).is_err());
}

#[tokio::test]
async fn cards_have_warnings_where_something_is_wrong_with_them() {
    let client = Client::start().await;
    for (code, front, back) in
        [(0, json!([]), json!([])), (301, json!([-9102]), json!([])), (302, json!([]), json!([-9100]))]
    {
        let token = client.token("1").await;
        client.told(&format!("/tokens/{token}/attempts"), json!({ "code": code })).await;
        let card = client.result(&token, "1").await["IdCardData"].take();
        assert_eq!((&card["WarnInfos"], &card["BackWarnInfos"]), (&front, &back), "{code}");
    }
}
