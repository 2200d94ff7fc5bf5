//! The vendor's ledger and its quota.

use super::*;

const DAY_S: i64 = 86_400;
const BEIJING_S: i64 = 8 * 3600;

impl Client {
    /// Moves the clock on to this hour in Beijing and tells the date there.
    async fn move_to_hour(&self, hour: i64) -> String {
        let now_s = self.simulator.shared.clock.now_ms() / 1000;
        let second_of_day = (now_s + BEIJING_S).rem_euclid(DAY_S);
        let advance_s = (hour * 3600 - second_of_day).rem_euclid(DAY_S);
        self.told("/clock", json!({ "advance_s": advance_s })).await;
        let now = jiff::Timestamp::from_second(now_s + advance_s).unwrap();
        jiff::tz::offset(8).to_datetime(now).date().to_string()
    }

    async fn charged_token(&self, rule_id: &str, codes: &[i64]) -> String {
        let token = self.token(rule_id).await;
        for code in codes {
            self.told(&format!("/tokens/{token}/attempts"), json!({ "code": code })).await;
        }
        token
    }

    async fn bill(&self, date: &str, cursor: i64) -> Value {
        self.call("GetWeChatBillDetails", json!({ "Date": date, "Cursor": cursor })).await
    }

    /// The tokens of a whole bill with their numbers of charges.
    async fn billed(&self, date: &str) -> Vec<(String, u64)> {
        let (mut billed, mut cursor) = (Vec::new(), 0);
        loop {
            let page = self.bill(date, cursor).await;
            let tokens = page["WeChatBillDetails"].as_array().unwrap_or_else(|| panic!("{page}"));
            billed.extend(
                tokens.iter().map(|token| {
                    (token["BizToken"].as_str().unwrap().to_owned(), token["ChargeCount"].as_u64().unwrap())
                }),
            );
            if page["HasNextPage"] == false {
                return billed;
            }
            cursor = page["NextCursor"].as_i64().unwrap();
        }
    }
}

#[tokio::test]
async fn the_bill_has_what_was_charged_and_nothing_else() {
    let client = Client::start().await;
    let date = client.move_to_hour(12).await;
    let passed = client.charged_token("1", &[1004, 2016, 0]).await;
    client.charged_token("1", &[1004]).await;
    client.token("1").await;
    assert_eq!(
        client.code("GetWeChatBillDetails", json!({ "Date": date, "Cursor": 0 })).await,
        "FailedOperation.UnKnown"
    );
    client.move_to_hour(6).await;

    let bill = client.bill(&date, 0).await;
    assert_eq!((&bill["HasNextPage"], &bill["NextCursor"]), (&json!(false), &json!(1)));
    assert_eq!(bill["WeChatBillDetails"].as_array().unwrap().len(), 1);
    let token = &bill["WeChatBillDetails"][0];
    assert_eq!((&token["BizToken"], &token["RuleId"], &token["ChargeCount"]), (&json!(passed), &json!("1"), &json!(2)));

    let text = client.result(&passed, "1").await["Text"].take();
    let details = text["LivenessDetail"].as_array().unwrap();
    let charges = token["ChargeDetails"].as_array().unwrap();
    for (charge, detail) in charges.iter().zip(&details[1..]) {
        for (name, expected) in [
            ("ReqTime", detail["ReqTime"].clone()),
            ("Seq", detail["Seq"].clone()),
            ("IdCard", json!("1****************X")),
            ("Name", json!("**宝")),
            ("Sim", detail["Sim"].clone()),
            ("IsNeedCharge", json!(true)),
            ("ChargeType", json!("核身")),
            ("ErrorCode", json!(detail["Errcode"].to_string())),
            ("ErrorMessage", detail["Errmsg"].clone()),
        ] {
            assert_eq!(charge[name], expected, "{name}");
        }
        assert_eq!(charge.as_object().unwrap().len(), 9);
    }
}

#[tokio::test]
async fn the_bill_outlives_the_results_and_keeps_its_days_apart() {
    let client = Client::start().await;
    let date = client.move_to_hour(23).await;
    let token = client.charged_token("1", &[2016]).await;
    let next_date = client.move_to_hour(0).await;
    assert_ne!(date, next_date);
    client.told(&format!("/tokens/{token}/attempts"), json!({ "code": 0 })).await;
    client.told("/clock", json!({ "advance_s": 300 * DAY_S })).await;
    assert_eq!(client.billed(&date).await, [(token.clone(), 1)]);
    assert_eq!(client.billed(&next_date).await, [(token.clone(), 1)]);
    let ask = json!({ "BizToken": token, "RuleId": "1" });
    assert_eq!(client.code("GetDetectInfoEnhanced", ask).await, "InvalidParameterValue.BizTokenExpired");
}

#[tokio::test]
async fn the_bill_comes_in_pages() {
    let client = Client::start().await;
    client.told("/bill", json!({ "page_size": 2 })).await;
    let date = client.move_to_hour(12).await;
    let mut tokens = Vec::new();
    for rule_id in ["1", "3", "1", "1", "3"] {
        client.token(rule_id).await;
        tokens.push((client.charged_token(rule_id, &[0]).await, 1));
    }
    client.move_to_hour(7).await;

    let first = client.bill(&date, 0).await;
    assert_eq!((&first["HasNextPage"], first["WeChatBillDetails"].as_array().unwrap().len()), (&json!(true), 2));
    assert_eq!(client.billed(&date).await, tokens);
    let behind_the_end = client.bill(&date, 1000).await;
    assert_eq!(behind_the_end["WeChatBillDetails"], json!([]));
    assert_eq!((&behind_the_end["HasNextPage"], &behind_the_end["NextCursor"]), (&json!(false), &json!(1000)));

    let of_rule_3 = client.call("GetWeChatBillDetails", json!({ "Date": date, "Cursor": 0, "RuleId": "3" })).await;
    let of_rule_3: Vec<_> = of_rule_3["WeChatBillDetails"].as_array().unwrap().iter().map(|t| &t["BizToken"]).collect();
    assert_eq!(of_rule_3, [&tokens[1].0, &tokens[4].0]);
}

#[tokio::test]
async fn the_bill_can_be_made_to_differ_from_the_results() {
    let client = Client::start().await;
    let date = client.move_to_hour(12).await;
    let dropped = client.charged_token("1", &[0]).await;
    let twice = client.charged_token("1", &[0]).await;
    let never_tried = client.token("1").await;
    assert_eq!(client.told(&format!("/bill/{dropped}"), json!({ "drop": true })).await["charges"], json!([]));
    client.told(&format!("/bill/{twice}"), json!({ "extra_charges": 1 })).await;
    client.told(&format!("/bill/{never_tried}"), json!({ "extra_charges": 2 })).await;
    let extra = client.told("/bill", json!({ "extra_token": { "rule_id": "1", "charges": 2 } })).await;
    let unknown = extra["biz_token"].as_str().unwrap().to_owned();
    client.move_to_hour(6).await;
    assert_eq!(client.billed(&date).await, [(twice.clone(), 2), (never_tried.clone(), 2), (unknown, 2)]);

    let result = client.result(&twice, "1").await;
    assert_eq!(result["Text"]["LivenessDetail"].as_array().unwrap().len(), 1, "the result knows nothing of it");
    client.told(&format!("/bill/{dropped}"), json!({ "drop": false })).await;
    assert_eq!(client.billed(&date).await[0], (dropped, 1));
}

#[tokio::test]
async fn the_bill_can_have_the_same_charges_under_other_seqs() {
    let client = Client::start().await;
    let date = client.move_to_hour(12).await;
    let token = client.charged_token("1", &[2016, 0]).await;
    client.told(&format!("/bill/{token}"), json!({ "other_seqs": true })).await;
    client.move_to_hour(6).await;
    let seqs = |charges: &Value| charges.as_array().unwrap().iter().map(|c| c["Seq"].clone()).collect::<Vec<_>>();
    let billed = seqs(&client.bill(&date, 0).await["WeChatBillDetails"][0]["ChargeDetails"]);
    let told = seqs(&client.result(&token, "1").await["Text"]["LivenessDetail"]);
    assert_eq!((billed.len(), told.len()), (2, 2));
    assert!(billed.iter().all(|seq| seq.is_string() && !told.contains(seq)));
}

#[tokio::test]
async fn bad_requests_for_a_bill_get_the_vendors_codes() {
    let client = Client::start().await;
    for (name, value, expected) in [
        ("Date", Value::Null, "InvalidParameter"),
        ("Date", json!("2999-01-01"), "InvalidParameterValue"),
        ("Date", json!("2020-01-01"), "InvalidParameterValue"),
        ("Date", json!("yesterday"), "InvalidParameterValue"),
        ("Cursor", json!(-1), "InvalidParameterValue"),
        ("Cursor", json!("0"), "InvalidParameter"),
        ("RuleId", json!("9"), "InvalidParameterValue.RuleIdNotExist"),
        ("RuleId", json!(""), "OK"),
        ("Page", json!(1), "UnknownParameter"),
    ] {
        client.move_to_hour(12).await;
        let now_s = client.simulator.shared.clock.now_ms() / 1000;
        let yesterday = jiff::Timestamp::from_second(now_s - DAY_S).unwrap();
        let mut body = json!({ "Date": yesterday.strftime("%Y-%m-%d").to_string(), "Cursor": 0 });
        body[name] = value;
        assert_eq!(client.code("GetWeChatBillDetails", body.clone()).await, expected, "{body}");
    }
    let no_cursor = json!({ "Date": "2026-01-01" });
    assert_eq!(client.code("GetWeChatBillDetails", no_cursor).await, "MissingParameter");
}

#[tokio::test]
async fn calls_beyond_the_quota_are_refused_and_counted() {
    let client = Client::start().await;
    client.told("/quota", json!({ "per_second": 1 })).await;
    client.told("/clock", json!({ "advance_s": 60 })).await;
    let auth = || json!({ "RuleId": "1", "Name": NAME, "IdCard": ID_CARD });
    // Unless the machine stands still, some two of them lie within a second.
    let mut codes = Vec::new();
    for _ in 0..5 {
        codes.push(client.code("DetectAuth", auth()).await);
    }
    assert_eq!(codes[0], "OK");
    let refused = codes.iter().filter(|code| *code == "RequestLimitExceeded").count();
    assert!(refused >= 1, "{codes:?}");
    let bad = json!({ "BizToken": "NONE", "RuleId": "1" });
    assert_eq!(client.code("GetDetectInfoEnhanced", bad).await, "InvalidParameter");
    assert_eq!(client.told("/calls", Value::Null).await["DetectAuth"]["RequestLimitExceeded"], refused);
    assert_eq!(client.told("/state", Value::Null).await["quota_per_second"], 1);

    client.told("/quota", json!({ "per_second": null })).await;
    for _ in 0..3 {
        assert_eq!(client.code("DetectAuth", auth()).await, "OK");
    }
}

#[tokio::test]
async fn the_control_port_refuses_what_no_bill_can_be() {
    let client = Client::start().await;
    let token = format!("/bill/{}", client.token("1").await);
    for (path, body, expected) in [
        ("/bill", json!({}), StatusCode::BAD_REQUEST),
        ("/bill", json!({ "page_size": 0 }), StatusCode::BAD_REQUEST),
        ("/bill", json!({ "extra_token": { "rule_id": "9", "charges": 1 } }), StatusCode::BAD_REQUEST),
        ("/bill", json!({ "extra_token": { "rule_id": "1", "charges": 6 } }), StatusCode::BAD_REQUEST),
        (token.as_str(), json!({}), StatusCode::BAD_REQUEST),
        (token.as_str(), json!({ "extra_charges": 101 }), StatusCode::BAD_REQUEST),
        ("/bill/NONE", json!({ "drop": true }), StatusCode::NOT_FOUND),
        ("/quota", json!({}), StatusCode::BAD_REQUEST),
        ("/quota", json!({ "per_second": 0 }), StatusCode::BAD_REQUEST),
        ("/media", json!({}), StatusCode::BAD_REQUEST),
        ("/media", json!({ "video_bytes": 10 }), StatusCode::BAD_REQUEST),
    ] {
        let (status, answer) = client.control(path, body).await;
        assert_eq!(status, expected, "{path}: {answer}");
        assert!(answer["error"].is_string());
    }
}
