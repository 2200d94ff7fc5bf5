//! The conformance suite of [`Store`]: what every implementation must do. One more implementation is one more function here.

use faceid_gateway::store::{
    Creation, Store,
    row::{AuditRow, NewRow, ProgressRow},
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
        sealed_result: Some(vec![1, 2, 3]),
    };
    assert!(!store.advance("advance", 2, passed.clone()).await.expect("answers"), "no such version yet");
    assert!(store.advance("advance", 1, passed.clone()).await.expect("answers"));
    assert!(!store.advance("advance", 1, ProgressRow::pending()).await.expect("answers"), "the version is past");
    assert!(!store.advance("nobody", 1, passed.clone()).await.expect("answers"));
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
        store.create_or_find(same_token, event("token-thief")),
        store.create_or_find(row("honest", None), event("honest")),
    );
    assert!(thief.is_err(), "one token, two verifications");
    assert!(matches!(honest.expect("answers"), Creation::Created));
    assert!(store.find("honest").await.expect("answers").is_some());
    assert!(store.audit_of("token-thief").await.expect("answers").is_empty(), "half of a refused write stayed");
}

async fn keeps_credentials(store: &dyn Store) {
    assert!(store.find_credential("main").await.expect("answers").is_none());
    for sealed in [b"first", b"secnd"] {
        store.put_credential("main", sealed.to_vec()).await.expect("answers");
    }
    store.put_credential("main", b"second".to_vec()).await.expect("answers");
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

async fn create(store: &dyn Store, row: NewRow) -> Creation {
    let event = event(&row.id);
    store.create_or_find(row, event).await.expect("answers")
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
        vendor_request_id: "vendor-1".into(),
        created_at_ms: 1_000,
        sealed_session: vec![0, 255],
        sealed_subject: vec![],
    }
}
