//! What READ COMMITTED, lost connections and clocks that differ would break on PostgreSQL. Another
//! transaction is held open where a race needs it.

use super::{create, effects, mac, row};
use faceid_gateway::{
    domain::job::JobKind,
    store::{
        Creation, ErrorKind, Store,
        postgres::{PostgresOptions, PostgresStore},
        row::{Effects, EvidenceRow, NewEvent, NewJob, ProgressRow},
    },
};
use std::sync::{Arc, Mutex};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_postgres::{Client, Config, NoTls, config::SslMode};

#[tokio::test]
async fn a_lost_answer_to_a_commit_is_ambiguous_and_a_create_is_read_again() {
    // As a pooler says that the server is lost: SQLSTATE 08P01.
    const LOST: &[u8] = b"E\0\0\0\x25SERROR\0VERROR\0C08P01\0Mno server\0\0";
    let (direct, behind, answer) = behind_a_proxy().await;
    let store = open(&behind).await;
    for (id, lost) in [("cut", &b""[..]), ("told", LOST)] {
        *answer.lock().expect("no panic") = Some(lost);
        assert!(matches!(create(&*store, row(id, None)).await, Creation::Created), "{id}");
        *answer.lock().expect("no panic") = Some(lost);
        let error = store.advance(id, 1, ProgressRow::pending(), mac(), Effects::default()).await.expect_err("lost");
        assert_eq!(error.kind, ErrorKind::Ambiguous, "{error}");
        assert_eq!(open(&direct).await.find(id).await.expect("answers").expect("a row").version, 2, "it was done");
    }
}

#[tokio::test]
async fn a_column_that_a_newer_version_adds_disturbs_nothing() {
    let options = crate::engine::postgres_database();
    let store = open(&options).await;
    create(&*store, row("before", Some("r"))).await;
    assert!(store.find("before").await.expect("answers").is_some());
    assert!(matches!(create(&*store, row("again", Some("r"))).await, Creation::Found(_)));
    let other = connect(&options).await;
    other.batch_execute("ALTER TABLE verifications ADD COLUMN newer TEXT").await.expect("altered");
    assert!(store.find("before").await.expect("answers").is_some());
    assert!(matches!(create(&*store, row("again", Some("r"))).await, Creation::Found(_)));
}

#[tokio::test]
async fn a_job_is_due_by_the_gateways_clock_and_leased_by_the_databases() {
    let options = crate::engine::postgres_database();
    let database = options.config.get_dbname().expect("a name");
    let an_hour_ahead = format!(
        "CREATE FUNCTION public.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS \
         $$ SELECT pg_catalog.clock_timestamp() + interval '1 hour' $$; \
         ALTER DATABASE {database} SET search_path = public, pg_catalog"
    );
    connect(&options).await.batch_execute(&an_hour_ahead).await.expect("set");
    let store = open(&options).await;
    let job = NewJob { kind: JobKind::Rewrap, subject: "s".into(), due_at_ms: 100, rank_ms: 0 };
    store.add_job(job).await.expect("answers");
    let claim = async |now_ms| store.claim_jobs(JobKind::Rewrap, now_ms, now_ms + 10, 1).await.expect("answers").len();
    assert_eq!((claim(99).await, claim(100).await), (0, 1));
    let until = crate::engine::count_in(&options, "SELECT lease_until_ms FROM jobs");
    assert!((3_599_000..3_602_000).contains(&until), "{until}");
    assert_eq!((claim(109).await, claim(110).await), (0, 1));
}

#[tokio::test]
async fn an_event_of_a_late_commit_keeps_its_webhook_job() {
    let options = crate::engine::postgres_database();
    let store = open(&options).await;
    let job = NewJob { kind: JobKind::Webhook, subject: "w".into(), due_at_ms: 0, rank_ms: 0 };
    let first = Effects { events: vec![happened()], jobs: vec![job.clone()], ..Effects::default() };
    store.create_or_find(row("w", None), mac(), first).await.expect("answers");
    let seq = store.last_event().await.expect("answers");
    let held = store.claim_jobs(JobKind::Webhook, 1, 2, 1).await.expect("answers").remove(0);

    // The event's transaction is under way while the delivery is noted.
    let mut other = connect(&options).await;
    let late = other.transaction().await.expect("begun");
    let event = "UPDATE jobs SET failures = failures; UPDATE event_places SET last = last + 1; \
                 INSERT INTO events SELECT (SELECT last FROM event_places), at_ms, caller, verification_id, flow, kind, \
                 state, last_attempt_code FROM events";
    late.batch_execute(event).await.expect("written");
    let noting = tokio::spawn({
        let store = Arc::clone(&store);
        async move { store.note_delivered(&held, seq, 5).await }
    });
    until_one_waits(&options).await;
    late.commit().await.expect("committed");
    noting.await.expect("no panic").expect("answers");
    assert_eq!(store.undelivered("w", 9).await.expect("answers").len(), 1);

    // The job's end is under way while an event comes.
    let ending = other.transaction().await.expect("begun");
    ending.batch_execute("DELETE FROM jobs").await.expect("written");
    let next = Effects { events: vec![happened()], jobs: vec![job], ..Effects::default() };
    let advancing = tokio::spawn({
        let store = Arc::clone(&store);
        async move { store.advance("w", 1, ProgressRow::pending(), mac(), next).await }
    });
    until_one_waits(&options).await;
    ending.commit().await.expect("committed");
    assert!(advancing.await.expect("no panic").expect("answers"));
    assert!(store.has_job(JobKind::Webhook, "w").await.expect("answers"));
}

#[tokio::test]
async fn evidence_that_meets_a_redaction_is_not_kept() {
    let options = crate::engine::postgres_database();
    let store = open(&options).await;
    create(&*store, row("v", None)).await;
    let job = NewJob { kind: JobKind::FetchEvidence, subject: "v".into(), due_at_ms: 0, rank_ms: 0 };
    store.add_job(job).await.expect("answers");
    let held = store.claim_jobs(JobKind::FetchEvidence, 1, 2, 1).await.expect("answers").remove(0);
    let mut other = connect(&options).await;
    let redacting = other.transaction().await.expect("begun");
    redacting.batch_execute("UPDATE verifications SET redacted_at_ms = 1").await.expect("written");
    let storing = tokio::spawn({
        let store = Arc::clone(&store);
        async move { store.put_evidence(&held, vec![photo()], effects("v")).await }
    });
    until_one_waits(&options).await;
    redacting.commit().await.expect("committed");
    assert!(!storing.await.expect("no panic").expect("answers"));
    assert!(store.evidence_of("v").await.expect("answers").is_empty());
}

#[tokio::test]
async fn a_transaction_that_loses_a_deadlock_is_done_again() {
    let options = crate::engine::postgres_database();
    let store = open(&options).await;
    create(&*store, row("d", None)).await;
    let mut other = connect(&options).await;
    // It waits longer than the other before it looks for a deadlock: the store's is the one that is ended.
    other.batch_execute("SET deadlock_timeout = '30s'").await.expect("set");
    let holding = other.transaction().await.expect("begun");
    holding.batch_execute("UPDATE event_places SET last = last").await.expect("written");
    let next = Effects { events: vec![happened()], ..Effects::default() };
    let advancing = tokio::spawn({
        let store = Arc::clone(&store);
        async move { store.advance("d", 1, ProgressRow::pending(), mac(), next).await }
    });
    until_one_waits(&options).await;
    holding.batch_execute("UPDATE verifications SET reference = 'later'").await.expect("written");
    holding.commit().await.expect("committed");
    assert!(advancing.await.expect("no panic").expect("answers"));
    assert_eq!(store.find("d").await.expect("answers").expect("a row").version, 2);
}

fn happened() -> NewEvent {
    NewEvent {
        at_ms: 7,
        caller: "orders".into(),
        verification_id: "w".into(),
        flow: "onboarding".into(),
        kind: "attempted".into(),
        state: "pending".into(),
        last_attempt_code: None,
    }
}

fn photo() -> EvidenceRow {
    EvidenceRow {
        id: "e".into(),
        verification_id: "v".into(),
        kind: "best_frame".into(),
        position: 0,
        attempt_seq: None,
        content_type: "image/jpeg".into(),
        size_bytes: 7,
        sha256: None,
        sealed_key: Some(vec![1, 0]),
        stored_at_ms: 5,
        erased_at_ms: None,
        blob_deleted: false,
    }
}

async fn open(options: &PostgresOptions) -> Arc<dyn Store> {
    Arc::new(PostgresStore::open(options).await.expect("store opens"))
}

async fn connect(options: &PostgresOptions) -> Client {
    let (client, connection) = options.config.connect(NoTls).await.expect("PostgreSQL is reached");
    tokio::spawn(connection);
    client
}

/// A transaction of this database waits for a lock of another.
async fn until_one_waits(options: &PostgresOptions) {
    let client = connect(options).await;
    let sql = "SELECT EXISTS (SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock')";
    while !client.query_one(sql, &[]).await.expect("answers").get::<_, bool>(0) {
        tokio::task::yield_now().await;
    }
}

/// What the answer to the next COMMIT is replaced with, before the connection is cut.
type Answer = Arc<Mutex<Option<&'static [u8]>>>;

/// A database, and the same behind a proxy.
async fn behind_a_proxy() -> (PostgresOptions, PostgresOptions, Answer) {
    let direct = crate::engine::postgres_database();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let mut config = Config::new();
    config.host("127.0.0.1").port(listener.local_addr().expect("an address").port()).ssl_mode(SslMode::Disable);
    config.user(direct.config.get_user().expect("a user")).dbname(direct.config.get_dbname().expect("a name"));
    let behind = PostgresOptions { config, ..direct.clone() };
    let answer = Answer::default();
    let (server, of_proxy) = (direct.config.get_ports()[0], Arc::clone(&answer));
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(("127.0.0.1", server)).await.expect("PostgreSQL is reached");
            tokio::spawn(relay(client, server, Arc::clone(&of_proxy)));
        }
    });
    (direct, behind, answer)
}

async fn relay(mut client: TcpStream, mut server: TcpStream, answer: Answer) {
    let (mut up, mut down) = ([0; 8192], [0; 8192]);
    let mut instead = None;
    loop {
        tokio::select! {
            read = client.read(&mut up) => {
                let Ok(length @ 1..) = read else { return };
                if up[..length].windows(7).any(|word| word == b"COMMIT\0") {
                    instead = answer.lock().expect("no panic").take();
                }
                server.write_all(&up[..length]).await.expect("PostgreSQL listens");
            }
            read = server.read(&mut down) => {
                let Ok(length @ 1..) = read else { return };
                if let Some(instead) = instead {
                    client.write_all(instead).await.expect("the store listens");
                    return;
                }
                client.write_all(&down[..length]).await.expect("the store listens");
            }
        }
    }
}
