//! Serves HTTP/1.1 with a limit on how long a client may take to send its headers, which `axum::serve` does not have.

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// A browser sends its headers at once; one that does not holds a connection, and a stop, for no longer than this.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// When no connection can be accepted (no file descriptors left), how long to wait before trying again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until `stop`, then lets requests in flight finish.
pub async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
    let connections = GracefulShutdown::new();
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(error = %error, "no connection could be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
            () = stop.cancelled() => break,
        };
        let connection = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router.clone()));
        let connection = connections.watch(connection);
        // Ends with an error when the browser goes away or is too slow: nothing to do about it.
        tokio::spawn(async move { connection.await.ok() });
    }
    drop(listener);
    connections.shutdown().await;
}
