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
use tokio::{
    net::TcpListener,
    sync::Mutex,
    time::{Interval, MissedTickBehavior},
};
use tokio_util::sync::CancellationToken;
use tower::{Service, ServiceExt};

/// From the end of one request to the end of the next one's headers. Longer than a proxy keeps an
/// idle connection (Envoy's `idle_timeout` is often set to 60 s): where we close first, a request
/// of the proxy meets a reset. A connection that only holds a place loses it to the next one that
/// needs it.
const IDLE_TIMEOUT: Duration = Duration::from_secs(90);
/// A callback's URL has at most a few KiB; browsers add cookies, and ingresses and meshes headers
/// of their own.
const MAX_HEADER_BYTES: usize = 32 * 1024;
const MAX_HEADERS: usize = 100;

/// Serves until `stop`, then lets requests in flight finish. [`Places::cut_all`] ends those that do
/// not.
pub async fn serve(listener: TcpListener, places: Arc<Places>, pace: Pace, router: Router, stop: CancellationToken) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(IDLE_TIMEOUT)
        .max_buf_size(MAX_HEADER_BYTES)
        .max_headers(MAX_HEADERS);
    let connections = GracefulShutdown::new();
    let pace = Arc::new(pace);
    loop {
        let io = tokio::select! {
            (io, _) = places.accept(&listener) => io,
            () = stop.cancelled() => break,
        };
        let service = in_place(io.place(), Arc::clone(&pace), router.clone());
        let connection = http.serve_connection(TokioIo::new(io), TowerToHyperService::new(service));
        let connection = connections.watch(connection);
        // Ends with an error when the browser goes away or is too slow: nothing to do about it.
        tokio::spawn(async move { connection.await.ok() });
    }
    drop(listener);
    connections.shutdown().await;
}

/// How many requests a listener takes up in a second. Clients that send requests without end, and
/// perhaps read no answer, would have the processors from the other listeners. A connection has one
/// request in the line at most: who comes waits for no more requests than there are connections.
pub struct Pace(Mutex<Interval>);

impl Pace {
    /// So many requests a second, and no bursts.
    pub fn per_second(requests: u32) -> Self {
        let mut interval = tokio::time::interval(Duration::from_secs(1) / requests);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self(Mutex::new(interval))
    }

    /// Waits in line for a turn.
    async fn turn(&self) {
        self.0.lock().await.tick().await;
    }
}

/// A connection is in use while a request is answered, and idle while it waits for one, or for a
/// turn, or sends the answer.
fn in_place(
    place: PlaceHandle,
    pace: Arc<Pace>,
    router: Router,
) -> impl Service<
    hyper::Request<hyper::body::Incoming>,
    Response = axum::response::Response,
    Error = std::convert::Infallible,
    Future: Send,
> + Clone {
    tower::service_fn(move |request| {
        let (place, pace, router) = (place.clone(), Arc::clone(&pace), router.clone());
        async move {
            pace.turn().await;
            place.set_in_use(true);
            let answer = router.oneshot(request).await;
            place.set_in_use(false);
            answer
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listen::PlaceLimits;
    use axum::routing::get;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
        time::Instant,
    };

    #[tokio::test]
    async fn requests_that_are_sent_at_once_are_taken_up_one_by_one() {
        const REQUESTS: u32 = 20;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let places = Places::new("test", PlaceLimits { total: 2, per_peer: 2 });
        let stop = CancellationToken::new();
        let router = Router::new().route("/", get(async || "answer"));
        let server = tokio::spawn(serve(listener, places, Pace::per_second(100), router, stop.clone()));
        let mut client = TcpStream::connect(address).await.unwrap();
        let began = Instant::now();
        let requests = "GET / HTTP/1.1\r\nHost: gateway\r\n\r\n".repeat(REQUESTS as usize - 1)
            + "GET / HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n\r\n";
        client.write_all(requests.as_bytes()).await.unwrap();
        let mut answers = String::new();
        client.read_to_string(&mut answers).await.unwrap();
        assert_eq!(answers.matches("HTTP/1.1 200").count(), REQUESTS as usize);
        assert!(began.elapsed() >= Duration::from_millis(10) * (REQUESTS - 1), "{:?}", began.elapsed());
        stop.cancel();
        server.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_saves_up_no_turns() {
        let pace = Pace::per_second(1000);
        pace.turn().await;
        tokio::time::sleep(Duration::from_secs(60)).await;
        let began = Instant::now();
        for _ in 0..100 {
            pace.turn().await;
        }
        assert!(began.elapsed() >= Duration::from_millis(99), "{:?}", began.elapsed());
    }
}
