//! The database that the tests of the gateway run on: SQLite, or with FACEID_TEST_STORE=postgresql a
//! PostgreSQL server that `scripts/with-postgres` has started.

use faceid_gateway::store::postgres::{PostgresOptions, PostgresTls};
use std::{fs, path::Path, thread};
use tokio_postgres::{Client, Config, NoTls};

const SERVER: &str = "FACEID_TEST_POSTGRES";

/// Whether the gateways of the tests store in PostgreSQL.
pub fn is_postgresql() -> bool {
    match std::env::var("FACEID_TEST_STORE").as_deref() {
        Err(_) | Ok("sqlite") => false,
        Ok("postgresql") => true,
        Ok(other) => panic!("FACEID_TEST_STORE={other} is neither sqlite nor postgresql"),
    }
}

/// As the gateway says it.
pub fn name() -> &'static str {
    if is_postgresql() { "postgresql" } else { "sqlite" }
}

/// The store of a gateway whose data is in `folder`: each folder has its own.
pub fn store_url(folder: &Path) -> String {
    if !is_postgresql() {
        return format!("sqlite:{}", folder.join("gateway.db").display());
    }
    let name = database_of(folder);
    on_server(None, {
        let name = name.clone();
        async move |client| {
            let known = client.query_opt("SELECT 1 FROM pg_database WHERE datname = $1", &[&name]).await;
            if known.expect("an answer").is_none() {
                client.batch_execute(&format!("CREATE DATABASE {name}")).await.expect("a database");
            }
        }
    });
    server().replace("/postgres?", &format!("/{name}?"))
}

/// A number, read past the gateway whose data is in `folder`.
pub fn count(folder: &Path, sql: &str) -> i64 {
    if is_postgresql() {
        // Sums are of type NUMERIC there.
        let sql = format!("SELECT ({sql})::bigint");
        let read = async move |client: &Client| client.query_one(&sql, &[]).await.expect("a row").get(0);
        return on_server(Some(database_of(folder)), read);
    }
    sqlite(folder).query_row(sql, [], |row| row.get(0)).expect("a count")
}

/// A column of texts, read past the gateway whose data is in `folder`.
pub fn texts(folder: &Path, sql: &str) -> Vec<Option<String>> {
    if is_postgresql() {
        let sql = sql.to_owned();
        let read = async move |client: &Client| {
            client.query(&sql, &[]).await.expect("rows").iter().map(|row| row.get(0)).collect()
        };
        return on_server(Some(database_of(folder)), read);
    }
    let database = sqlite(folder);
    let mut select = database.prepare(sql).expect("a query");
    select.query_map([], |row| row.get(0)).expect("rows").map(|row| row.expect("a text")).collect()
}

/// Writes past the gateway whose data is in `folder`. Gives the number of rows.
pub fn execute(folder: &Path, sql: &str) -> u64 {
    if is_postgresql() {
        let sql = sql.to_owned();
        let write = async move |client: &Client| client.execute(&sql, &[]).await.expect("written");
        return on_server(Some(database_of(folder)), write);
    }
    sqlite(folder).execute(sql, []).expect("written") as u64
}

/// Whether a text stands anywhere in the database as it is.
pub fn holds(folder: &Path, text: &str) -> bool {
    if !is_postgresql() {
        let file = |name: &str| fs::read(folder.join(name)).unwrap_or_default();
        let bytes = [file("gateway.db"), file("gateway.db-wal")].concat();
        return bytes.windows(text.len()).any(|window| window == text.as_bytes());
    }
    let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
    ["verifications", "evidence", "events", "audit_events", "attempts"].into_iter().any(|table| {
        let rows =
            format!("SELECT count(*) FROM {table} WHERE {table}::text LIKE '%{hex}%' OR {table}::text LIKE '%{text}%'");
        count(folder, &rows) > 0
    })
}

/// A database of its own, empty.
pub fn postgres_database() -> PostgresOptions {
    let name = format!("test_{}", uuid::Uuid::new_v4().simple());
    let create = format!("CREATE DATABASE {name}");
    on_server(None, async move |client: &Client| client.batch_execute(&create).await.expect("a database"));
    let mut config: Config = server().parse().expect("a URL");
    config.dbname(&name);
    PostgresOptions { config, password_file: None, tls: PostgresTls::default(), max_connections: 8 }
}

/// As a configuration names it.
pub fn url_of(database: &PostgresOptions) -> String {
    let name = database.config.get_dbname().expect("a database has a name");
    server().replace("/postgres?", &format!("/{name}?"))
}

/// A number, read past the gateway that has this database.
pub fn count_in(database: &PostgresOptions, sql: &str) -> i64 {
    let (name, sql) = (database.config.get_dbname().expect("a database has a name").to_owned(), sql.to_owned());
    on_server(Some(name), async move |client: &Client| client.query_one(&sql, &[]).await.expect("a row").get(0))
}

/// The URL of the server's database `postgres`.
fn server() -> String {
    std::env::var(SERVER)
        .unwrap_or_else(|_| panic!("{SERVER} names no server: run the tests as `scripts/with-postgres cargo test`"))
}

fn database_of(folder: &Path) -> String {
    let name = folder.file_name().expect("a folder has a name").to_string_lossy();
    let letters: String = name.bytes().map(|byte| format!("{byte:02x}")).collect();
    format!("test_{letters}")
}

fn sqlite(folder: &Path) -> rusqlite::Connection {
    rusqlite::Connection::open(folder.join("gateway.db")).expect("a database")
}

/// On a thread of its own: tests that are in a runtime may wait for it.
fn on_server<T: Send + 'static>(database: Option<String>, work: impl AsyncFnOnce(&Client) -> T + Send + 'static) -> T {
    let mut config: Config = server().parse().expect("a URL");
    if let Some(database) = database {
        config.dbname(&database);
    }
    let connected = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let (client, connection) = config.connect(NoTls).await.expect("PostgreSQL is reached");
            tokio::spawn(connection);
            work(&client).await
        })
    };
    thread::spawn(connected).join().expect("no panic")
}
