//! Authenticates every RPC and applies the callers' quotas; health and reflection may be exempt.

use super::{
    body::{GuardedBody, cut_by},
    intake::goes_on,
    listener::ConnectionInfo,
    pb::verification_service_server,
    refusals::{note_login, note_missing_right},
    shares::{CallShares, GoingOn},
    status::{over_quota, refused, revoked, unauthenticated},
};
use crate::{
    auth::{Authenticated, Authenticator},
    domain::caller::Caller,
    shares::Share,
};
use http::{Request, Response, request::Parts};
use std::{
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tonic::{Status, body::Body};
use tower::{Layer, Service};

/// Services that need no caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Open {
    /// `grpc.health.v1`: probes have no token.
    pub health: bool,
    /// `grpc.reflection.v1` and `v1alpha`: the contract, and nothing of what is stored.
    pub reflection: bool,
}

impl Open {
    fn covers(self, path: &str) -> bool {
        (self.health && path.starts_with("/grpc.health.v1.Health/"))
            || (self.reflection && path.starts_with("/grpc.reflection.v"))
    }
}

/// Puts the [`Caller`] into each request's extensions. What is not open needs one, also a method
/// that does not exist.
#[derive(Clone)]
pub struct AuthLayer {
    authenticator: Arc<Authenticator>,
    open: Open,
    shares: Arc<CallShares>,
}

impl AuthLayer {
    pub(super) fn new(authenticator: Arc<Authenticator>, open: Open, shares: Arc<CallShares>) -> Self {
        Self { authenticator, open, shares }
    }
}

impl<S> Layer<S> for AuthLayer {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded { inner, layer: self.clone() }
    }
}

/// The service inside, for callers.
#[derive(Clone)]
pub struct Guarded<S> {
    inner: S,
    layer: AuthLayer,
}

impl<S> Service<Request<Body>> for Guarded<S>
where
    S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // The one that is ready is used, and its clone stays.
        let clone = self.inner.clone();
        let mut inner = mem::replace(&mut self.inner, clone);
        let AuthLayer { authenticator, open, shares } = self.layer.clone();
        Box::pin(async move {
            if open.covers(request.uri().path()) {
                let is_stream = goes_on(request.uri().path());
                let connection = request.extensions().get::<ConnectionInfo>();
                return match connection.map(|connection| shares.open_call(connection, is_stream)).transpose() {
                    Ok(share) => Ok(inner.call(request).await?.map(|body| GuardedBody::holding(body, share))),
                    Err(status) => Ok(status.into_http()),
                };
            }
            let (mut parts, body) = request.into_parts();
            match admit(&authenticator, &shares, &parts).await {
                Ok(Admitted { found, held }) => {
                    let peer = parts.extensions.get::<ConnectionInfo>().map(|info| info.peer.clone());
                    let method = parts.uri.path().to_owned();
                    parts.extensions.insert(Arc::clone(&found.caller));
                    let answer = inner.call(Request::from_parts(parts, body)).await?;
                    note_missing_right(&found.caller.name, &method, peer.as_ref(), answer.headers());
                    let is_over = async move {
                        found.revoked.cancelled_owned().await;
                        revoked()
                    };
                    Ok(answer.map(|body| cut_by(GuardedBody::holding(body, held), is_over)))
                }
                Err(status) => Ok(status.into_http()),
            }
        })
    }
}

/// A caller, and what its call takes of the caller's share until it has ended.
struct Admitted {
    found: Authenticated,
    held: (Share<String>, Option<GoingOn>),
}

async fn admit(authenticator: &Authenticator, shares: &CallShares, call: &Parts) -> Result<Admitted, Status> {
    let connection = call.extensions.get::<ConnectionInfo>();
    let peer = connection.map(|connection| &connection.peer);
    let found = authenticator.authenticate(&call.headers, peer).await.map_err(|error| {
        note_login(&error, call, peer);
        refused(&error)
    })?;
    // A connection with a caller does not make room for one without.
    if let Some(connection) = connection {
        connection.place.set_in_use(true);
    }
    let path = call.uri.path();
    found.quota.admit(is_create(path)).map_err(|over| over_quota(&over))?;
    let name = &found.caller.name;
    let held = (shares.call(name)?, goes_on(path).then(|| shares.stream(name)).transpose()?);
    Ok(Admitted { found, held })
}

fn is_create(path: &str) -> bool {
    let path = path.strip_prefix('/').and_then(|path| path.strip_prefix(verification_service_server::SERVICE_NAME));
    path == Some("/CreateVerification")
}

/// The caller that the [`AuthLayer`] found.
pub(super) fn caller_of<T>(request: &tonic::Request<T>) -> Result<Arc<Caller>, Status> {
    request.extensions().get::<Arc<Caller>>().cloned().ok_or_else(|| unauthenticated("the call was not authenticated"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_health_and_reflection_can_be_open() {
        let (all, none) = (Open { health: true, reflection: true }, Open { health: false, reflection: false });
        for path in ["/grpc.health.v1.Health/Check", "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"] {
            assert!(all.covers(path) && !none.covers(path), "{path}");
        }
        for path in ["/faceid.v1.VerificationService/GetResult", "/grpc.health.v1.Healthy/Check", "/", ""] {
            assert!(!all.covers(path), "{path}");
        }
    }

    #[test]
    fn creates_are_known_by_their_path() {
        assert!(is_create("/faceid.v1.VerificationService/CreateVerification"));
        assert!(!is_create("/faceid.v1.VerificationService/GetResult"));
    }
}
