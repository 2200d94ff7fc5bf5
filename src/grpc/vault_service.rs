//! `faceid.v1.VaultService`.

use super::{caller::caller_of, pb, status::status, time::timestamp};
use crate::app::{App, KeyUse};
use jiff::Timestamp;
use std::sync::Arc;
use tonic::{Request, Response, Status};

pub struct VaultApi {
    app: Arc<App>,
}

impl VaultApi {
    pub(super) fn new(app: Arc<App>) -> Self {
        Self { app }
    }
}

#[tonic::async_trait]
impl pb::vault_service_server::VaultService for VaultApi {
    async fn rewrap_vault(
        &self,
        request: Request<pb::RewrapVaultRequest>,
    ) -> Result<Response<pb::RewrapVaultResponse>, Status> {
        let caller = caller_of(&request)?;
        let vault = self.app.rewrap_vault(&caller).await.map_err(|error| status(&error))?;
        Ok(Response::new(pb::RewrapVaultResponse { remaining_values: vault.remaining_values }))
    }

    async fn list_vault_keys(
        &self,
        request: Request<pb::ListVaultKeysRequest>,
    ) -> Result<Response<pb::ListVaultKeysResponse>, Status> {
        let caller = caller_of(&request)?;
        let vault = self.app.list_vault_keys(&caller).await.map_err(|error| status(&error))?;
        Ok(Response::new(pb::ListVaultKeysResponse {
            keys: vault.keys.into_iter().map(vault_key).collect(),
            remaining_values: vault.remaining_values,
            rewrapping: vault.rewrapping,
        }))
    }
}

fn vault_key(key: KeyUse) -> pb::VaultKey {
    let newest = key.used.newest_made_at_ms.and_then(|ms| Timestamp::from_millisecond(ms).ok());
    pb::VaultKey {
        encrypts: key.is_first,
        in_keyring: key.in_keyring,
        sealed_values: key.sealed_values(),
        sealed_in: key.needed_by(),
        token_hashes: key.used.token_hashes,
        newest_use_time: newest.map(timestamp),
        key_id: key.used.key_id,
    }
}
