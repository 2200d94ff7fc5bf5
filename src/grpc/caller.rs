//! Stands before every service: lets in whom [`crate::auth`] knows and who has calls left, and what is open to all.

use super::{
    pb::verification_service_server,
    status::{over_quota, refused, unauthenticated},
};
use crate::{
    auth::{Authenticator, identity::Peer},
    domain::caller::Caller,
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

/// What is served without a caller.
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

/// Puts the [`Caller`] into each request's extensions. What is not open needs one, also a method that does not exist.
#[derive(Clone)]
pub struct AuthLayer {
    authenticator: Arc<Authenticator>,
    open: Open,
}

impl AuthLayer {
    pub(super) fn new(authenticator: Arc<Authenticator>, open: Open) -> Self {
        Self { authenticator, open }
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
        if self.layer.open.covers(request.uri().path()) {
            return Box::pin(self.inner.call(request));
        }
        // The one that is ready is used, and its clone stays.
        let clone = self.inner.clone();
        let mut inner = mem::replace(&mut self.inner, clone);
        let authenticator = Arc::clone(&self.layer.authenticator);
        Box::pin(async move {
            let (mut parts, body) = request.into_parts();
            match admit(&authenticator, &parts).await {
                Ok(caller) => {
                    parts.extensions.insert(caller);
                    inner.call(Request::from_parts(parts, body)).await
                }
                Err(status) => Ok(status.into_http()),
            }
        })
    }
}

async fn admit(authenticator: &Authenticator, call: &Parts) -> Result<Arc<Caller>, Status> {
    let peer = call.extensions.get::<Peer>();
    let found = authenticator.authenticate(&call.headers, peer).await.map_err(|error| refused(&error))?;
    let is_create = is_create(call.uri.path());
    found.quota.admit(is_create).map_err(|over| over_quota(&over))?;
    Ok(found.caller)
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
