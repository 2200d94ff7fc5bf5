//! `faceid.v1.CredentialService`.

use super::{
    caller::caller_of,
    pb,
    status::{invalid, status},
    time::timestamp,
};
use crate::{
    app::{App, Credential, CredentialKeyPair, CredentialOrigin, KeyPairTest},
    domain::key_pair::UnverifiedKeyPair,
};
use std::sync::Arc;
use tonic::{Request, Response, Status};

pub struct CredentialApi {
    app: Arc<App>,
}

impl CredentialApi {
    pub(super) fn new(app: Arc<App>) -> Self {
        Self { app }
    }
}

#[tonic::async_trait]
impl pb::credential_service_server::CredentialService for CredentialApi {
    async fn create_credential(
        &self,
        request: Request<pb::CreateCredentialRequest>,
    ) -> Result<Response<pb::CreateCredentialResponse>, Status> {
        let caller = caller_of(&request)?;
        let pb::CreateCredentialRequest { name, key_pair: pair } = request.into_inner();
        let created = self.app.create_credential(&caller, &name, key_pair(pair)?).await;
        let credential = Some(credential(created.map_err(|error| status(&error))?));
        Ok(Response::new(pb::CreateCredentialResponse { credential }))
    }

    async fn list_credentials(
        &self,
        request: Request<pb::ListCredentialsRequest>,
    ) -> Result<Response<pb::ListCredentialsResponse>, Status> {
        let caller = caller_of(&request)?;
        let listed = self.app.list_credentials(&caller).await.map_err(|error| status(&error))?;
        let credentials = listed.into_iter().map(credential).collect();
        Ok(Response::new(pb::ListCredentialsResponse { credentials }))
    }

    async fn rotate_credential(
        &self,
        request: Request<pb::RotateCredentialRequest>,
    ) -> Result<Response<pb::RotateCredentialResponse>, Status> {
        let caller = caller_of(&request)?;
        let pb::RotateCredentialRequest { name, key_pair: pair } = request.into_inner();
        let rotated = self.app.rotate_credential(&caller, &name, key_pair(pair)?).await;
        let credential = Some(credential(rotated.map_err(|error| status(&error))?));
        Ok(Response::new(pb::RotateCredentialResponse { credential }))
    }

    async fn test_credential(
        &self,
        request: Request<pb::TestCredentialRequest>,
    ) -> Result<Response<pb::TestCredentialResponse>, Status> {
        let caller = caller_of(&request)?;
        let pb::TestCredentialRequest { name, key_pair_id } = request.into_inner();
        let tested = self.app.test_credential(&caller, &name, &key_pair_id).await;
        let credential = Some(credential(tested.map_err(|error| status(&error))?));
        Ok(Response::new(pb::TestCredentialResponse { credential }))
    }

    async fn disable_credential(
        &self,
        request: Request<pb::DisableCredentialRequest>,
    ) -> Result<Response<pb::DisableCredentialResponse>, Status> {
        let caller = caller_of(&request)?;
        let pb::DisableCredentialRequest { name, key_pair_id } = request.into_inner();
        let disabled = self.app.disable_credential(&caller, &name, &key_pair_id).await;
        let credential = Some(credential(disabled.map_err(|error| status(&error))?));
        Ok(Response::new(pb::DisableCredentialResponse { credential }))
    }

    async fn delete_credential(
        &self,
        request: Request<pb::DeleteCredentialRequest>,
    ) -> Result<Response<pb::DeleteCredentialResponse>, Status> {
        let caller = caller_of(&request)?;
        let name = request.into_inner().name;
        self.app.delete_credential(&caller, &name).await.map_err(|error| status(&error))?;
        Ok(Response::new(pb::DeleteCredentialResponse {}))
    }
}

fn key_pair(pair: Option<pb::KeyPair>) -> Result<UnverifiedKeyPair, Status> {
    let pair = pair.ok_or_else(|| invalid("key_pair", "is missing"))?;
    Ok(UnverifiedKeyPair::new(pair.secret_id, pair.secret_key))
}

fn credential(credential: Credential) -> pb::Credential {
    let source = match credential.origin {
        CredentialOrigin::Configuration => pb::CredentialSource::Configuration,
        CredentialOrigin::Api => pb::CredentialSource::Api,
        CredentialOrigin::External => pb::CredentialSource::External,
    };
    pb::Credential {
        name: credential.name,
        source: source.into(),
        disable_time: credential.disabled_at.map(timestamp),
        key_pairs: credential.key_pairs.into_iter().map(credential_key_pair).collect(),
        flows: credential.flows,
    }
}

fn credential_key_pair(pair: CredentialKeyPair) -> pb::CredentialKeyPair {
    let last_test = |test: KeyPairTest| pb::KeyPairTest {
        test_time: test.at.map(timestamp),
        passed: test.has_passed(),
        code: test.code,
    };
    pb::CredentialKeyPair {
        key_pair_id: pair.id,
        masked_secret_id: pair.masked_secret_id,
        create_time: pair.created_at.map(timestamp),
        last_use_time: pair.used_at.map(timestamp),
        last_test: pair.test.map(last_test),
        expire_time: pair.expires_at.map(timestamp),
    }
}
