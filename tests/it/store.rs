//! The conformance suite of [`Store`]: what every implementation must do. One more implementation
//! is one more function here.

mod races;

use faceid_gateway::{
    domain::job::JobKind,
    store::{
        Creation, ErrorKind, Refusal, Store,
        postgres::PostgresStore,
        row::{
            AttemptRow, AuditFilter, AuditRow, CardUse, ChargeRow, CredentialRow, Effects, EvidenceRow, KeyPairRow,
            KeyUseRow, ListFilter, NewEvent, NewJob, NewRow, ProgressRow, Resealed, RowMac, SealedValue, UsageDay,
            UsageFilter,
        },
        signals::{EventKey, EventSignal},
        sqlite::SqliteStore,
    },
};
use rusqlite::trace::TraceEvent;
use std::{
    collections::BTreeSet,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};
use tempfile::TempDir;

#[tokio::test]
async fn sqlite() {
    let folder = TempDir::new().expect("temporary folder");
    conforms("sqlite", async || open(folder.path())).await;
}

#[tokio::test]
async fn postgresql() {
    let options = crate::engine::postgres_database();
    let open = async || Arc::new(PostgresStore::open(&options).await.expect("store opens")) as Arc<dyn Store>;
    conforms("postgresql", open).await;
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
        assert!(store.advance(id, 1, told, mac(), Effects::default()).await.expect("answers"));
    }
    let found = || {
        let files = std::fs::read_dir(folder.path()).expect("folder").map(|entry| entry.expect("entry").path());
        files
            .map(|file| std::fs::read(file).expect("a file"))
            .any(|bytes| bytes.windows(23).any(|window| window == b"ciphertext-to-be-erased"))
    };
    assert!(found(), "it was there");
    for id in ["a", "b", "c"] {
        assert!(store.redact(id, 2, 1, false, mac(), Effects::default()).await.expect("answers"));
    }
    store.scrub().await.expect("answers");
    assert!(!found());
}

#[tokio::test]
async fn sqlite_does_not_wait_for_a_reader_to_empty_its_log() {
    let folder = TempDir::new().expect("temporary folder");
    let store = open(folder.path());
    create(&*store, row("one", None)).await;
    let reader = rusqlite::Connection::open(folder.path().join("gateway.db")).expect("a second connection");
    reader.execute_batch("BEGIN").expect("begun");
    reader.query_row("SELECT count(*) FROM verifications", [], |_| Ok(())).expect("a read");
    create(&*store, row("two", None)).await;
    let error = store.scrub().await.expect_err("the reader needs the log");
    assert_eq!(error.kind, ErrorKind::Transient, "{error}");
    create(&*store, row("three", None)).await;
    reader.execute_batch("COMMIT").expect("ended");
    store.scrub().await.expect("nobody reads");
}

#[tokio::test]
async fn sqlite_has_one_process() {
    let folder = TempDir::new().expect("temporary folder");
    let store = open(folder.path());
    let error = SqliteStore::open(&folder.path().join("gateway.db")).err().expect("refused");
    assert_eq!(error.kind, ErrorKind::Refused(Refusal::InUse));
    assert!(error.to_string().contains(&format!("process {} has the database open", std::process::id())), "{error}");
    drop(store);
    open(folder.path());
}

#[tokio::test]
async fn sqlite_frees_the_leases_that_a_start_finds() {
    let folder = TempDir::new().expect("temporary folder");
    let store = open(folder.path());
    store
        .add_job(NewJob { kind: JobKind::Rewrap, subject: "s".into(), due_at_ms: 0, rank_ms: 0 })
        .await
        .expect("answers");
    assert_eq!(store.claim_jobs(JobKind::Rewrap, 1, i64::MAX, 1).await.expect("answers").len(), 1);
    drop(store);
    let store = open(folder.path());
    assert_eq!(
        store.claim_jobs(JobKind::Rewrap, 1, i64::MAX, 1).await.expect("answers").len(),
        1,
        "its holder is dead"
    );
}

#[tokio::test]
async fn sqlite_refuses_a_newer_schema() {
    let folder = TempDir::new().expect("temporary folder");
    drop(open(folder.path()));
    be_newer(&folder.path().join("gateway.db"));
    let error = SqliteStore::open(&folder.path().join("gateway.db")).err().expect("refused");
    assert_eq!(error.kind, ErrorKind::Refused(Refusal::NewerSchema));
    assert!(error.to_string().contains("a newer version was here"), "{error}");
}

/// As a version of the gateway leaves it that knows one more migration.
pub fn be_newer(database: &Path) {
    let database = rusqlite::Connection::open(database).expect("a database");
    let newer = "INSERT INTO refinery_schema_history SELECT max(version) + 1, 'newer', applied_on, checksum \
                 FROM refinery_schema_history";
    database.execute(newer, []).expect("written");
}

#[tokio::test]
async fn sqlite_names_a_damaged_page() {
    let folder = TempDir::new().expect("temporary folder");
    let store = open(folder.path());
    for i in 0..200 {
        create(&*store, NewRow { sealed_subject: vec![7; 3000], ..row(&format!("page-{i}"), None) }).await;
    }
    drop(store);
    let path = folder.path().join("gateway.db");
    let mut bytes = std::fs::read(&path).expect("a file");
    let half = bytes.len() / 2;
    bytes[half..].fill(0xAB);
    std::fs::write(&path, bytes).expect("written");
    let store = open(folder.path());
    let mut damaged = 0;
    for i in 0..200 {
        match store.find(&format!("page-{i}")).await {
            Ok(found) => assert!(found.is_some_and(|row| row.created.sealed_subject == vec![7; 3000])),
            Err(error) => {
                assert_eq!(error.kind, ErrorKind::Corrupt, "{error}");
                damaged += 1;
            }
        }
    }
    assert!((1..200).contains(&damaged), "{damaged} of 200 are damaged");
}

/// What was run, by [`sqlite_scans_no_table_that_grows`].
static STATEMENTS: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

fn collect(event: TraceEvent<'_>) {
    if let TraceEvent::Stmt(statement, _) = event {
        STATEMENTS.lock().expect("no panic").insert(statement.sql().into_owned());
    }
}

#[tokio::test]
async fn sqlite_scans_no_table_that_grows() {
    const GROWING: [&str; 8] =
        ["verifications", "attempts", "events", "audit_events", "jobs", "evidence", "webhook_cursors", "usage_days"];
    let folder = TempDir::new().expect("temporary folder");
    let path = folder.path().join("gateway.db");
    let open =
        async || Arc::new(SqliteStore::open_traced(&path, Some(collect)).expect("store opens")) as Arc<dyn Store>;
    conforms("sqlite", open).await;
    let database = rusqlite::Connection::open(&path).expect("a database");
    let statements = STATEMENTS.lock().expect("no panic").clone();
    let mut scans = Vec::new();
    let mut explained = 0;
    for sql in &statements {
        let verb = sql.trim_start().split(' ').next().unwrap_or_default();
        if !["SELECT", "INSERT", "UPDATE", "DELETE", "WITH"].contains(&verb) {
            continue;
        }
        let mut explain = database.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).expect("a statement");
        let mut rows = explain.raw_query();
        while let Some(row) = rows.next().expect("a plan") {
            let step: String = row.get("detail").expect("a step");
            let scanned = step.strip_prefix("SCAN ").and_then(|rest| rest.split(' ').next());
            if scanned.is_some_and(|table| GROWING.contains(&table)) {
                scans.push(format!("{step}: {sql}"));
            }
        }
        explained += 1;
    }
    assert!(explained > 60, "only {explained} statements were seen");
    assert!(scans.is_empty(), "{scans:#?}");
}

#[test]
fn every_method_is_called_here() {
    let contract = std::fs::read_to_string("src/store/mod.rs").expect("the trait");
    let suite = std::fs::read_to_string("tests/it/store.rs").expect("this file");
    let methods = contract.split("fn ").skip(1).filter_map(|rest| rest.split_once('(').map(|(name, _)| name));
    let missing: Vec<&str> = methods.filter(|name| !suite.contains(&format!(".{name}("))).collect();
    assert!(missing.is_empty(), "not called: {missing:?}");
}

fn open(folder: &Path) -> Arc<dyn Store> {
    Arc::new(SqliteStore::open(&folder.join("gateway.db")).expect("store opens"))
}

/// `open` opens the same store anew: what was acknowledged is there again.
async fn conforms(engine: &str, open: impl AsyncFn() -> Arc<dyn Store>) {
    let store = open().await;
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
    pages_the_audit_trail(&*store).await;
    knows_what_each_key_seals(&*store).await;
    keeps_evidence_of_whoever_holds_the_job(&*store).await;
    keeps_only_the_job_that_is_wanted_last(&*store).await;
    delivers_what_was_not_delivered(&*store).await;
    counts_what_is_not_settled(&*store).await;
    counts_and_forgets_id_cards(&*store).await;
    lists_several_states_in_one_order(&*store).await;
    counts_the_replicas_that_live(&*store).await;
    store.scrub().await.expect("nobody reads");
    let identity = store.identity().await.expect("answers");
    assert_eq!(identity.epoch, 1);
    assert_eq!(store.engine(), engine);
    drop(store);

    let store = open().await;
    assert_eq!(store.identity().await.expect("answers"), identity);
    assert!(store.find("one").await.expect("answers").is_some(), "an acknowledged row is gone");
    let credential = store.find_credential("main").await.expect("answers").expect("a credential");
    assert_eq!(credential.key_pairs[0].sealed_key_pair, b"second");
}

fn mac() -> RowMac {
    RowMac { key_id: "k-mac".into(), mac: b"mac".to_vec() }
}

async fn creates_once_per_request_id(store: &dyn Store) {
    let made = row("one", Some("r-1"));
    assert!(matches!(create(store, made.clone()).await, Creation::Created));
    let Creation::Found(found) = create(store, NewRow { id: "one-again".into(), ..row("x", Some("r-1")) }).await else {
        panic!("the request id was taken twice")
    };
    assert_eq!((found.created, found.version, found.progress), (made.clone(), 1, ProgressRow::pending()));
    assert!(store.find("one-again").await.expect("answers").is_none());
    let found = store.find_by_request_id("orders", "r-1").await.expect("answers").expect("a row");
    assert_eq!(found.created, made);
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
        evidence_lost: true,
        sealed_result: Some(vec![1, 2, 3]),
    };
    assert!(
        !store.advance("advance", 2, passed.clone(), mac(), Effects::default()).await.expect("answers"),
        "no such version yet"
    );
    assert!(store.advance("advance", 1, passed.clone(), mac(), Effects::default()).await.expect("answers"));
    assert!(
        !store.advance("advance", 1, ProgressRow::pending(), mac(), Effects::default()).await.expect("answers"),
        "the version is past"
    );
    assert!(!store.advance("nobody", 1, passed.clone(), mac(), Effects::default()).await.expect("answers"));
    let found = store.find("advance").await.expect("answers").expect("a row");
    assert_eq!((found.version, found.progress), (2, passed));
}

async fn finds_by_any_of_the_hashes(store: &dyn Store) {
    create(store, row("hashed", None)).await;
    let hashes = vec![b"other".to_vec(), b"hash of hashed".to_vec()];
    let found = store.find_by_token_hash(hashes).await.expect("answers").expect("a row");
    assert_eq!(found.created.id, "hashed");
    assert!(store.find_by_token_hash(vec![b"other".to_vec()]).await.expect("answers").is_none());
    assert!(store.find_by_token_hash(vec![]).await.expect("answers").is_none());
}

async fn a_refused_write_takes_nothing_with_it(store: &Arc<dyn Store>) {
    create(&**store, row("token-owner", None)).await;
    let same_token = NewRow { token_hash: b"hash of token-owner".to_vec(), ..row("token-thief", None) };
    let (thief, honest) = tokio::join!(
        store.create_or_find(same_token, mac(), effects("token-thief")),
        store.create_or_find(row("honest", None), mac(), effects("honest")),
    );
    assert!(thief.is_err(), "one token, two verifications");
    assert!(matches!(honest.expect("answers"), Creation::Created));
    assert!(store.find("honest").await.expect("answers").is_some());
    assert!(store.audit_of("token-thief").await.expect("answers").is_empty(), "half of a refused write stayed");
}

async fn keeps_credentials(store: &dyn Store) {
    let pair = |id: &str, sealed: &[u8]| KeyPairRow {
        id: id.into(),
        sealed_key_pair: sealed.to_vec(),
        created_at_ms: 5,
        used_at_ms: None,
        tested: None,
    };
    let audited = |action: &str| Effects {
        audit: vec![AuditRow { action: action.into(), credential: "main".into(), ..event("") }],
        ..Effects::default()
    };
    let mut made = CredentialRow {
        name: "main".into(),
        version: 1,
        origin: "configuration".into(),
        disabled_at_ms: None,
        key_pairs: vec![pair("main.1", b"first")],
    };
    assert!(store.find_credential("main").await.expect("answers").is_none());
    assert!(store.create_credential(made.clone(), audited("credential_created")).await.expect("answers"));
    let thief = CredentialRow { key_pairs: vec![pair("main.9", b"other")], ..made.clone() };
    assert!(!store.create_credential(thief, audited("taken")).await.expect("answers"), "the name is taken");
    assert_eq!(store.find_credential("main").await.expect("answers"), Some(made.clone()));

    made.key_pairs.insert(0, pair("main.2", b"second"));
    let next = CredentialRow { disabled_at_ms: Some(7), origin: "api".into(), ..made.clone() };
    assert!(store.change_credential(next.clone(), audited("credential_rotated")).await.expect("answers"));
    assert!(!store.change_credential(made, audited("lost")).await.expect("answers"), "another version");
    let mut found = CredentialRow { version: 2, ..next };
    store.note_key_pair_used("main.2", 90).await.expect("answers");
    store.note_key_pair_used("main.2", 80).await.expect("answers");
    store.note_key_pair_tested("main.1", 70, "OK", audited("credential_tested")).await.expect("answers");
    found.key_pairs[0].used_at_ms = Some(90);
    found.key_pairs[1].tested = Some((70, "OK".into()));
    assert_eq!(store.find_credential("main").await.expect("answers"), Some(found.clone()), "in the order of their use");

    let spare = CredentialRow { name: "a-spare".into(), version: 1, key_pairs: vec![pair("s", b"x")], ..found.clone() };
    assert!(store.create_credential(spare.clone(), Effects::default()).await.expect("answers"));
    assert_eq!(store.credentials().await.expect("answers"), [spare, found]);
    assert!(!store.delete_credential("a-spare", 9, audited("deleted early")).await.expect("answers"));
    assert!(store.delete_credential("a-spare", 1, Effects::default()).await.expect("answers"));
    assert!(store.find_credential("a-spare").await.expect("answers").is_none());

    let about_main = AuditFilter { credential: "main".into(), limit: 10, ..AuditFilter::default() };
    let trail = store.audit_events(about_main).await.expect("answers");
    let actions: Vec<&str> = trail.iter().map(|(_, event)| event.action.as_str()).collect();
    assert_eq!(actions, ["credential_tested", "credential_rotated", "credential_created"], "only what was done");

    let settle = NewJob { kind: JobKind::Settle, subject: "with-main".into(), due_at_ms: i64::MAX, rank_ms: i64::MAX };
    let made = NewRow { credential: "counted".into(), ..row("with-main", None) };
    let effects = Effects { jobs: vec![settle], ..Effects::default() };
    assert!(matches!(store.create_or_find(made, mac(), effects).await.expect("answers"), Creation::Created));
    assert_eq!(store.unsettled_with_credential("counted").await.expect("answers"), 1);
    assert_eq!(store.unsettled_with_credential("nobody").await.expect("answers"), 0);
}

async fn pages_the_audit_trail(store: &dyn Store) {
    for (at_ms, actor) in [(10, "p"), (20, "q"), (30, "p")] {
        let event = AuditRow { at_ms, actor: actor.into(), action: "paged".into(), ..event("") };
        store.append_audit(event).await.expect("answers");
    }
    let page = async |filter: AuditFilter| -> Vec<(i64, i64)> {
        let filter = AuditFilter { action: "paged".into(), limit: 2, ..filter };
        store.audit_events(filter).await.expect("answers").into_iter().map(|(seq, event)| (event.at_ms, seq)).collect()
    };
    let times = |page: &[(i64, i64)]| page.iter().map(|(at_ms, _)| *at_ms).collect::<Vec<_>>();
    let first = page(AuditFilter::default()).await;
    assert_eq!(times(&first), [30, 20]);
    assert_eq!(times(&page(AuditFilter { before_seq: Some(first[1].1), ..AuditFilter::default() }).await), [10]);
    assert_eq!(times(&page(AuditFilter { actor: "p".into(), ..AuditFilter::default() }).await), [30, 10]);
    let window = AuditFilter { from_ms: Some(10), before_ms: Some(30), ..AuditFilter::default() };
    assert_eq!(times(&page(window).await), [20, 10]);
    let nobody = AuditFilter { verification_id: "nobody".into(), ..AuditFilter::default() };
    assert!(page(nobody).await.is_empty());
}

/// As a sealed value begins: format, length of the key's id, the id.
fn sealed_with(key_id: &str, rest: &str) -> Vec<u8> {
    let length = u8::try_from(key_id.len()).expect("a short id");
    [&[1, length][..], key_id.as_bytes(), rest.as_bytes()].concat()
}

async fn knows_what_each_key_seals(store: &dyn Store) {
    let made = NewRow {
        key_id: "old-key".into(),
        created_at_ms: 77,
        sealed_session: sealed_with("old-key", "session"),
        sealed_subject: sealed_with("old-key", "subject"),
        ..row("keyed", None)
    };
    create(store, made.clone()).await;
    let told = ProgressRow { sealed_result: Some(sealed_with("newkey", "result")), ..ProgressRow::pending() };
    let mac = RowMac { key_id: "old-key".into(), mac: b"mac".to_vec() };
    assert!(store.advance("keyed", 1, told, mac, Effects::default()).await.expect("answers"));
    let pair = KeyPairRow {
        id: "keyed".into(),
        sealed_key_pair: sealed_with("old-key", "pair"),
        created_at_ms: 1,
        used_at_ms: None,
        tested: None,
    };
    let credential = CredentialRow {
        name: "keyed".into(),
        version: 1,
        origin: "api".into(),
        disabled_at_ms: None,
        key_pairs: vec![pair],
    };
    assert!(store.create_credential(credential, Effects::default()).await.expect("answers"));
    let of = async |key_id: &str| {
        let used = store.key_use().await.expect("answers");
        used.into_iter().find(|used| used.key_id == key_id).unwrap_or_default()
    };
    let expected = KeyUseRow {
        key_id: "old-key".into(),
        sessions: 1,
        subjects: 1,
        rows: 1,
        key_pairs: 1,
        token_hashes: 1,
        newest_made_at_ms: Some(77),
        ..KeyUseRow::default()
    };
    assert_eq!(of("old-key").await, expected);
    assert_eq!((of("newkey").await.results, of("newkey").await.sessions), (1, 0));

    let sealing = async || store.sealing_keys().await.expect("answers");
    let keys = sealing().await;
    assert!(keys.contains("old-key") && keys.contains("newkey") && !keys.contains(""), "{keys:?}");
    // Batch by batch until nothing is left, as a rewrap does it.
    let mut seen = Vec::new();
    loop {
        let values = store.sealed_with("old-key", 1).await.expect("answers");
        let Some(was) = values.first().cloned() else { break };
        let (rest, token_hash) = match &was {
            SealedValue::Verification { column: "sealed_session", .. } => {
                ("session", Some((b"new hash".to_vec(), "newkey".to_owned())))
            }
            SealedValue::Verification { .. } => ("subject", None),
            SealedValue::KeyPair { .. } => ("pair", None),
            SealedValue::Row(_) => ("row", None),
            SealedValue::Evidence(_) => panic!("there is none"),
        };
        seen.push(rest);
        let resealed = Resealed { was, sealed: sealed_with("newkey", rest), key_id: "newkey".into(), token_hash };
        assert_eq!(store.reseal(vec![resealed.clone()]).await.expect("answers"), 1);
        assert_eq!(store.reseal(vec![resealed]).await.expect("answers"), 0, "it is another value now");
    }
    assert_eq!(seen, ["pair", "session", "subject", "row"]);
    assert_eq!(
        of("old-key").await,
        KeyUseRow { key_id: "old-key".into(), newest_made_at_ms: Some(77), ..KeyUseRow::default() }
    );
    assert!(!sealing().await.contains("old-key"));
    let found = store.find("keyed").await.expect("answers").expect("a row");
    assert_eq!((found.version, found.created.sealed_subject), (2, sealed_with("newkey", "subject")));
    assert_eq!(found.mac, RowMac { key_id: "newkey".into(), mac: sealed_with("newkey", "row") });
    create_with(store, row("unbound", None), RowMac::default()).await;
    let unbound = store.unbound(10).await.expect("answers");
    assert_eq!(unbound.iter().map(|row| row.created.id.as_str()).collect::<Vec<_>>(), ["unbound"]);
    assert!(store.find_by_token_hash(vec![made.token_hash]).await.expect("answers").is_none());
    assert!(store.find_by_token_hash(vec![b"new hash".to_vec()]).await.expect("answers").is_some());

    let others = store.not_sealed_with("newkey", 100).await.expect("answers");
    assert!(others.iter().all(|value| !matches!(value, SealedValue::Verification { id, .. } if id == "keyed")));
    assert!(!store.not_sealed_with("another", 100).await.expect("answers").is_empty());

    for check in [&b"check"[..], b"another"] {
        store.put_key_check("newkey", check.to_vec()).await.expect("answers");
    }
    assert_eq!(store.key_checks().await.expect("answers"), [("newkey".to_owned(), b"check".to_vec())]);
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
        store.list(filter).await.expect("answers").into_iter().map(|row| row.created.id).collect()
    };
    assert_eq!(page(ListFilter::default()).await, ["l4", "l3"]);
    create(store, at("l5", 40)).await;
    create(store, at("l0", 5)).await;
    assert_eq!(page(ListFilter { after: Some((20, "l3".into())), ..ListFilter::default() }).await, ["l2", "l1"]);
    let oldest_first = ListFilter { oldest_first: true, ..ListFilter::default() };
    assert_eq!(page(oldest_first.clone()).await, ["l0", "l1"]);
    assert_eq!(page(ListFilter { after: Some((10, "l1".into())), ..oldest_first }).await, ["l2", "l3"]);

    let passed = ProgressRow { state: "passed".into(), settled_at_ms: Some(50), ..ProgressRow::pending() };
    assert!(store.advance("l1", 1, passed, mac(), Effects::default()).await.expect("answers"));
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
    let job = |subject: &str, due_at_ms, rank_ms| NewJob {
        kind: JobKind::DeleteBlobs,
        subject: subject.into(),
        due_at_ms,
        rank_ms,
    };
    let jobs = vec![job("late", 100, 1), job("young", 10, 30), job("old", 20, 20), job("old", 999, 0)];
    let effects = Effects { jobs, ..Effects::default() };
    assert!(matches!(
        store.create_or_find(row("jobs", None), mac(), effects).await.expect("answers"),
        Creation::Created
    ));

    let claim =
        async |now, until, limit| store.claim_jobs(JobKind::DeleteBlobs, now, until, limit).await.expect("answers");
    let subjects = |jobs: &[faceid_gateway::store::row::JobRow]| -> Vec<String> {
        jobs.iter().map(|job| job.subject.clone()).collect()
    };
    let first = claim(50, 80, 10).await;
    assert_eq!(subjects(&first), ["old", "young"], "lowest rank first, only what is due");
    assert!(claim(79, 200, 10).await.is_empty(), "leased");
    let again = claim(80, 200, 1).await;
    assert_eq!(subjects(&again), ["old"], "the lease has ended");
    store.finish_job(&first[0]).await.expect("answers");
    store.reschedule_job(&first[0], 1, 9).await.expect("answers");
    assert_eq!(
        subjects(&claim(300, 400, 10).await),
        ["late", "old", "young"],
        "whoever lost the lease changes nothing"
    );

    let all = claim(400, 500, 10).await;
    store.reschedule_job(&all[1], 1000, 3).await.expect("answers");
    store.finish_job(&all[0]).await.expect("answers");
    store.finish_job(&all[2]).await.expect("answers");
    assert!(claim(999, 1100, 10).await.is_empty());
    let rescheduled = claim(1000, 1100, 10).await;
    assert_eq!((rescheduled[0].subject.as_str(), rescheduled[0].failures), ("old", 3));
    assert!(store.claim_jobs(JobKind::Rewrap, 9999, 10_000, 10).await.expect("answers").is_empty());

    let scrub = |due_at_ms| NewJob { kind: JobKind::Scrub, subject: String::new(), due_at_ms, rank_ms: due_at_ms };
    store.add_job(scrub(5)).await.expect("answers");
    let missed = store.claim_jobs(JobKind::Scrub, 5, 1000, 1).await.expect("answers").remove(0);
    store.add_job(scrub(6)).await.expect("answers");
    store.finish_job(&missed).await.expect("answers");
    let again = store.claim_jobs(JobKind::Scrub, 6, 1000, 1).await.expect("answers").remove(0);
    store.finish_job(&again).await.expect("answers");
    assert!(!store.has_job(JobKind::Scrub, "").await.expect("answers"), "nothing was demanded since");

    let jobs = (0..50).map(|i| job(&format!("rush-{i}"), 0, 0)).collect();
    let effects = Effects { jobs, ..Effects::default() };
    store.create_or_find(row("rush", None), mac(), effects).await.expect("answers");
    let claims: Vec<_> = (0..8)
        .map(|_| {
            let store = Arc::clone(store);
            tokio::spawn(async move { store.claim_jobs(JobKind::DeleteBlobs, 1, 2, 10).await.expect("answers") })
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
    let mut signals = [EventKey::Verification("watched".into()), EventKey::Caller("watcher".into())]
        .map(|key| store.event_signal(key));
    let elsewhere =
        [EventKey::Verification("other".into()), EventKey::Caller("other".into())].map(|key| store.event_signal(key));
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
    signals.iter_mut().for_each(EventSignal::forget);
    let events = vec![happened("a", "created"), happened("b", "attempted")];
    let effects = Effects { events: events.clone(), ..Effects::default() };
    store.create_or_find(row("watched", None), mac(), effects).await.expect("answers");
    assert!(signals.iter().all(EventSignal::has_changed));
    assert!(!elsewhere.iter().any(EventSignal::has_changed), "only those are woken who wait for it");

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
        assert!(store.advance("ledger", version, ProgressRow::pending(), mac(), effects).await.expect("answers"));
        store.find("ledger").await.expect("answers").expect("a row").charged_attempts
    };
    assert_eq!(advance(1, vec![attempt("1", Some(true)), attempt("2", None)]).await, 1);
    assert_eq!(advance(2, vec![attempt("1", None), attempt("2", Some(true)), attempt("3", Some(false))]).await, 2);
    let stale = Effects { attempts: vec![attempt("4", Some(true))], ..Effects::default() };
    assert!(!store.advance("ledger", 1, ProgressRow::pending(), mac(), stale).await.expect("answers"));
    let charges = store.charges("1", 5_000, 5_001).await.expect("answers");
    let token_hash = b"hash of ledger".to_vec();
    assert_eq!(
        charges,
        [ChargeRow { verification_id: "ledger".into(), token_hash, seqs: vec!["1".into(), "2".into()] }]
    );
    assert!(store.charges("1", 5_001, 9_000).await.expect("answers").is_empty());
    assert!(store.charges("2", 0, 9_000).await.expect("answers").is_empty());
}

async fn adds_usage_up_by_day(store: &dyn Store) {
    // Midnight in Beijing, with which day 10 of the bill begins.
    const MIDNIGHT: i64 = 10 * 86_400_000 - 8 * 3_600_000;
    let made = NewRow { caller: "payer".into(), created_at_ms: MIDNIGHT - 1, ..row("paid", None) };
    create(store, made).await;
    let attempt = |seq: &str, at_ms: Option<i64>, charged: Option<bool>| AttemptRow {
        verification_id: "paid".into(),
        seq: seq.into(),
        at_ms,
        code: Some(0),
        charged,
    };
    let advance = async |version, attempts: Vec<AttemptRow>| {
        let effects = Effects { attempts, ..Effects::default() };
        assert!(store.advance("paid", version, ProgressRow::pending(), mac(), effects).await.expect("answers"));
    };
    let known = vec![
        attempt("1", Some(MIDNIGHT - 1), Some(false)),
        attempt("2", Some(MIDNIGHT), Some(true)),
        attempt("3", Some(MIDNIGHT + 1), Some(true)),
    ];
    advance(1, known.clone()).await;
    let filter = UsageFilter { first_day: 0, last_day: 20, caller: "payer".into(), ..UsageFilter::default() };
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
    assert_eq!(usage(&UsageFilter { last_day: 9, ..filter.clone() }).await, [day(9, 1, 1, 0)]);
    // Told again nothing changes; without a time an attempt counts with its verification, until the
    // time is told.
    advance(2, [known, vec![attempt("4", None, None)]].concat()).await;
    assert_eq!(usage(&filter).await, [day(9, 1, 2, 0), day(10, 0, 2, 2)]);
    advance(3, vec![attempt("4", Some(MIDNIGHT), Some(true))]).await;
    assert_eq!(usage(&filter).await, [day(9, 1, 1, 0), day(10, 0, 3, 3)]);
    assert_eq!(store.charges("1", MIDNIGHT, MIDNIGHT + 1).await.expect("answers")[0].seqs.len(), 2);
    assert!(usage(&UsageFilter { flow: "other".into(), ..filter }).await.is_empty());
}

async fn redaction_empties_what_is_sealed(store: &dyn Store) {
    let sealed = |text: &str| text.repeat(100).into_bytes();
    let made = NewRow { sealed_session: sealed("session"), sealed_subject: sealed("subject"), ..row("erased", None) };
    create(store, made).await;
    let told = ProgressRow { sealed_result: Some(sealed("result")), ..ProgressRow::pending() };
    assert!(store.advance("erased", 1, told, mac(), Effects::default()).await.expect("answers"));
    assert!(!store.redact("erased", 1, 50, true, mac(), effects("erased")).await.expect("answers"), "another version");
    assert!(store.redact("erased", 2, 50, true, mac(), effects("erased")).await.expect("answers"));
    let found = store.find("erased").await.expect("answers").expect("a row");
    assert_eq!((found.version, found.redacted_at_ms), (3, Some(50)));
    assert_eq!((found.created.sealed_session, found.created.sealed_subject), (sealed("session"), vec![]));
    assert_eq!(found.progress.sealed_result, None);
    assert!(store.redact("erased", 3, 60, false, mac(), Effects::default()).await.expect("answers"));
    let found = store.find("erased").await.expect("answers").expect("a row");
    assert_eq!((found.created.sealed_session, found.redacted_at_ms), (vec![], Some(50)));
    assert_eq!(store.audit_of("erased").await.expect("answers").len(), 2, "created, and redacted once");
}

async fn keeps_only_the_job_that_is_wanted_last(store: &dyn Store) {
    let job = |kind, subject: &str| NewJob { kind, subject: subject.into(), due_at_ms: 0, rank_ms: 0 };
    for (kind, subject) in [(JobKind::Rewrap, "k1"), (JobKind::Rewrap, "k2"), (JobKind::DeleteBlobs, "k1")] {
        store.add_job(job(kind, subject)).await.expect("answers");
    }
    let held = store.claim_jobs(JobKind::Rewrap, 1, 9, 9).await.expect("answers");
    let held = held.into_iter().find(|job| job.subject == "k1").expect("claimed");
    store.keep_only_job(JobKind::Rewrap, "k2").await.expect("answers");
    store.reschedule_job(&held, 0, 0).await.expect("answers");
    for (kind, subject, is_there) in
        [(JobKind::Rewrap, "k1", false), (JobKind::Rewrap, "k2", true), (JobKind::DeleteBlobs, "k1", true)]
    {
        assert_eq!(store.has_job(kind, subject).await.expect("answers"), is_there, "{subject}");
    }
}

async fn keeps_evidence_of_whoever_holds_the_job(store: &dyn Store) {
    let job = NewJob { kind: JobKind::FetchEvidence, subject: "seen".into(), due_at_ms: 0, rank_ms: 0 };
    create(store, row("seen", None)).await;
    store.add_job(job.clone()).await.expect("answers");
    store.add_job(NewJob { due_at_ms: i64::MAX, ..job }).await.expect("the first stays");
    assert!(store.has_job(JobKind::FetchEvidence, "seen").await.expect("answers"));
    assert!(!store.has_job(JobKind::FetchEvidence, "nobody").await.expect("answers"));
    let lost = store.claim_jobs(JobKind::FetchEvidence, 1, 2, 1).await.expect("answers").remove(0);
    let held = store.claim_jobs(JobKind::FetchEvidence, 2, 9, 1).await.expect("answers").remove(0);
    let photo = |id: &str, position| EvidenceRow {
        id: id.into(),
        verification_id: "seen".into(),
        kind: "best_frame".into(),
        position,
        attempt_seq: Some("1".into()),
        content_type: "image/jpeg".into(),
        size_bytes: 7,
        sha256: Some(vec![1; 32]),
        sealed_key: Some(sealed_with("photo-key", "data key")),
        stored_at_ms: 5,
        erased_at_ms: None,
        blob_deleted: false,
    };
    let rows = vec![photo("e1", 0), photo("e2", 1)];
    assert!(!store.put_evidence(&lost, vec![photo("e0", 0)], effects("seen")).await.expect("answers"));
    assert!(store.put_evidence(&held, rows.clone(), effects("seen")).await.expect("answers"));
    assert!(store.has_job(JobKind::FetchEvidence, "seen").await.expect("answers"), "it goes on with the next kind");
    store.finish_job(&held).await.expect("answers");
    assert!(!store.has_job(JobKind::FetchEvidence, "seen").await.expect("answers"), "the job has ended");
    assert_eq!(store.evidence_of("seen").await.expect("answers"), rows);
    assert!(store.sealing_keys().await.expect("answers").contains("photo-key"));
    let used = store.key_use().await.expect("answers");
    assert!(used.iter().any(|used| used.key_id == "photo-key" && used.evidence_keys == 2), "{used:?}");
    let was = store.sealed_with("photo-key", 1).await.expect("answers").remove(0);
    let resealed = Resealed {
        was,
        sealed: sealed_with("other-photo-key", "data key"),
        key_id: "other-photo-key".into(),
        token_hash: None,
    };
    assert_eq!(store.reseal(vec![resealed]).await.expect("answers"), 1);

    store.erase_evidence("seen", 9, effects("seen")).await.expect("answers");
    let erased = store.evidence_of("seen").await.expect("answers");
    let is_erased = |row: &EvidenceRow| row.sealed_key.is_none() && row.sha256.is_none() && row.erased_at_ms == Some(9);
    assert!(erased.iter().all(|row| is_erased(row) && !row.blob_deleted));
    assert!(!store.sealing_keys().await.expect("answers").contains("photo-key"));
    store.note_blobs_deleted("seen").await.expect("answers");
    assert!(store.evidence_of("seen").await.expect("answers").iter().all(|row| row.blob_deleted));

    // What arrives after redaction is not kept.
    store
        .add_job(NewJob { kind: JobKind::FetchEvidence, subject: "seen".into(), due_at_ms: 0, rank_ms: 0 })
        .await
        .expect("answers");
    let held = store.claim_jobs(JobKind::FetchEvidence, 10, 20, 1).await.expect("answers").remove(0);
    assert!(store.redact("seen", 1, 11, false, mac(), Effects::default()).await.expect("answers"));
    assert!(!store.put_evidence(&held, vec![photo("e3", 2)], Effects::default()).await.expect("answers"));
    assert_eq!(store.evidence_of("seen").await.expect("answers").len(), 2);
}

async fn delivers_what_was_not_delivered(store: &dyn Store) {
    let happened = |kind: &str| NewEvent {
        at_ms: 7,
        caller: "hooked".into(),
        verification_id: "hooked".into(),
        flow: "onboarding".into(),
        kind: kind.into(),
        state: "pending".into(),
        last_attempt_code: None,
    };
    let job = NewJob { kind: JobKind::Webhook, subject: "hooked".into(), due_at_ms: 1, rank_ms: 1 };
    let events = vec![happened("created"), happened("attempted")];
    let effects = Effects { events, jobs: vec![job.clone()], ..Effects::default() };
    store.create_or_find(row("hooked", None), mac(), effects).await.expect("answers");
    let waiting = async |limit| store.undelivered("hooked", limit).await.expect("answers");
    let claim =
        async |now_ms| store.claim_jobs(JobKind::Webhook, now_ms, now_ms + 1, 1).await.expect("answers").remove(0);
    let (first, second) = (waiting(10).await[0].seq, waiting(10).await[1].seq);
    assert_eq!(waiting(1).await.len(), 1);
    let early = claim(1).await;
    store.note_delivered(&early, first, 5).await.expect("answers");
    let late = claim(5).await;
    assert_eq!(waiting(10).await.iter().map(|row| row.seq).collect::<Vec<_>>(), [second]);
    store.note_delivered(&early, second, 6).await.expect("answers");
    assert_eq!(waiting(10).await.len(), 1, "the lease was lost");
    store.park_webhook(&early, 6).await.expect("answers");
    assert_eq!(store.parked_webhooks().await.expect("answers"), 0, "the lease was lost");
    store.park_webhook(&late, 7).await.expect("answers");
    assert_eq!(store.parked_webhooks().await.expect("answers"), 1);
    assert!(!store.has_job(JobKind::Webhook, "hooked").await.expect("answers"));
    assert_eq!(waiting(10).await.len(), 1, "the events stay");
    store.add_job(job).await.expect("answers");
    store.note_delivered(&claim(8).await, second, 9).await.expect("answers");
    assert_eq!((waiting(10).await.len(), store.parked_webhooks().await.expect("answers")), (0, 0));
    assert!(!store.has_job(JobKind::Webhook, "hooked").await.expect("answers"), "nothing is left to deliver");
}

async fn counts_what_is_not_settled(store: &dyn Store) {
    const HOUR: i64 = 3_600_000;
    let none = store.first_due(JobKind::SweepEvidence).await.expect("answers");
    for due_at_ms in [7, 8] {
        let job =
            NewJob { kind: JobKind::SweepEvidence, subject: format!("due-{due_at_ms}"), due_at_ms, rank_ms: due_at_ms };
        store.add_job(job).await.expect("added");
    }
    assert_eq!((none, store.first_due(JobKind::SweepEvidence).await.expect("answers")), (None, Some(7)));

    let before = store.unsettled(10 * HOUR).await.expect("answers");
    for (id, created_at_ms) in [("unsettled-1", 1_000), ("unsettled-2", 9 * HOUR)] {
        let job = NewJob { kind: JobKind::Settle, subject: id.into(), due_at_ms: i64::MAX, rank_ms: created_at_ms };
        let made = NewRow { created_at_ms, ..row(id, None) };
        let effects = Effects { jobs: vec![job], ..Effects::default() };
        store.create_or_find(made, mac(), effects).await.expect("answers");
    }
    let unsettled = store.unsettled(10 * HOUR).await.expect("answers");
    let more: Vec<u64> = unsettled.by_age.iter().zip(before.by_age).map(|(now, before)| now - before).collect();
    assert_eq!(more, [1, 1, 0, 0]);
    assert_eq!(unsettled.oldest, Some((1_000, 259_201_000)));
    assert_eq!(store.unsettled(60 * HOUR).await.expect("answers").by_age[3], 2);
}

async fn counts_and_forgets_id_cards(store: &dyn Store) {
    let made =
        |id: &str, expires_at_ms| NewRow { id_card_hash: Some(b"card".to_vec()), expires_at_ms, ..row(id, None) };
    create(store, made("card-1", 5_000)).await;
    create(store, made("card-2", 9_000)).await;
    let attempt = |seq: &str, at_ms| AttemptRow {
        verification_id: "card-2".into(),
        seq: seq.into(),
        at_ms: Some(at_ms),
        code: Some(0),
        charged: None,
    };
    let effects = Effects { attempts: vec![attempt("1", 6_000), attempt("2", 7_000)], ..Effects::default() };
    assert!(store.advance("card-2", 1, ProgressRow::pending(), mac(), effects).await.expect("answers"));
    let uses = async |hash: &[u8], caller: &str, expired_after_ms| {
        let hashes = vec![b"another".to_vec(), hash.to_vec()];
        let uses = store.id_card_uses(hashes, caller, expired_after_ms).await.expect("answers");
        let mut uses: Vec<(i64, bool)> = uses.into_iter().map(|CardUse { at_ms, is_own }| (at_ms, is_own)).collect();
        uses.sort_unstable();
        uses
    };
    assert_eq!(uses(b"card", "orders", 0).await, [(1_000, true), (6_000, true), (7_000, true)]);
    assert_eq!(
        uses(b"card", "loans", 0).await,
        [(6_000, false), (7_000, false)],
        "what others have begun counts nothing"
    );
    assert_eq!(uses(b"card", "orders", 5_000).await, [(6_000, true), (7_000, true)]);
    assert!(uses(b"nobody's", "orders", 0).await.is_empty());
    assert_eq!(store.forget_id_cards(6_000).await.expect("answers"), 1);
    assert_eq!(uses(b"card", "orders", 0).await, [(6_000, true), (7_000, true)]);
}

async fn lists_several_states_in_one_order(store: &dyn Store) {
    let states = ["passed", "pending", "failed", "pending", "passed"];
    for (at, state) in (1_i64..).zip(states) {
        let id = format!("s{at}");
        let made = NewRow { caller: "sorter".into(), created_at_ms: at * 10, flow: "f".into(), ..row(&id, None) };
        create(store, made).await;
        let settled_at_ms = (state != "pending").then_some(99);
        let next = ProgressRow { state: state.into(), settled_at_ms, ..ProgressRow::pending() };
        assert!(store.advance(&id, 1, next, mac(), Effects::default()).await.expect("answers"));
    }
    let ids = async |filter: ListFilter| -> Vec<String> {
        let filter = ListFilter { caller: "sorter".into(), ..filter };
        store.list(filter).await.expect("answers").into_iter().map(|row| row.created.id).collect()
    };
    let both = ListFilter {
        states: ["passed", "failed", "passed"].map(Into::into).to_vec(),
        limit: 2,
        ..ListFilter::default()
    };
    assert_eq!(ids(both.clone()).await, ["s5", "s3"]);
    assert_eq!(ids(ListFilter { after: Some((30, "s3".into())), ..both.clone() }).await, ["s1"]);
    assert_eq!(ids(ListFilter { oldest_first: true, ..both.clone() }).await, ["s1", "s3"]);
    assert_eq!(ids(ListFilter { never_fetched: true, ..both.clone() }).await, ["s5", "s3"]);
    let by_reference = ListFilter { reference: "order-7".into(), flow: "f".into(), ..both };
    assert_eq!(ids(by_reference).await, ["s5", "s3"]);
    assert_eq!(ids(ListFilter { flow: "f".into(), limit: 9, ..ListFilter::default() }).await.len(), 5);
}

async fn counts_the_replicas_that_live(store: &dyn Store) {
    const LONG: Duration = Duration::from_secs(3600);
    let beat = async |replica, within| store.beat(replica, within).await.expect("answers");
    assert_eq!((beat("a", LONG).await, beat("a", LONG).await), (1, 1));
    let is_shared = store.engine() == "postgresql";
    assert_eq!(beat("b", LONG).await, if is_shared { 2 } else { 1 });
    assert_eq!(beat("b", Duration::ZERO).await, 1, "itself, when all others are dead");
    store.leave("a").await.expect("answers");
    assert_eq!(beat("b", LONG).await, 1);
    store.leave("b").await.expect("answers");
}

async fn create(store: &dyn Store, row: NewRow) -> Creation {
    create_with(store, row, mac()).await
}

async fn create_with(store: &dyn Store, row: NewRow, mac: RowMac) -> Creation {
    let effects = effects(&row.id);
    store.create_or_find(row, mac, effects).await.expect("answers")
}

fn effects(id: &str) -> Effects {
    Effects { audit: vec![event(id)], ..Effects::default() }
}

fn event(id: &str) -> AuditRow {
    AuditRow {
        at_ms: 1,
        actor: "orders".into(),
        action: "created".into(),
        verification_id: id.into(),
        credential: String::new(),
    }
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
        key_id: "k1".into(),
        request_fingerprint: b"fingerprint".to_vec(),
        token_hash: format!("hash of {id}").into_bytes(),
        id_card_hash: None,
        vendor_request_id: "vendor-1".into(),
        created_at_ms: 1_000,
        expires_at_ms: 7_201_000,
        result_until_ms: 259_201_000,
        sealed_session: vec![0, 255],
        sealed_subject: vec![],
    }
}
