//! How much of a result each view tells.

use crate::harness::{Created, ID_NUMBER, ORDERS, World, by_id, state_name, succeeded};
use faceid_gateway::grpc::pb::{CreateVerificationRequest, GetResultRequest, GetResultResponse, ResultView};
use prost::Message;

async fn passed(world: &World) -> Created {
    let request = CreateVerificationRequest {
        extra: "order 7".into(),
        reference: "order-7".into(),
        labels: [("team".to_owned(), "onboarding".to_owned())].into(),
        ..world.request()
    };
    let created = Created::of(succeeded(world.create(request).await));
    world.attempt(&created, 2016).await;
    world.attempt(&created, 0).await;
    assert_eq!(world.state(&created.id).await, "PASSED");
    created
}

async fn view(world: &World, created: &Created, view: ResultView) -> GetResultResponse {
    let request = GetResultRequest { view: view.into(), ..by_id(&created.id) };
    succeeded(world.result_as(ORDERS, request).await)
}

fn contains(answer: &GetResultResponse, text: &str) -> bool {
    let bytes = answer.encode_to_vec();
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[tokio::test]
async fn full_tells_all() {
    let world = World::start().await;
    let created = passed(&world).await;
    let full = view(&world, &created, ResultView::Full).await;
    let verification = full.verification.as_ref().expect("a verification");
    assert_eq!(verification.reference, "order-7");
    assert_eq!(verification.labels["team"], "onboarding");
    assert_eq!(state_name(verification), "PASSED");
    assert!(verification.settle_time.is_some() && verification.check_time.is_some());

    let result = full.result.expect("a result");
    assert_eq!(result.code, Some(0));
    assert_eq!(result.extra.as_deref(), Some("order 7"));
    assert!(!result.vendor_request_id.is_empty());
    let identity = result.identity.expect("an identity");
    assert_eq!((identity.name.as_deref(), identity.id_number.as_deref()), (Some("张三"), Some(ID_NUMBER)));
    let card = result.id_card.expect("an ID card");
    assert!(card.address.is_some() && card.birth_date.is_some() && card.valid_period.is_some());
    assert_eq!(result.comparison.expect("a comparison").code, Some(0));
    assert_eq!(result.liveness.expect("liveness").code, Some(0));
    let codes: Vec<Option<i64>> = result.attempts.iter().map(|attempt| attempt.code).collect();
    assert_eq!(codes, [Some(2016), Some(0)]);
    assert!(result.attempts.iter().all(|attempt| attempt.charged == Some(true) && attempt.sequence_id.is_some()));
}

#[tokio::test]
async fn masked_is_the_default_and_shows_nobody() {
    let world = World::start().await;
    let created = passed(&world).await;
    for chosen in [ResultView::Unspecified, ResultView::Masked] {
        let masked = view(&world, &created, chosen).await;
        let result = masked.result.as_ref().expect("a result");
        let identity = result.identity.as_ref().expect("an identity");
        assert_eq!(identity.name.as_deref(), Some("张*"));
        assert_eq!(identity.id_number.as_deref(), Some("110***********002X"));
        let card = result.id_card.as_ref().expect("an ID card");
        assert!(card.address.is_none() && card.birth_date.is_none());
        for personal in ["张三", ID_NUMBER, "order 7"] {
            assert!(!contains(&masked, personal), "{personal}");
        }
        assert_eq!(result.attempts.len(), 2);
    }
}

#[tokio::test]
async fn basic_tells_only_where_it_stands() {
    let world = World::start().await;
    let created = passed(&world).await;
    let basic = view(&world, &created, ResultView::Basic).await;
    assert!(basic.result.is_none());
    assert_eq!(basic.verification.expect("a verification").last_attempt.expect("an attempt").code(), 0);
}

#[tokio::test]
async fn before_the_vendor_has_told_anything_there_is_no_result() {
    let world = World::start().await;
    let created = world.created().await;
    assert!(succeeded(world.result(&created.id).await).result.is_none());
}
