//! Bad input: every bad field named, no row written, nothing sent to the vendor.

use crate::harness::{Created, ORDERS, Refusal, World, bearing, by_id, invalid, refused, succeeded};
use faceid_gateway::grpc::pb::{
    CallbackTokens, CreateVerificationRequest, CreateVerificationResponse, GetResultRequest, HandleCallbackRequest,
    IntentionQuestion, IntentionScript, QuestionScript, ReadAloudScript, Subject, get_result_request::Key,
    handle_callback_request::Source, intention_script::Mode,
};
use tonic::{Code, codec::CompressionEncoding};

fn subject(name: &str, id_number: &str) -> Option<Subject> {
    Some(Subject { name: name.into(), id_number: id_number.into() })
}

fn intention(mode: Mode) -> Option<IntentionScript> {
    Some(IntentionScript { mode: Some(mode) })
}

#[tokio::test]
async fn create_names_the_bad_field() {
    const GOOD_ID: &str = "11010519491231002X";
    let world = World::start().await;
    let base = || world.request();
    let photo_flow = || CreateVerificationRequest { flow: "photo".into(), subject: None, ..base() };
    let question = IntentionQuestion { question: "同意？".into(), answers: vec!["同意".into()] };
    let too_long_path = format!("{}{}", world.shop(""), "p".repeat(1024 - world.shop("").len()));

    let cases: Vec<(&str, CreateVerificationRequest, &[&str])> = vec![
        ("unknown flow", CreateVerificationRequest { flow: "nope".into(), ..base() }, &["flow"]),
        ("no flow", CreateVerificationRequest { flow: String::new(), ..base() }, &["flow"]),
        ("no subject", CreateVerificationRequest { subject: None, ..base() }, &["subject.name", "subject.id_number"]),
        ("no name", CreateVerificationRequest { subject: subject("", GOOD_ID), ..base() }, &["subject.name"]),
        ("no ID number", CreateVerificationRequest { subject: subject("张三", ""), ..base() }, &["subject.id_number"]),
        (
            "wrong check digit",
            CreateVerificationRequest { subject: subject("张三", "110105194912310021"), ..base() },
            &["subject.id_number"],
        ),
        (
            "lower-case x",
            CreateVerificationRequest { subject: subject("张三", "11010519491231002x"), ..base() },
            &["subject.id_number"],
        ),
        (
            "name of 33 characters",
            CreateVerificationRequest { subject: subject(&"王".repeat(33), GOOD_ID), ..base() },
            &["subject.name"],
        ),
        (
            "photo that is a GIF",
            CreateVerificationRequest { reference_photo: b"GIF89a".to_vec(), ..photo_flow() },
            &["reference_photo"],
        ),
        (
            "photo over 3 MB after base64",
            CreateVerificationRequest {
                reference_photo: [&[0xFF, 0xD8, 0xFF][..], &vec![0; 3 * 1024 * 1024 / 4 * 3 - 2]].concat(),
                ..photo_flow()
            },
            &["reference_photo"],
        ),
        ("no photo", photo_flow(), &["reference_photo"]),
        (
            "return_url that is no http(s)",
            CreateVerificationRequest { return_url: "weixin://back".into(), ..base() },
            &["return_url"],
        ),
        (
            "return_url not on the list",
            CreateVerificationRequest { return_url: "https://evil.example/".into(), ..base() },
            &["return_url"],
        ),
        (
            "return_url too long after our parameters",
            CreateVerificationRequest { return_url: too_long_path, ..base() },
            &["return_url"],
        ),
        (
            "success_url not on the list, failure_url missing",
            CreateVerificationRequest {
                success_url: "https://evil.example/".into(),
                failure_url: String::new(),
                ..base()
            },
            &["success_url", "failure_url"],
        ),
        ("extra of 1,025", CreateVerificationRequest { extra: "e".repeat(1025), ..base() }, &["extra"]),
        (
            "11 questions",
            CreateVerificationRequest {
                flow: "questions".into(),
                intention: intention(Mode::Questions(QuestionScript {
                    questions: vec![question; 11],
                    ..QuestionScript::default()
                })),
                ..base()
            },
            &["intention.questions.questions"],
        ),
        (
            "text of 121",
            CreateVerificationRequest {
                flow: "read-aloud".into(),
                intention: intention(Mode::ReadAloud(ReadAloudScript { text: "我".repeat(121) })),
                ..base()
            },
            &["intention.read_aloud.text"],
        ),
        (
            "no intention where the flow needs one",
            CreateVerificationRequest { flow: "nods".into(), ..base() },
            &["intention"],
        ),
        (
            "intention without a mode, and another fault",
            CreateVerificationRequest {
                intention: Some(IntentionScript { mode: None }),
                reference: "r".repeat(129),
                ..base()
            },
            &["intention", "reference"],
        ),
        (
            "extra that makes the way back too long",
            CreateVerificationRequest { extra: "订".repeat(1024), ..base() },
            &["extra"],
        ),
        (
            "failure_url alone not on the list",
            CreateVerificationRequest { failure_url: "https://evil.example/".into(), ..base() },
            &["failure_url"],
        ),
        (
            "success_url that is no http(s), failure_url of 2,049",
            CreateVerificationRequest {
                success_url: "javascript:alert(1)".into(),
                failure_url: format!("{}{}", world.shop(""), "p".repeat(2049 - world.shop("").len())),
                ..base()
            },
            &["success_url", "failure_url"],
        ),
        ("blank in request_id", CreateVerificationRequest { request_id: "a b".into(), ..base() }, &["request_id"]),
        ("reference of 129", CreateVerificationRequest { reference: "r".repeat(129), ..base() }, &["reference"]),
        (
            "many at once",
            CreateVerificationRequest {
                flow: "nope".into(),
                subject: subject("\n", "1"),
                return_url: "x".into(),
                extra: "e".repeat(1025),
                labels: [("Ä".to_owned(), String::new())].into(),
                ..base()
            },
            &["flow", "subject.name", "subject.id_number", "return_url", "extra", "labels"],
        ),
    ];
    for (name, request, fields) in cases {
        assert_eq!(refused(world.create(request).await), invalid(fields), "{name}");
    }
    assert_eq!(world.rows("verifications"), 0);
    assert_eq!(world.audited(), 0);
    assert_eq!(world.vendor_calls("DetectAuth").await, 0);
}

#[tokio::test]
async fn a_message_over_the_limit_or_no_message_at_all() {
    let world = World::start().await;
    let huge = CreateVerificationRequest { reference_photo: vec![0; 5 * 1024 * 1024], ..world.request() };
    assert_eq!(refused(world.create(huge.clone()).await), invalid(&["(message)"]));
    let compressed = world.client().send_compressed(CompressionEncoding::Gzip);
    let answer = { compressed }.create_verification(bearing(ORDERS, huge)).await;
    assert_eq!(refused(answer), invalid(&["(message)"]), "compressed it is small");

    let mut raw = tonic::client::Grpc::new(world.channel.clone());
    raw.ready().await.expect("connected");
    let path = "/faceid.v1.VerificationService/CreateVerification".parse().expect("a path");
    // Field 2 of this message is bytes that are no UTF-8; the contract has a string there.
    let other = prost_types::Any { type_url: String::new(), value: vec![0xFF, 0xFE] };
    let codec = tonic_prost::ProstCodec::<prost_types::Any, CreateVerificationResponse>::default();
    assert_eq!(refused(raw.unary(bearing(ORDERS, other), path, codec).await), invalid(&["(message)"]));
    let long = "x".repeat(5 * 1024 * 1024);
    assert_eq!(refused(world.callback(&long).await), invalid(&["(message)"]));
    assert_eq!(refused(world.result(&long).await), invalid(&["(message)"]));
    assert_eq!((world.rows("verifications"), world.audited()), (0, 0));
    assert_eq!(world.vendor_calls("DetectAuth").await + world.vendor_calls("GetDetectInfoEnhanced").await, 0);
}

#[tokio::test]
async fn a_callback_that_cannot_be_read_names_what_is_wrong() {
    let world = World::start().await;
    let created = world.created().await;
    let good = world.attempt(&created, 0).await;
    let query = good.split_once('?').expect("a query").1;
    let without =
        |parameter: &str| query.split('&').filter(|pair| !pair.starts_with(parameter)).collect::<Vec<_>>().join("&");

    let calls = world.vendor_calls("GetDetectInfoEnhanced").await;
    for (name, callback, fields) in [
        ("no token", without("BizToken"), vec!["callback_url[BizToken]"]),
        ("no MAC", without("faceid_mac"), vec!["callback_url[faceid_mac]"]),
        ("another token too", format!("{query}&BizToken=OTHER"), vec!["callback_url[BizToken]"]),
        ("doubled id", format!("{query}&faceid_verification_id=1"), vec!["callback_url[faceid_verification_id]"]),
        ("doubled MAC", format!("{query}&faceid_mac=AAAA"), vec!["callback_url[faceid_mac]"]),
        ("10,000 characters", format!("{query}&x={}", "y".repeat(10_000)), vec!["callback_url"]),
        (
            "an id that is not one, a MAC that is not one",
            format!("faceid_verification_id=7&faceid_mac=!&BizToken={}", created.token),
            vec!["callback_url[faceid_verification_id]", "callback_url[faceid_mac]"],
        ),
        (
            "nothing",
            String::new(),
            vec!["callback_url[faceid_verification_id]", "callback_url[faceid_mac]", "callback_url[BizToken]"],
        ),
    ] {
        assert_eq!(refused(world.callback(&callback).await), invalid(&fields), "{name}");
        let (status, ..) = world.get(&world.http_url(&format!("/callback?{callback}"))).await;
        assert_eq!(status, 400, "{name}");
    }
    let tokens = Source::Tokens(CallbackTokens { verification_id: "7".into(), biz_token: "a b".into() });
    let fields = ["tokens.verification_id", "tokens.biz_token"];
    assert_eq!(refused(world.callback_as(ORDERS, tokens).await), invalid(&fields));
    let nothing = bearing(ORDERS, HandleCallbackRequest { source: None });
    assert_eq!(refused(world.client().handle_callback(nothing).await), invalid(&["source"]));
    assert_eq!(world.vendor_calls("GetDetectInfoEnhanced").await, calls);
    assert_eq!(world.stored_state(&created.id).await, "pending");
    assert_eq!(world.audit(&created.id).await, ["orders created"]);
}

#[tokio::test]
async fn a_callback_that_is_not_bound_changes_nothing_and_is_audited() {
    let world = World::start().await;
    let (one, other) = (world.created().await, world.created().await);
    let good = world.attempt(&one, 0).await;
    let calls = world.vendor_calls("GetDetectInfoEnhanced").await;
    let version = || world.count("SELECT sum(version) FROM verifications");
    let version_before = version();

    let not_bound = |field: &str| Refusal { reason: "CALLBACK_NOT_BOUND".into(), ..invalid(&[field]) };
    let with_others_token = good.replace(&one.token, &other.token);
    assert_eq!(refused(world.callback(&with_others_token).await), not_bound("callback_url[BizToken]"));
    assert_eq!(world.get(&with_others_token).await.0, 400);
    let with_others_id = good.replace(&one.id, &other.id);
    assert_eq!(refused(world.callback(&with_others_id).await), not_bound("callback_url[faceid_mac]"));
    let (before_mac, mac) = good.split_once("faceid_mac=").expect("a MAC");
    let flipped = if mac.starts_with('A') { 'B' } else { 'A' };
    for broken in [format!("{flipped}{}", &mac[1..]), mac[mac.find('&').expect("more")..].to_owned()] {
        let with_broken_mac = format!("{before_mac}faceid_mac={broken}");
        assert_eq!(refused(world.callback(&with_broken_mac).await), not_bound("callback_url[faceid_mac]"));
    }
    let made_up_id = good.replace(&one.id, "01a20c39-f179-7714-bb52-7f22ca46238b");
    assert_eq!(refused(world.callback(&made_up_id).await), not_bound("callback_url[faceid_mac]"));
    let tokens = CallbackTokens { verification_id: one.id.clone(), biz_token: other.token.clone() };
    assert_eq!(refused(world.callback_as(ORDERS, Source::Tokens(tokens)).await), not_bound("tokens.biz_token"));

    assert_eq!(version(), version_before, "no row has changed");
    assert_eq!(world.vendor_calls("GetDetectInfoEnhanced").await, calls);
    assert_eq!(
        world.audit(&one.id).await,
        ["orders created", "orders callback_refused", "browser callback_refused"],
        "one line a minute and visitor"
    );
    world.advance(61).await;
    assert_eq!(world.get(&with_others_token).await.0, 400);
    assert_eq!(world.audit(&one.id).await.len(), 4);
    // Written after the answer: a MAC that is wrong is refused before anybody looks for the
    // verification.
    world.until("the refusal", async || world.audit(&other.id).await.len() == 2).await;
    assert_eq!(world.audit(&other.id).await, ["orders created", "orders callback_refused"]);
    assert!(world.get(&good).await.2.starts_with(&world.shop("welcome")), "the true one still works");
}

#[tokio::test]
async fn a_result_is_asked_for_by_a_key_that_is_one() {
    let world = World::start().await;
    for id in ["", "7", "01A20C39-F179-7714-BB52-7F22CA46238B", &"9".repeat(10_000)] {
        assert_eq!(refused(world.result(id).await), invalid(&["verification_id"]), "{id:.40}");
    }
    assert_eq!(refused(world.result_as(ORDERS, GetResultRequest::default()).await), invalid(&["key"]));
    for token in ["", "a b", "漢", &"9".repeat(10_000)] {
        let by_token = GetResultRequest { key: Some(Key::BizToken(token.into())), ..GetResultRequest::default() };
        assert_eq!(refused(world.result_as(ORDERS, by_token).await), invalid(&["biz_token"]), "{token:.40}");
    }
    let wait = Some(prost_types::Duration { seconds: 61, nanos: 0 });
    let all_wrong = GetResultRequest { view: 99, wait, ..by_id("7") };
    assert_eq!(refused(world.result_as(ORDERS, all_wrong).await), invalid(&["view", "verification_id", "wait"]));
    assert_eq!(world.vendor_calls("GetDetectInfoEnhanced").await, 0);
    let unknown = refused(world.result("01a20c39-f179-7714-bb52-7f22ca46238b").await);
    assert_eq!((unknown.code, unknown.reason.as_str()), (Code::NotFound, "VERIFICATION_NOT_FOUND"));
}

#[tokio::test]
async fn one_bad_call_does_not_harm_the_next() {
    let world = World::start().await;
    refused(world.create(CreateVerificationRequest { flow: "nope".into(), ..world.request() }).await);
    let created = Created::of(succeeded(world.create(world.request()).await));
    assert_eq!(world.state(&created.id).await, "PENDING");
}
