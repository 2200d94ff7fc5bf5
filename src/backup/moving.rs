//! Moves a store from SQLite to PostgreSQL.

use crate::{
    domain::{clock::Clock, store_identity::StoreIdentity},
    store::{
        moving::{TABLES, TableSum},
        postgres::{Import, PostgresOptions},
        sqlite::Export,
    },
};
use anyhow::{Context, ensure};
use std::path::Path;

/// Moves all rows from a SQLite database, which no gateway may have, to an empty PostgreSQL database.
/// Each table is held against its source by its number of rows and their checksum. The source stays as
/// it is. One that is cut off goes on where it was when it is run again.
///
/// `progress` is told the table, how many of its rows are there, and how many there are in all.
///
/// # Errors
/// When a process has the source, PostgreSQL is not reached or has another store, or the copy is not
/// the same.
pub async fn move_to_postgres(
    from: &Path,
    to: &PostgresOptions,
    clock: &dyn Clock,
    mut progress: impl FnMut(&'static str, u64, u64),
) -> anyhow::Result<StoreIdentity> {
    let source = Export::open(from).with_context(|| format!("sqlite:{}", from.display()))?;
    let identity = source.identity().await?;
    let mut target = Import::begin(to, identity).await.with_context(|| format!("store.url {to}"))?;
    for (table, key) in TABLES {
        let all = source.count(table)?;
        let columns = target.columns(table).await?;
        let names: Vec<String> = columns.iter().map(|column| column.name.clone()).collect();
        let mut there = target.rows(table).await?;
        progress(table, there, all);
        let (mut sum, mut seen) = (TableSum::default(), 0);
        let mut batches = source.rows(table, &names, key);
        while let Some(batch) = batches.recv().await {
            let batch = batch?;
            batch.iter().for_each(|row| sum.add(row));
            seen += batch.len() as u64;
            // What was there before it was cut off came in whole batches.
            if seen > there && !batch.is_empty() {
                target.add(table, &columns, &batch).await?;
                there = seen;
                progress(table, there, all);
            }
        }
        let (expected, found) = (sum.finish(), target.sum(table, &columns, key).await?);
        ensure!(
            expected == found,
            "table {table} is not the same in PostgreSQL ({} rows, {} there): drop the database's tables and begin anew",
            expected.0,
            found.0
        );
    }
    let now_s = u32::try_from(clock.now().as_second()).context("the clock is wrong")?;
    let moved = StoreIdentity { epoch: now_s.max(identity.epoch + 1), ..identity };
    target.finish(moved).await?;
    Ok(moved)
}
