//! Takes the rows of a store that is moved here from another engine.
//!
//! While it lasts there is a table `moving`, by which a start knows that it is not for gateways yet.
//! It holds which store comes, and how many rows of each table are there: a move that was cut off goes
//! on from there.

use super::{PostgresOptions, connect::Alone, failure::failed, schema};
use crate::{
    domain::store_identity::StoreIdentity,
    store::{
        Error, ErrorKind, Refusal,
        moving::{Cell, TABLES, TableSum},
    },
};
use futures_util::{TryStreamExt, pin_mut};
use tokio_postgres::{
    Client, Error as PgError, Row,
    binary_copy::BinaryCopyInWriter,
    types::{ToSql, Type},
};

/// A database that a store is moved to.
pub struct Import(Alone);

/// A column, and its type.
pub struct Column {
    pub name: String,
    kind: Type,
}

impl Import {
    /// Begins, or goes on with what was cut off.
    ///
    /// # Errors
    /// When PostgreSQL is not reached or refuses, has another store, or another one is being moved
    /// there.
    pub async fn begin(options: &PostgresOptions, from: StoreIdentity) -> Result<Self, Error> {
        let mut alone = Alone::connect(options).await?;
        schema::migrate(&mut alone.client).await?;
        let client = &alone.client;
        if !schema::is_being_moved_to(client).await.map_err(failed("import"))? {
            if let Some(table) = table_with_rows(client).await.map_err(failed("import"))? {
                let problem =
                    format!("table {table} has rows: it is another store's. Name an empty database in store.url");
                return Err(Error::new("import", ErrorKind::Refused(Refusal::InUse), problem));
            }
            // Both or none, in one transaction. An identity is hexadecimal digits, hyphens and a slash.
            let sql = format!(
                "CREATE TABLE moving (name TEXT PRIMARY KEY, rows BIGINT NOT NULL); \
                 INSERT INTO moving (name, rows) VALUES ('{from}', 0)"
            );
            client.batch_execute(&sql).await.map_err(failed("import"))?;
        }
        let sql = "SELECT count(*) FROM moving WHERE name = $1";
        let known: i64 = client.query_one(sql, &[&from.to_string()]).await.map_err(failed("import"))?.get(0);
        if known == 0 {
            let problem = "another store is being moved there: end that, or name an empty database in store.url";
            return Err(Error::new("import", ErrorKind::Refused(Refusal::InUse), problem));
        }
        Ok(Self(alone))
    }

    /// The columns of a table.
    ///
    /// # Errors
    /// When PostgreSQL refuses.
    pub async fn columns(&self, table: &str) -> Result<Vec<Column>, Error> {
        let statement = self.0.client.prepare(&format!("SELECT * FROM {table}")).await.map_err(failed("import"))?;
        let column =
            |column: &tokio_postgres::Column| Column { name: column.name().to_owned(), kind: column.type_().clone() };
        Ok(statement.columns().iter().map(column).collect())
    }

    /// How many rows of a table are there.
    ///
    /// # Errors
    /// When PostgreSQL refuses.
    pub async fn rows(&self, table: &str) -> Result<u64, Error> {
        let sql = "SELECT coalesce(max(rows), 0) FROM moving WHERE name = $1";
        let row = self.0.client.query_one(sql, &[&table]).await.map_err(failed("import"))?;
        row.try_get::<_, i64>(0).map(i64::unsigned_abs).map_err(failed("import"))
    }

    /// Adds rows to a table.
    ///
    /// # Errors
    /// When PostgreSQL refuses.
    pub async fn add(&mut self, table: &str, columns: &[Column], rows: &[Vec<Cell>]) -> Result<(), Error> {
        self.copy(table, columns, rows).await.map_err(failed("import"))
    }

    async fn copy(&mut self, table: &str, columns: &[Column], rows: &[Vec<Cell>]) -> Result<(), PgError> {
        let transaction = self.0.client.transaction().await?;
        let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
        let kinds: Vec<Type> = columns.iter().map(|column| column.kind.clone()).collect();
        let sink = transaction.copy_in(&format!("COPY {table} ({}) FROM STDIN BINARY", names.join(", "))).await?;
        let writer = BinaryCopyInWriter::new(sink, &kinds);
        pin_mut!(writer);
        for row in rows {
            let values: Vec<Box<dyn ToSql + Send + Sync>> =
                row.iter().zip(&kinds).map(|(cell, kind)| value(cell, kind)).collect();
            writer.as_mut().write_raw(values.iter().map(|value| &**value as &dyn ToSql)).await?;
        }
        writer.finish().await?;
        let sql =
            "INSERT INTO moving (name, rows) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET rows = moving.rows + $2";
        transaction.execute(sql, &[&table, &i64::try_from(rows.len()).unwrap_or(i64::MAX)]).await?;
        transaction.commit().await
    }

    /// The sum of a table's rows in the order of `key`.
    ///
    /// # Errors
    /// When PostgreSQL refuses.
    pub async fn sum(&self, table: &str, columns: &[Column], key: &str) -> Result<(u64, [u8; 32]), Error> {
        let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
        let sql = format!("SELECT {} FROM {table} ORDER BY {key}", names.join(", "));
        let summed = async {
            let none: [&(dyn ToSql + Sync); 0] = [];
            let rows = self.0.client.query_raw(&sql, none).await?;
            pin_mut!(rows);
            let mut sum = TableSum::default();
            while let Some(row) = rows.try_next().await? {
                let cells: Vec<Cell> = columns
                    .iter()
                    .enumerate()
                    .map(|(at, column)| cell(&row, at, &column.kind))
                    .collect::<Result<_, _>>()?;
                sum.add(&cells);
            }
            Ok(sum.finish())
        };
        summed.await.map_err(failed("import"))
    }

    /// All rows are there: it is the store, in a new epoch, and gateways may have it.
    ///
    /// # Errors
    /// When PostgreSQL refuses.
    pub async fn finish(mut self, identity: StoreIdentity) -> Result<(), Error> {
        let finished = async {
            let transaction = self.0.client.transaction().await?;
            transaction
                .batch_execute(
                    "UPDATE event_places SET last = (SELECT coalesce(max(seq), 0) FROM events); \
                     SELECT setval(pg_get_serial_sequence('audit_events', 'seq'), \
                         (SELECT coalesce(max(seq), 0) + 1 FROM audit_events), false); \
                     UPDATE jobs SET lease_token = NULL, lease_until_ms = NULL WHERE lease_token IS NOT NULL; \
                     DROP TABLE moving",
                )
                .await?;
            let id = identity.id.hyphenated().to_string();
            transaction.execute("UPDATE store SET id = $1, epoch = $2", &[&id, &i64::from(identity.epoch)]).await?;
            transaction.commit().await
        };
        finished.await.map_err(failed("import"))?;
        // Else the first lists go by what PostgreSQL guesses of empty tables.
        self.0.client.batch_execute("ANALYZE").await.map_err(failed("import"))
    }
}

async fn table_with_rows(client: &Client) -> Result<Option<&'static str>, PgError> {
    for (table, _) in TABLES {
        let sql = format!("SELECT EXISTS (SELECT 1 FROM {table})");
        if client.query_one(&sql, &[]).await?.try_get(0)? {
            return Ok(Some(table));
        }
    }
    Ok(None)
}

/// As PostgreSQL takes it for a column of this type.
fn value(cell: &Cell, kind: &Type) -> Box<dyn ToSql + Send + Sync> {
    match (cell, kind) {
        (Cell::Integer(number), &Type::BOOL) => Box::new(*number != 0),
        (Cell::Integer(number), _) => Box::new(*number),
        (Cell::Text(text), _) => Box::new(text.clone()),
        (Cell::Bytes(bytes), _) => Box::new(bytes.clone()),
        (Cell::Null, &Type::BOOL) => Box::new(None::<bool>),
        (Cell::Null, &Type::BYTEA) => Box::new(None::<Vec<u8>>),
        (Cell::Null, &Type::TEXT) => Box::new(None::<String>),
        (Cell::Null, _) => Box::new(None::<i64>),
    }
}

fn cell(row: &Row, at: usize, kind: &Type) -> Result<Cell, PgError> {
    Ok(match *kind {
        Type::BOOL => row.try_get::<_, Option<bool>>(at)?.map_or(Cell::Null, |is_so| Cell::Integer(is_so.into())),
        Type::TEXT => row.try_get::<_, Option<String>>(at)?.map_or(Cell::Null, Cell::Text),
        Type::BYTEA => row.try_get::<_, Option<Vec<u8>>>(at)?.map_or(Cell::Null, Cell::Bytes),
        _ => row.try_get::<_, Option<i64>>(at)?.map_or(Cell::Null, Cell::Integer),
    })
}
