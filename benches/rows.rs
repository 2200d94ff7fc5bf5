//! What the number of rows costs: calls of the store with many verifications, held against the same
//! calls with 10,000.
//!
//! ```text
//! scripts/load rows [--rows 1000000] [--store postgresql]
//! ```
//!
//! Both stores are filled through the contract, as the gateway writes: verifications over 170 days
//! with three attempts each, events, jobs and audit trail. Then each call goes to one and to the
//! other in turns, so that what else the machine does meets both alike. Prints a table; the ratio
//! is of the medians.

use faceid_gateway::{
    domain::{job::JobKind, sealed},
    store::{
        Creation, Store,
        postgres::{PostgresOptions, PostgresStore, PostgresTls},
        row::{
            AttemptRow, AuditFilter, AuditRow, Effects, ListFilter, NewEvent, NewJob, NewRow, ProgressRow, RowMac,
            UsageFilter,
        },
        sqlite::SqliteStore,
    },
};
use futures_util::{StreamExt, stream};
use sha2::{Digest, Sha256};
use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

const FEW: u64 = 10_000;
const DAY_MS: i64 = 86_400_000;
const DAYS: i64 = 170;
/// 2026-01-01, in Beijing.
const FIRST_MS: i64 = 1_767_196_800_000;
const NOW_MS: i64 = FIRST_MS + DAYS * DAY_MS;
/// Half of all verifications are its.
const BIG_CALLER: &str = "orders";
const PAGE: u32 = 100;
/// Writes that wait together while a store is filled: two batches of its writer.
const IN_FLIGHT: usize = 512;
const CONNECTIONS: usize = 16;
/// Each call is measured so often in each store.
const ROUNDS: usize = 40;
const CALLS_PER_ROUND: usize = 10;

fn main() {
    let rows = rows_of_command_line();
    tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime").block_on(compare(rows));
}

fn rows_of_command_line() -> u64 {
    let mut arguments = std::env::args().skip_while(|argument| argument != "--rows");
    arguments.next().and_then(|_| arguments.next()).map_or(1_000_000, |rows| rows.parse().expect("--rows N"))
}

async fn compare(rows: u64) {
    let folder = tempfile::TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary folder");
    let few = Filled::new(&folder.path().join("few"), FEW).await;
    let many = Filled::new(&folder.path().join("many"), rows).await;
    println!("\n| call | p50 of {FEW} | of {rows} | ratio | p99 of {FEW} | of {rows} |\n|---|---|---|---|---|---|");
    for call in calls() {
        let (mut of_few, mut of_many) = (Vec::new(), Vec::new());
        for round in 0..call.rounds {
            for (store, taken) in [(&few, &mut of_few), (&many, &mut of_many)] {
                for i in 0..CALLS_PER_ROUND {
                    taken.push(call.taken(store, (round * CALLS_PER_ROUND + i) as u64).await);
                }
            }
        }
        let ratio = percentile(&of_many, 0.5).as_secs_f64() / percentile(&of_few, 0.5).as_secs_f64();
        println!(
            "| {} | {} | {} | {ratio:.2} | {} | {} |",
            call.name,
            told(percentile(&of_few, 0.5)),
            told(percentile(&of_many, 0.5)),
            told(percentile(&of_few, 0.99)),
            told(percentile(&of_many, 0.99)),
        );
    }
    beside_slow_reads(&many).await;
}

/// Point reads and creates, without and with a read beside them that looks at each row of the big
/// caller and finds none.
async fn beside_slow_reads(store: &Filled) {
    println!(
        "\n| call | p50 alone | beside a slow read | p99 alone | beside a slow read | ratio |\n|---|---|---|---|---|---|"
    );
    let calls = calls();
    for call in calls.iter().filter(|call| call.is_quick) {
        let (mut alone, mut beside) = (Vec::new(), Vec::new());
        for round in 0..6 {
            let slow_read = (round % 2 == 1).then(|| {
                let store = Arc::clone(&store.store);
                tokio::spawn(async move {
                    loop {
                        // One that is stopped after the time limit is as good.
                        let _ =
                            store.list(ListFilter { flow: "none".into(), states: states(&["passed"]), ..page() }).await;
                    }
                })
            });
            let taken = if slow_read.is_some() { &mut beside } else { &mut alone };
            let until = Instant::now() + Duration::from_secs(2);
            while Instant::now() < until {
                taken.push(call.taken(store, taken.len() as u64).await);
            }
            slow_read.inspect(|task| task.abort());
        }
        let ratio = percentile(&beside, 0.99).as_secs_f64() / percentile(&alone, 0.99).as_secs_f64();
        println!(
            "| {} | {} | {} | {} | {} | {ratio:.2} |",
            call.name,
            told(percentile(&alone, 0.5)),
            told(percentile(&beside, 0.5)),
            told(percentile(&alone, 0.99)),
            told(percentile(&beside, 0.99)),
        );
    }
}

// --- A store with its rows -----------------------------------------------------------------------

struct Filled {
    store: Arc<dyn Store>,
    rows: u64,
}

fn sqlite(folder: &Path) -> Arc<dyn Store> {
    Arc::new(SqliteStore::open(&folder.join("gateway.db")).expect("a store"))
}

/// A database of its own on the server of scripts/with-postgres. Its commits do not wait for a disk.
async fn postgresql() -> Arc<dyn Store> {
    let server = std::env::var("FACEID_TEST_POSTGRES").expect("a server: scripts/load rows starts one");
    let mut config: tokio_postgres::Config = server.parse().expect("a URL");
    let (client, connection) = config.connect(tokio_postgres::NoTls).await.expect("PostgreSQL is reached");
    tokio::spawn(connection);
    let name = format!("rows_{}", uuid::Uuid::new_v4().simple());
    client.batch_execute(&format!("CREATE DATABASE {name}")).await.expect("a database");
    config.dbname(&name);
    let options =
        PostgresOptions { config, password_file: None, tls: PostgresTls::default(), max_connections: CONNECTIONS };
    Arc::new(PostgresStore::open(&options).await.expect("a store"))
}

impl Filled {
    async fn new(folder: &Path, rows: u64) -> Self {
        let is_postgresql = std::env::args().any(|argument| argument == "postgresql");
        let store = if is_postgresql { postgresql().await } else { sqlite(folder) };
        let filled = Self { store, rows };
        let started = Instant::now();
        let in_flight = if is_postgresql { CONNECTIONS } else { IN_FLIGHT };
        stream::iter(0..rows).for_each_concurrent(in_flight, |i| filled.put(i)).await;
        eprintln!("{rows} verifications in {:.0} s", started.elapsed().as_secs_f64());
        filled
    }

    /// Everything that the gateway writes of one verification.
    async fn put(&self, i: u64) {
        let row = self.row(i);
        let (id, caller, flow, at_ms) = (row.id.clone(), row.caller.clone(), row.flow.clone(), row.created_at_ms);
        let state = self.state(i);
        let mut effects = Effects {
            audit: vec![audit_row(&caller, "created", &id, at_ms)],
            events: vec![event(&row, "created", "pending", at_ms)],
            ..Effects::default()
        };
        if state == "pending" {
            effects.jobs.push(NewJob {
                kind: JobKind::Settle,
                subject: id.clone(),
                due_at_ms: at_ms + 60_000,
                rank_ms: at_ms,
            });
        }
        let settled = (state != "pending").then(|| settled(&row, state));
        let created = self.store.create_or_find(row, mac(), effects).await.expect("written");
        assert!(matches!(created, Creation::Created), "row {i} is new");
        let Some((progress, mut effects)) = settled else { return };
        effects.audit.push(audit_row(&caller, "result_read", &id, at_ms));
        assert!(self.store.advance(&id, 1, progress, mac(), effects).await.expect("written"), "{flow}");
        // Some results are never asked for.
        if !digest(i)[3].is_multiple_of(50) {
            self.store.mark_fetched(&id, at_ms + 200_000).await.expect("written");
        }
    }

    fn created_at_ms(&self, i: u64) -> i64 {
        FIRST_MS + (i as f64 / self.rows as f64 * (DAYS * DAY_MS) as f64) as i64
    }

    /// The newest fiftieth is pending.
    fn state(&self, i: u64) -> &'static str {
        match digest(i)[2] {
            _ if i > self.rows - self.rows / 50 => "pending",
            0..200 => "passed",
            200..245 => "failed",
            245..253 => "expired",
            _ => "canceled",
        }
    }

    fn row(&self, i: u64) -> NewRow {
        let hash = digest(i);
        let created_at_ms = self.created_at_ms(i);
        let is_recent = created_at_ms > NOW_MS - DAY_MS;
        NewRow {
            id: self.id(i),
            caller: caller(i),
            flow: if hash[1] < 230 { "onboarding" } else { "photo" }.into(),
            rule_id: "1".into(),
            credential: "default".into(),
            reference: if hash[4] < 32 { String::new() } else { reference(i) },
            intention: None,
            request_id: Some(format!("request-{i}")),
            key_id: "k1".into(),
            request_fingerprint: hash.to_vec(),
            token_hash: token_hash(i),
            // Those that are older are forgotten.
            id_card_hash: is_recent.then(|| hash[..16].to_vec()),
            vendor_request_id: uuid(created_at_ms, &hash),
            created_at_ms,
            expires_at_ms: created_at_ms + 7_200_000,
            result_until_ms: created_at_ms + 3 * DAY_MS,
            sealed_session: sealed_bytes(&hash, 600),
            sealed_subject: sealed_bytes(&hash, 300),
        }
    }

    fn id(&self, i: u64) -> String {
        uuid(self.created_at_ms(i), &digest(i))
    }

    /// One of the verifications, another for each turn.
    fn any(&self, turn: u64) -> u64 {
        u64::from_le_bytes(digest(!turn)[..8].try_into().expect("8 bytes")) % self.rows
    }

    /// One of the big caller's, in the middle of all.
    fn in_the_middle(&self, turn: u64) -> u64 {
        (self.rows / 4 + self.any(turn) / 2..).find(|i| caller(*i) == BIG_CALLER).expect("half of all")
    }
}

fn settled(row: &NewRow, state: &str) -> (ProgressRow, Effects) {
    let at_ms = row.created_at_ms + 180_000;
    let code = if state == "passed" { 0 } else { 2016 };
    let attempts = (0..3).map(|n| AttemptRow {
        verification_id: row.id.clone(),
        seq: format!("{}-{n}", &row.vendor_request_id[..13]),
        at_ms: Some(row.created_at_ms + 50_000 * (n + 1)),
        code: Some(if n == 2 { code } else { 2016 }),
        charged: Some(n == 2),
    });
    let effects = Effects {
        events: vec![event(row, "settled", state, at_ms)],
        jobs: vec![NewJob {
            kind: JobKind::Redact,
            subject: row.id.clone(),
            due_at_ms: at_ms + 180 * DAY_MS,
            rank_ms: at_ms,
        }],
        attempts: attempts.collect(),
        ..Effects::default()
    };
    let progress = ProgressRow {
        state: state.into(),
        settled_at_ms: Some(at_ms),
        checked_at_ms: Some(at_ms),
        check_request_id: Some(row.vendor_request_id.clone()),
        last_attempt_code: Some(code),
        last_attempt_at_ms: Some(at_ms - 30_000),
        sealed_result: Some(sealed_bytes(&digest(0), 900)),
        ..ProgressRow::pending()
    };
    (progress, effects)
}

fn event(row: &NewRow, kind: &str, state: &str, at_ms: i64) -> NewEvent {
    NewEvent {
        at_ms,
        caller: row.caller.clone(),
        verification_id: row.id.clone(),
        flow: row.flow.clone(),
        kind: kind.into(),
        state: state.into(),
        last_attempt_code: None,
    }
}

fn audit_row(actor: &str, action: &str, verification_id: &str, at_ms: i64) -> AuditRow {
    AuditRow {
        at_ms,
        actor: actor.into(),
        action: action.into(),
        verification_id: verification_id.into(),
        ..AuditRow::default()
    }
}

fn digest(i: u64) -> [u8; 32] {
    Sha256::digest(i.to_le_bytes()).into()
}

fn caller(i: u64) -> String {
    let byte = digest(i)[0];
    if byte < 128 { BIG_CALLER.into() } else { format!("caller-{}", byte % 10) }
}

fn reference(i: u64) -> String {
    format!("order-{i}")
}

fn token_hash(i: u64) -> Vec<u8> {
    Sha256::digest(digest(i)).to_vec()
}

fn uuid(at_ms: i64, hash: &[u8; 32]) -> String {
    let random = hash[16..26].try_into().expect("10 bytes");
    uuid::Builder::from_unix_timestamp_millis(at_ms as u64, &random).into_uuid().to_string()
}

/// As long as what the gateway seals; nothing opens it here.
fn sealed_bytes(hash: &[u8; 32], length: usize) -> Vec<u8> {
    let head = [sealed::FORMAT, 2, b'k', b'1'];
    head.into_iter().chain(hash.iter().copied().cycle()).take(length).collect()
}

fn mac() -> RowMac {
    RowMac { key_id: "k1".into(), mac: vec![7; 32] }
}

// --- The calls -----------------------------------------------------------------------------------

struct Call {
    name: &'static str,
    rounds: usize,
    /// Measured beside a slow read, too.
    is_quick: bool,
    what: What,
}

enum What {
    Find,
    FindByRequestId,
    FindByToken,
    Create,
    Settle,
    Claim,
    Watch,
    IdCard,
    List(fn(&Filled, u64) -> ListFilter),
    AuditOf,
    Audit(fn() -> AuditFilter),
    Usage(i64, &'static str),
    Unsettled,
    SealingKeys,
    KeyUse,
}

fn calls() -> Vec<Call> {
    let call = |name, what| Call { name, rounds: ROUNDS, is_quick: false, what };
    let quick = |name, what| Call { is_quick: true, ..call(name, what) };
    let list = |name, filter| call(name, What::List(filter));
    vec![
        quick("GetResult: by id", What::Find),
        call("by request id", What::FindByRequestId),
        call("callback: by token", What::FindByToken),
        quick("Create", What::Create),
        call("settle, with three attempts", What::Settle),
        call("claim 10 due jobs, and give them back", What::Claim),
        call("Watch: 100 events from the middle", What::Watch),
        call("uses of an ID card", What::IdCard),
        list("List: newest", |_, _| page()),
        list("List: oldest first", |_, _| ListFilter { oldest_first: true, ..page() }),
        list("List: a page in the middle", |store, turn| {
            let i = store.in_the_middle(turn);
            ListFilter { after: Some((store.created_at_ms(i), store.id(i))), ..page() }
        }),
        list("List: one state", |_, _| ListFilter { states: states(&["failed"]), ..page() }),
        list("List: three states", |_, _| ListFilter { states: states(&["failed", "passed", "expired"]), ..page() }),
        list("List: flow", |_, _| ListFilter { flow: "photo".into(), ..page() }),
        list("List: flow and state", |_, _| ListFilter { flow: "photo".into(), states: states(&["passed"]), ..page() }),
        list("List: reference", |store, turn| ListFilter { reference: reference(store.in_the_middle(turn)), ..page() }),
        list("List: from a time on", |store, turn| {
            let from_ms = store.created_at_ms(store.in_the_middle(turn));
            ListFilter { created_from_ms: Some(from_ms), oldest_first: true, ..page() }
        }),
        list("List: before a time, one state", |store, turn| {
            let before_ms = store.created_at_ms(store.in_the_middle(turn));
            ListFilter { created_before_ms: Some(before_ms), states: states(&["passed"]), ..page() }
        }),
        list("List: never fetched", |_, _| ListFilter { never_fetched: true, ..page() }),
        call("audit trail of a verification", What::AuditOf),
        call(
            "audit trail: an actor's newest",
            What::Audit(|| AuditFilter { actor: BIG_CALLER.into(), limit: PAGE, ..AuditFilter::default() }),
        ),
        call(
            "audit trail: an action, 30 days ago",
            What::Audit(|| AuditFilter {
                action: "created".into(),
                from_ms: Some(NOW_MS - 31 * DAY_MS),
                before_ms: Some(NOW_MS - 30 * DAY_MS),
                limit: PAGE,
                ..AuditFilter::default()
            }),
        ),
        call("GetUsage: a caller, 31 days", What::Usage(31, BIG_CALLER)),
        call("GetUsage: all, 170 days", What::Usage(DAYS, "")),
        call("start: which keys seal", What::SealingKeys),
        Call { rounds: 2, ..call("gauge: what is unsettled (counts)", What::Unsettled) },
        Call { rounds: 1, ..call("ListVaultKeys (counts all rows)", What::KeyUse) },
    ]
}

fn page() -> ListFilter {
    ListFilter { caller: BIG_CALLER.into(), limit: PAGE, ..ListFilter::default() }
}

fn states(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

impl Call {
    /// How long one took. What is only made for it, or put back, is not counted.
    async fn taken(&self, of: &Filled, turn: u64) -> Duration {
        let store = &of.store;
        let i = of.any(turn);
        match &self.what {
            What::Find => timed(store.find(&of.id(i)), Option::is_some).await.0,
            What::FindByRequestId => {
                let (caller, request_id) = (caller(i), format!("request-{i}"));
                timed(store.find_by_request_id(&caller, &request_id), Option::is_some).await.0
            }
            What::FindByToken => timed(store.find_by_token_hash(vec![token_hash(i)]), Option::is_some).await.0,
            What::Create => self.create(of).await.1,
            What::Settle => {
                let row = self.create(of).await.0;
                let (progress, effects) = settled(&row, "passed");
                timed(store.advance(&row.id, 1, progress, mac(), effects), |done| *done).await.0
            }
            What::Claim => {
                let claim = store.claim_jobs(JobKind::Settle, NOW_MS, NOW_MS + 60_000, 10);
                let (taken, jobs) = timed(claim, |jobs| jobs.len() == 10).await;
                for job in &jobs {
                    store.reschedule_job(job, NOW_MS - 1, 0).await.expect("written");
                }
                taken
            }
            What::Watch => {
                let newest = store.last_event().await.expect("read");
                let from = i64::try_from(i).expect("small") * newest / i64::try_from(of.rows).expect("small") / 2;
                timed(store.events_after(BIG_CALLER, "", from, PAGE), |events| events.len() == PAGE as usize).await.0
            }
            What::IdCard => {
                let hash = digest(of.rows - 1 - i % 50)[..16].to_vec();
                timed(store.id_card_uses(vec![hash], BIG_CALLER, NOW_MS - DAY_MS), |_| true).await.0
            }
            What::List(filter) => timed(store.list(filter(of, turn)), |_| true).await.0,
            What::AuditOf => timed(store.audit_of(&of.id(i)), |events| !events.is_empty()).await.0,
            What::Audit(filter) => timed(store.audit_events(filter()), |events| !events.is_empty()).await.0,
            What::Usage(days, caller) => {
                let last_day = NOW_MS / DAY_MS;
                let filter = UsageFilter {
                    first_day: last_day - days,
                    last_day,
                    caller: (*caller).to_owned(),
                    flow: String::new(),
                };
                timed(store.usage(filter), |days| !days.is_empty()).await.0
            }
            What::Unsettled => timed(store.unsettled(NOW_MS), |_| true).await.0,
            What::SealingKeys => timed(store.sealing_keys(), |keys| keys.len() == 1).await.0,
            What::KeyUse => timed(store.key_use(), |_| true).await.0,
        }
    }

    async fn create(&self, of: &Filled) -> (NewRow, Duration) {
        let fresh = uuid::Uuid::new_v4();
        let hash: [u8; 32] = Sha256::digest(fresh.as_bytes()).into();
        let row = NewRow {
            id: uuid(NOW_MS, &hash),
            caller: BIG_CALLER.into(),
            request_id: Some(fresh.to_string()),
            token_hash: hash.to_vec(),
            created_at_ms: NOW_MS,
            ..of.row(of.rows - 1)
        };
        let effects = Effects {
            audit: vec![audit_row(BIG_CALLER, "created", &row.id, NOW_MS)],
            events: vec![event(&row, "created", "pending", NOW_MS)],
            jobs: vec![NewJob {
                kind: JobKind::Settle,
                subject: row.id.clone(),
                due_at_ms: NOW_MS + DAY_MS,
                rank_ms: NOW_MS,
            }],
            ..Effects::default()
        };
        let is_new = |made: &Creation| matches!(made, Creation::Created);
        let (taken, _) = timed(of.store.create_or_find(row.clone(), mac(), effects), is_new).await;
        (row, taken)
    }
}

async fn timed<T>(
    call: impl Future<Output = Result<T, faceid_gateway::store::Error>>,
    is_right: impl Fn(&T) -> bool,
) -> (Duration, T) {
    let started = Instant::now();
    let answer = call.await;
    let taken = started.elapsed();
    let answer = answer.expect("an answer");
    assert!(is_right(&answer), "another answer than expected");
    (taken, answer)
}

fn percentile(taken: &[Duration], share: f64) -> Duration {
    let mut ordered = taken.to_vec();
    ordered.sort_unstable();
    ordered[((ordered.len() as f64 * share) as usize).min(ordered.len() - 1)]
}

fn told(duration: Duration) -> String {
    let us = duration.as_secs_f64() * 1e6;
    if us < 1000.0 { format!("{us:.0} µs") } else { format!("{:.1} ms", us / 1000.0) }
}
