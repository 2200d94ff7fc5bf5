//! The forms of an answer, and the ways of asking for it. The published form is held against the
//! vendor's own examples in `tests/outside`.

use super::*;

impl Client {
    async fn shape(&self, shape: &str) {
        self.told("/shape", json!({ "shape": shape })).await;
    }

    /// A token on which an attempt passed, and its Seq.
    async fn passed_token(&self, rule_id: &str) -> (String, String) {
        let token = self.token(rule_id).await;
        let attempt = self.told(&format!("/tokens/{token}/attempts"), json!({})).await;
        (token, attempt["seq"].as_str().unwrap().to_owned())
    }
}

#[tokio::test]
async fn a_flow_without_a_card_reads_none() {
    let client = Client::start().await;
    let (token, _) = client.passed_token("6").await;
    let answer = client.result(&token, "6").await;
    assert!(!says_something(&answer["IdCardData"]));
    let text = &answer["Text"];
    assert_eq!((&text["ErrCode"], &text["OcrName"], &text["OcrAddress"]), (&json!(0), &json!(""), &Value::Null));
    assert_eq!((&text["Name"], &text["IdCard"]), (&json!(NAME), &json!(ID_CARD)));
}

#[tokio::test]
async fn an_answer_changes_its_form_and_not_what_it_says() {
    let client = Client::start().await;
    let (token, _) = client.passed_token("3").await;
    let mut told = Vec::new();
    for shape in ["nulls", "published", "sparse"] {
        client.shape(shape).await;
        let answer = client.result(&token, "3").await;
        assert_eq!((&answer["Text"]["ErrCode"], &answer["IsVerifyIntention"]), (&json!(0), &json!(true)), "{shape}");
        assert_eq!(answer["IntentionVerifyData"]["ErrorCode"], 0, "{shape}");
        told.push((answer["Text"]["Sim"].clone(), answer["BestFrame"]["BestFrame"].clone()));
        let has_objects_of_nothing = answer["IntentionQuestionResult"].is_object();
        assert_eq!(has_objects_of_nothing, shape == "published");
        assert_eq!(answer.as_object().unwrap().contains_key("IntentionActionResult"), shape != "sparse");
    }
    assert!(told.iter().all(|one| *one == told[0]));
}

#[tokio::test]
async fn an_odd_answer_holds_the_same_media_in_other_writings() {
    let client = Client::start().await;
    let (token, seq) = client.passed_token("1").await;
    let ask = json!({ "BizToken": token, "RuleId": "1", "BestFramesCount": 2, "IsReturnAllVideo": true });
    let plain = client.call("GetDetectInfoEnhanced", ask.clone()).await;
    client.shape("odd").await;
    let odd = client.call("GetDetectInfoEnhanced", ask).await;
    let card = |answer: &Value, part: &str| answer["IdCardData"][part].as_str().unwrap().to_owned();
    let (front, back) = (card(&odd, "OcrFront"), card(&odd, "OcrBack"));
    assert!(front.contains("\r\n"));
    assert_eq!(front.replace("\r\n", ""), card(&plain, "OcrFront"));
    assert_eq!(back, card(&plain, "OcrBack").trim_end_matches('='));
    let best = odd["BestFrame"]["BestFrame"].as_str().unwrap();
    assert_eq!(best.strip_prefix("data:image/jpeg;base64,"), plain["BestFrame"]["BestFrame"].as_str());
    assert_eq!(odd["VideoData"]["LivenessVideos"], json!([{ "Seq": "", "Video": format!("{token}/{seq}.mp4") }]));
    assert_eq!(odd["Text"]["LivenessDetail"][0]["ReqTime"].as_str().unwrap().len(), 10);
}

#[tokio::test]
async fn videos_of_all_attempts_can_be_in_a_bucket_or_refused() {
    let client = Client::start().await;
    let (token, seq) = client.passed_token("1").await;
    let ask = |all: bool| json!({ "BizToken": token, "RuleId": "1", "InfoType": "4", "IsReturnAllVideo": all });
    client.told("/storage", json!({ "videos": "cos" })).await;
    let videos = client.call("GetDetectInfoEnhanced", ask(true)).await["VideoData"].take();
    let reference = videos["LivenessVideos"][0]["Video"].as_str().unwrap();
    assert!(reference.starts_with("https://") && reference.ends_with(&format!("/{token}/{seq}.mp4")));
    assert!(videos["LivenessVideo"].as_str().unwrap().len() > 1_000, "the last one is in the answer");

    client.told("/storage", json!({ "videos": "unauthorized" })).await;
    assert_eq!(client.code("GetDetectInfoEnhanced", ask(true)).await, "FailedOperation.StsUnAuthErrError");
    assert_eq!(client.code("GetDetectInfoEnhanced", ask(false)).await, "OK");
    client.told("/reset", json!({})).await;
    let state = client.told("/state", Value::Null).await;
    assert_eq!((&state["storage"], &state["shape"]), (&json!("inline"), &json!("published")));
}

#[tokio::test]
async fn a_get_is_answered_with_a_request_id_whatever_it_is() {
    let client = Client::start().await;
    let (status, text) = client.page("/?RuleId=1").await;
    let answer: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(status, StatusCode::OK);
    assert_eq!(answer["Response"]["Error"]["Code"], "MissingParameter");
    assert!(answer["Response"]["RequestId"].is_string());
}
