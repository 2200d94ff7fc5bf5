//! Table `store`: which store this is.

use super::session::{execute, optional};
use crate::domain::store_identity::StoreIdentity;
use deadpool_postgres::GenericClient;
use tokio_postgres::{Client, Error as PgError};

/// Gives a new database its identity. One that has one keeps it.
pub(super) async fn ensure(client: &Client) -> Result<(), PgError> {
    let StoreIdentity { id, epoch } = StoreIdentity::generate();
    let sql = "INSERT INTO store (only_row, id, epoch) VALUES (1, $1, $2) ON CONFLICT (only_row) DO NOTHING";
    client.execute(sql, &[&id.hyphenated().to_string(), &i64::from(epoch)]).await.map(drop)
}

/// None: there is no row, or what it says is no identity.
pub(super) async fn read(client: &impl GenericClient) -> Result<Option<StoreIdentity>, PgError> {
    let sql = "SELECT id, epoch FROM store";
    let row = optional(client, sql, &[], |row| {
        let (id, epoch): (String, i64) = (row.try_get("id")?, row.try_get("epoch")?);
        Ok((id, epoch))
    })
    .await?;
    let identity =
        |(id, epoch): (String, i64)| Some(StoreIdentity { id: id.parse().ok()?, epoch: u32::try_from(epoch).ok()? });
    Ok(row.and_then(identity))
}

/// Commits something.
pub(super) async fn probe(client: &impl GenericClient) -> Result<(), PgError> {
    execute(client, "UPDATE store SET probes = probes + 1", &[]).await.map(drop)
}
