//! The conformance suite of [`Store`]: what every implementation must do. One more implementation is one more function here.

use faceid_gateway::store::{
    Creation, Store,
    row::{
        AttemptRow, AuditRow, ChargeRow, Effects, ListFilter, NewEvent, NewJob, NewRow, ProgressRow, UsageDay,
        UsageFilter,
    },
    sqlite::SqliteStore,
};
use std::{path::Path, sync::Arc};
use tempfile::TempDir;

#[tokio::test]
async fn sqlite() {
    let folder = TempDir::new().expect("temporary folder");
    conforms(&|| open(folder.path())).await;
}

#[tokio::test]
async fn sqlite_refuses_a_file_that_is_no_database() {
    let folder = TempDir::new().expect("temporary folder");
    std::fs::write(folder.path().join("gateway.db"), "not a database, and long enough to be sure of it".repeat(100))
        .expect("a file");
    let error = SqliteStore::open(&folder.path().join("gateway.db")).err().expect("refused");
    assert!(error.to_string().contains("not a database"), "{error}");
}

#[tokio::test]
async fn sqlite_keeps_the_database_to_its_user() {
    use std::os::unix::fs::PermissionsExt;
    let folder = TempDir::new().expect("temporary folder");
    let _store = open(folder.path());
    for file in std::fs::read_dir(folder.path()).expect("folder").map(|entry| entry.expect("entry")) {
        let mode = file.metadata().expect("metadata").permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{:?}", file.file_name());
    }
}

#[tokio::test]
async fn sqlite_leaves_nothing_of_what_was_erased_in_its_files() {
    let folder = TempDir::new().expect("temporary folder");
    let store = open(folder.path());
    let sentinel = "ciphertext-to-be-erased".repeat(400);
    for id in ["a", "b", "c"] {
        let made = NewRow { sealed_subject: sentinel.clone().into_bytes(), ..row(id, None) };
        create(&*store, made).await;
        let told = ProgressRow { sealed_result: Some(sentinel.clone().into_bytes()), ..ProgressRow::pending() };
        assert!(store.advance(id, 1, told, Effects::default()).await.expect("answers"));
    }
    let found = || {
        let files = std::fs::read_dir(folder.path()).expect("folder").map(|entry| entry.expect("entry").path());
        files
            .map(|file| std::fs::read(file).expect("a file"))
            .any(|bytes| bytes.windows(23).any(|window| window == b"ciphertext-to-be-erased"))
    };
    assert!(found(), "it was there");
    for id in ["a", "b", "c"] {
        assert!(store.redact(id, 2, 1, false, Effects::default()).await.expect("answers"));
    }
    store.scrub().await.expect("answers");
    assert!(!found());
}

fn open(folder: &Path) -> Arc<dyn Store> {
    Arc::new(SqliteStore::open(&folder.join("gateway.db")).expect("store opens"))
}

/// `open` opens the same store anew: what was acknowledged is there again.
async fn conforms(open: &dyn Fn() -> Arc<dyn Store>) {
    let store = open();
    store.ping().await.expect("answers");
    creates_once_per_request_id(&*store).await;
    many_at_once_create_one(&store).await;
    advances_only_the_expected_version(&*store).await;
    finds_by_any_of_the_hashes(&*store).await;
    a_refused_write_takes_nothing_with_it(&store).await;
    keeps_credentials(&*store).await;
    appends_to_the_audit_trail(&*store).await;
    pages_are_stable_under_writes(&*store).await;
    leases_jobs_once_and_gives_them_back(&store).await;
    tells_events_in_order_and_signals_them(&*store).await;
    keeps_each_attempt_once(&*store).await;
    adds_usage_up_by_day(&*store).await;
    redaction_empties_what_is_sealed(&*store).await;
    drop(store);

    let store = open();
    assert!(store.find("one").await.expect("answers").is_some(), "an acknowledged row is gone");
    assert_eq!(store.find_credential("main").await.expect("answers").as_deref(), Some(&b"second"[..]));
}

async fn creates_once_per_request_id(store: &dyn Store) {
    let made = row("one", Some("r-1"));
    assert!(matches!(create(store, made.clone()).await, Creation::Created));
    let Creation::Found(found) = create(store, NewRow { id: "one-again".into(), ..row("x", Some("r-1")) }).await else {
        panic!("the request id was taken twice")
    };
    assert_eq!((found.made, found.version, found.progress), (made.clone(), 1, ProgressRow::pending()));
    assert!(store.find("one-again").await.expect("answers").is_none());
    let found = store.find_by_request_id("orders", "r-1").await.expect("answers").expect("a row");
    assert_eq!(found.made, made);
    assert!(store.find_by_request_id("loans", "r-1").await.expect("answers").is_none());
    let others = NewRow { caller: "loans".into(), ..row("others", Some("r-1")) };
    assert!(matches!(create(store, others).await, Creation::Created));
    for id in ["without-1", "without-2"] {
        assert!(matches!(create(store, row(id, None)).await, Creation::Created), "rows without request id are free");
    }
}

async fn many_at_once_create_one(store: &Arc<dyn Store>) {
    let tasks: Vec<_> = (0..32)
        .map(|i| {
            let store = Arc::clone(store);
            tokio::spawn(async move { create(&*store, row(&format!("many-{i}"), Some("r-many"))).await })
        })
        .collect();
    let mut created = 0;
    for task in tasks {
        created += i32::from(matches!(task.await.expect("no panic"), Creation::Created));
    }
    assert_eq!(created, 1);
}

async fn advances_only_the_expected_version(store: &dyn Store) {
    create(store, row("advance", None)).await;
    let passed = ProgressRow {
        state: "passed".into(),
        settled_at_ms: Some(2_000),
        checked_at_ms: Some(2_000),
        check_request_id: Some("vendor-2".into()),
        last_attempt_code: Some(0),
        last_attempt_at_ms: Some(1_900),
        attempts_exhausted: true,
        result_lost: true,
        sealed_result: Some(vec![1, 2, 3]),
    };
    assert!(
        !store.advance("advance", 2, passed.clone(), Effects::default()).await.expect("answers"),
        "no such version yet"
    );
    assert!(store.advance("advance", 1, passed.clone(), Effects::default()).await.expect("answers"));
    assert!(
        !store.advance("advance", 1, ProgressRow::pending(), Effects::default()).await.expect("answers"),
        "the version is past"
    );
    assert!(!store.advance("nobody", 1, passed.clone(), Effects::default()).await.expect("answers"));
    let found = store.find("advance").await.expect("answers").expect("a row");
    assert_eq!((found.version, found.progress), (2, passed));
}

async fn finds_by_any_of_the_hashes(store: &dyn Store) {
    create(store, row("hashed", None)).await;
    let hashes = vec![b"other".to_vec(), b"hash of hashed".to_vec()];
    let found = store.find_by_token_hash(hashes).await.expect("answers").expect("a row");
    assert_eq!(found.made.id, "hashed");
    assert!(store.find_by_token_hash(vec![b"other".to_vec()]).await.expect("answers").is_none());
    assert!(store.find_by_token_hash(vec![]).await.expect("answers").is_none());
}

async fn a_refused_write_takes_nothing_with_it(store: &Arc<dyn Store>) {
    create(&**store, row("token-owner", None)).await;
    let same_token = NewRow { token_hash: b"hash of token-owner".to_vec(), ..row("token-thief", None) };
    let (thief, honest) = tokio::join!(
        store.create_or_find(same_token, effects("token-thief")),
        store.create_or_find(row("honest", None), effects("honest")),
    );
    assert!(thief.is_err(), "one token, two verifications");
    assert!(matches!(honest.expect("answers"), Creation::Created));
    assert!(store.find("honest").await.expect("answers").is_some());
    assert!(store.audit_of("token-thief").await.expect("answers").is_empty(), "half of a refused write stayed");
}

async fn keeps_credentials(store: &dyn Store) {
    assert!(store.find_credential("main").await.expect("answers").is_none());
    for sealed in [&b"first"[..], b"second"] {
        store.put_credential("main", sealed.to_vec()).await.expect("answers");
    }
    assert_eq!(store.find_credential("main").await.expect("answers").as_deref(), Some(&b"second"[..]));
}

async fn appends_to_the_audit_trail(store: &dyn Store) {
    let events = [
        AuditRow { action: "created".into(), ..event("audited") },
        AuditRow { action: "viewed_full".into(), at_ms: 2, ..event("audited") },
    ];
    for event in &events {
        store.append_audit(event.clone()).await.expect("answers");
    }
    assert_eq!(store.audit_of("audited").await.expect("answers"), events);
}

async fn pages_are_stable_under_writes(store: &dyn Store) {
    let at = |id: &str, created_at_ms: i64| NewRow { caller: "lister".into(), created_at_ms, ..row(id, None) };
    for (id, created_at_ms) in [("l1", 10), ("l2", 20), ("l3", 20), ("l4", 30)] {
        create(store, at(id, created_at_ms)).await;
    }
    let page = async |filter: ListFilter| -> Vec<String> {
        let filter = ListFilter { caller: "lister".into(), limit: 2, ..filter };
        store.list(filter).await.expect("answers").into_iter().map(|row| row.made.id).collect()
    };
    assert_eq!(page(ListFilter::default()).await, ["l4", "l3"]);
    create(store, at("l5", 40)).await;
    create(store, at("l0", 5)).await;
    assert_eq!(page(ListFilter { after: Some((20, "l3".into())), ..ListFilter::default() }).await, ["l2", "l1"]);
    let oldest_first = ListFilter { oldest_first: true, ..ListFilter::default() };
    assert_eq!(page(oldest_first.clone()).await, ["l0", "l1"]);
    assert_eq!(page(ListFilter { after: Some((10, "l1".into())), ..oldest_first }).await, ["l2", "l3"]);

    let passed = ProgressRow { state: "passed".into(), settled_at_ms: Some(50), ..ProgressRow::pending() };
    assert!(store.advance("l1", 1, passed, Effects::default()).await.expect("answers"));
    assert_eq!(page(ListFilter { never_fetched: true, ..ListFilter::default() }).await, ["l1"]);
    assert_eq!(page(ListFilter { states: vec!["passed".into()], ..ListFilter::default() }).await, ["l1"]);
    store.mark_fetched("l1", 60).await.expect("answers");
    store.mark_fetched("l1", 70).await.expect("answers");
    assert!(page(ListFilter { never_fetched: true, ..ListFilter::default() }).await.is_empty());
    assert_eq!(store.find("l1").await.expect("answers").expect("a row").result_fetched_at_ms, Some(60));
    let window = ListFilter { created_from_ms: Some(10), created_before_ms: Some(20), ..ListFilter::default() };
    assert_eq!(page(window).await, ["l1"]);
    assert!(page(ListFilter { reference: "other".into(), ..ListFilter::default() }).await.is_empty());
    assert!(page(ListFilter { flow: "other".into(), ..ListFilter::default() }).await.is_empty());
}

async fn leases_jobs_once_and_gives_them_back(store: &Arc<dyn Store>) {
    let job = |subject: &str, due_at_ms, rank_ms| NewJob { kind: "test", subject: subject.into(), due_at_ms, rank_ms };
    let jobs = vec![job("late", 100, 1), job("young", 10, 30), job("old", 20, 20), job("old", 999, 0)];
    let effects = Effects { jobs, ..Effects::default() };
    assert!(matches!(store.create_or_find(row("jobs", None), effects).await.expect("answers"), Creation::Created));

    let claim = async |now, until, limit| store.claim_jobs("test", now, until, limit).await.expect("answers");
    let subjects = |jobs: &[faceid_gateway::store::row::JobRow]| -> Vec<String> {
        jobs.iter().map(|job| job.subject.clone()).collect()
    };
    let first = claim(50, 80, 10).await;
    assert_eq!(subjects(&first), ["old", "young"], "lowest rank first, only what is due");
    assert!(claim(79, 200, 10).await.is_empty(), "leased");
    let again = claim(80, 200, 1).await;
    assert_eq!(subjects(&again), ["old"], "the lease has ended");
    store.finish_job(&first[0]).await.expect("answers");
    store.put_off_job(&first[0], 1, 9).await.expect("answers");
    assert_eq!(
        subjects(&claim(300, 400, 10).await),
        ["late", "old", "young"],
        "whoever lost the lease changes nothing"
    );

    let all = claim(400, 500, 10).await;
    store.put_off_job(&all[1], 1000, 3).await.expect("answers");
    store.finish_job(&all[0]).await.expect("answers");
    store.finish_job(&all[2]).await.expect("answers");
    assert!(claim(999, 1100, 10).await.is_empty());
    let put_off = claim(1000, 1100, 10).await;
    assert_eq!((put_off[0].subject.as_str(), put_off[0].failures), ("old", 3));
    assert!(store.claim_jobs("other", 9999, 10_000, 10).await.expect("answers").is_empty());

    let jobs = (0..50).map(|i| job(&format!("rush-{i}"), 0, 0)).collect();
    let effects = Effects { jobs, ..Effects::default() };
    store.create_or_find(row("rush", None), effects).await.expect("answers");
    let claims: Vec<_> = (0..8)
        .map(|_| {
            let store = Arc::clone(store);
            tokio::spawn(async move { store.claim_jobs("test", 1, 2, 10).await.expect("answers") })
        })
        .collect();
    let mut claimed = Vec::new();
    for claim in claims {
        claimed.extend(subjects(&claim.await.expect("no panic")));
    }
    let count = claimed.len();
    claimed.sort();
    claimed.dedup();
    assert_eq!((claimed.len(), count), (50, 50), "each once");
}

async fn tells_events_in_order_and_signals_them(store: &dyn Store) {
    let mut signal = store.event_signal();
    let start = store.last_event().await.expect("answers");
    let happened = |flow: &str, kind: &str| NewEvent {
        at_ms: 7,
        caller: "watcher".into(),
        verification_id: "watched".into(),
        flow: flow.into(),
        kind: kind.into(),
        state: "pending".into(),
        last_attempt_code: Some(2016),
    };
    signal.borrow_and_update();
    let events = vec![happened("a", "created"), happened("b", "attempted")];
    let effects = Effects { events: events.clone(), ..Effects::default() };
    store.create_or_find(row("watched", None), effects).await.expect("answers");
    assert!(signal.has_changed().expect("the store lives"));

    let told = store.events_after("watcher", "", start, 10).await.expect("answers");
    assert_eq!(told.iter().map(|row| row.event.clone()).collect::<Vec<_>>(), events);
    assert!(start < told[0].seq && told[0].seq < told[1].seq);
    assert_eq!(store.last_event().await.expect("answers"), told[1].seq);
    assert_eq!(store.events_after("watcher", "", told[0].seq, 10).await.expect("answers"), told[1..]);
    assert_eq!(store.events_after("watcher", "b", start, 10).await.expect("answers"), told[1..]);
    assert_eq!(store.events_after("watcher", "", start, 1).await.expect("answers"), told[..1]);
    assert!(store.events_after("other", "", start, 10).await.expect("answers").is_empty());
}

async fn keeps_each_attempt_once(store: &dyn Store) {
    create(store, row("ledger", None)).await;
    let attempt = |seq: &str, charged| AttemptRow {
        verification_id: "ledger".into(),
        seq: seq.into(),
        at_ms: Some(5_000),
        code: Some(0),
        charged,
    };
    let advance = async |version, attempts: Vec<AttemptRow>| {
        let effects = Effects { attempts, ..Effects::default() };
        assert!(store.advance("ledger", version, ProgressRow::pending(), effects).await.expect("answers"));
        store.find("ledger").await.expect("answers").expect("a row").charged_attempts
    };
    assert_eq!(advance(1, vec![attempt("1", Some(true)), attempt("2", None)]).await, 1);
    assert_eq!(advance(2, vec![attempt("1", None), attempt("2", Some(true)), attempt("3", Some(false))]).await, 2);
    let stale = Effects { attempts: vec![attempt("4", Some(true))], ..Effects::default() };
    assert!(!store.advance("ledger", 1, ProgressRow::pending(), stale).await.expect("answers"));
    let charges = store.charges("1", 5_000, 5_001).await.expect("answers");
    let token_hash = b"hash of ledger".to_vec();
    assert_eq!(charges, [ChargeRow { verification_id: "ledger".into(), token_hash, charges: 2 }]);
    assert!(store.charges("1", 5_001, 9_000).await.expect("answers").is_empty());
    assert!(store.charges("2", 0, 9_000).await.expect("answers").is_empty());
}

async fn adds_usage_up_by_day(store: &dyn Store) {
    const DAY: i64 = 86_400_000;
    let made = NewRow { caller: "payer".into(), created_at_ms: 10 * DAY - 1, ..row("paid", None) };
    create(store, made).await;
    let attempt = |seq: &str, at_ms, charged| AttemptRow {
        verification_id: "paid".into(),
        seq: seq.into(),
        at_ms: Some(at_ms),
        code: Some(0),
        charged: Some(charged),
    };
    let attempts =
        vec![attempt("1", 10 * DAY - 1, false), attempt("2", 10 * DAY, true), attempt("3", 10 * DAY + 1, true)];
    let effects = Effects { attempts, ..Effects::default() };
    assert!(store.advance("paid", 1, ProgressRow::pending(), effects).await.expect("answers"));
    let filter = UsageFilter { from_ms: 0, before_ms: 20 * DAY, caller: "payer".into(), ..UsageFilter::default() };
    let day = |day, verifications, attempts, charged_attempts| UsageDay {
        day,
        caller: "payer".into(),
        flow: "onboarding".into(),
        verifications,
        attempts,
        charged_attempts,
    };
    let usage = async |filter: &UsageFilter| store.usage(filter.clone()).await.expect("answers");
    assert_eq!(usage(&filter).await, [day(9, 1, 1, 0), day(10, 0, 2, 2)]);
    assert_eq!(usage(&UsageFilter { zone_offset_ms: 8 * 3_600_000, ..filter.clone() }).await, [day(10, 1, 3, 2)]);
    assert_eq!(usage(&UsageFilter { before_ms: 10 * DAY, ..filter.clone() }).await, [day(9, 1, 1, 0)]);
    assert!(usage(&UsageFilter { flow: "other".into(), ..filter }).await.is_empty());
}

async fn redaction_empties_what_is_sealed(store: &dyn Store) {
    let sealed = |text: &str| text.repeat(100).into_bytes();
    let made = NewRow { sealed_session: sealed("session"), sealed_subject: sealed("subject"), ..row("erased", None) };
    create(store, made).await;
    let told = ProgressRow { sealed_result: Some(sealed("result")), ..ProgressRow::pending() };
    assert!(store.advance("erased", 1, told, Effects::default()).await.expect("answers"));
    assert!(!store.redact("erased", 1, 50, true, effects("erased")).await.expect("answers"), "another version");
    assert!(store.redact("erased", 2, 50, true, effects("erased")).await.expect("answers"));
    let found = store.find("erased").await.expect("answers").expect("a row");
    assert_eq!((found.version, found.redacted_at_ms), (3, Some(50)));
    assert_eq!((found.made.sealed_session, found.made.sealed_subject), (sealed("session"), vec![]));
    assert_eq!(found.progress.sealed_result, None);
    assert!(store.redact("erased", 3, 60, false, Effects::default()).await.expect("answers"));
    let found = store.find("erased").await.expect("answers").expect("a row");
    assert_eq!((found.made.sealed_session, found.redacted_at_ms), (vec![], Some(50)));
    assert_eq!(store.audit_of("erased").await.expect("answers").len(), 2, "created, and redacted once");
}

async fn create(store: &dyn Store, row: NewRow) -> Creation {
    let effects = effects(&row.id);
    store.create_or_find(row, effects).await.expect("answers")
}

fn effects(id: &str) -> Effects {
    Effects { audit: vec![event(id)], ..Effects::default() }
}

fn event(id: &str) -> AuditRow {
    AuditRow { at_ms: 1, actor: "orders".into(), action: "created".into(), verification_id: id.into() }
}

fn row(id: &str, request_id: Option<&str>) -> NewRow {
    NewRow {
        id: id.into(),
        caller: "orders".into(),
        flow: "onboarding".into(),
        rule_id: "1".into(),
        credential: "main".into(),
        reference: "order-7".into(),
        intention: Some("nods".into()),
        request_id: request_id.map(Into::into),
        request_fingerprint: b"fingerprint".to_vec(),
        token_hash: format!("hash of {id}").into_bytes(),
        id_card_hash: None,
        vendor_request_id: "vendor-1".into(),
        created_at_ms: 1_000,
        sealed_session: vec![0, 255],
        sealed_subject: vec![],
    }
}
