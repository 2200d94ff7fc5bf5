//! Serves HTTP/1.1 within limits that `axum::serve` does not have.

use crate::listen::{PlaceHandle, Places};
use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use std::{sync::Arc, time::Duration};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower::{Service, ServiceExt};

/// From the end of one request to the end of the next one's headers. Longer than a proxy keeps an idle connection (Envoy's
/// `idle_timeout` is often set to 60 s): where we close first, a request of the proxy meets a reset. A connection that only
/// holds a place loses it to the next one that needs it.
const IDLE_TIMEOUT: Duration = Duration::from_secs(90);
/// A callback's URL has at most a few KiB.
const MAX_HEADER_BYTES: usize = 16 * 1024;
const MAX_HEADERS: usize = 64;

/// Serves until `stop`, then lets requests in flight finish. [`Places::cut_all`] ends those that do not.
pub async fn serve(listener: TcpListener, places: Arc<Places>, router: Router, stop: CancellationToken) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(IDLE_TIMEOUT)
        .max_buf_size(MAX_HEADER_BYTES)
        .max_headers(MAX_HEADERS);
    let connections = GracefulShutdown::new();
    loop {
        let io = tokio::select! {
            (io, _) = places.accept(&listener) => io,
            () = stop.cancelled() => break,
        };
        let service = in_place(io.place(), router.clone());
        let connection = http.serve_connection(TokioIo::new(io), TowerToHyperService::new(service));
        let connection = connections.watch(connection);
        // Ends with an error when the browser goes away or is too slow: nothing to do about it.
        tokio::spawn(async move { connection.await.ok() });
    }
    drop(listener);
    connections.shutdown().await;
}

/// A connection is in use while a request is answered, and idle while it waits for one or sends the answer.
fn in_place(
    place: PlaceHandle,
    router: Router,
) -> impl Service<
    hyper::Request<hyper::body::Incoming>,
    Response = axum::response::Response,
    Error = std::convert::Infallible,
    Future: Send,
> + Clone {
    tower::service_fn(move |request| {
        let (place, router) = (place.clone(), router.clone());
        async move {
            place.set_in_use(true);
            let answer = router.oneshot(request).await;
            place.set_in_use(false);
            answer
        }
    })
}
