//! Takes in connections of the gRPC port: plain ones, or TLS with the certificate of the moment.

use super::tls::ServerTls;
use crate::auth::identity::{Peer, identities_in};
use futures_util::{Stream, stream};
use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc},
};
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;
use tonic::transport::server::Connected;

/// A client that does not get on with the handshake holds a place for no longer than this.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How many handshakes are under way at once; more wait in the listener's backlog.
const MAX_HANDSHAKES: usize = 256;
/// When no connection can be accepted (no file descriptors left), how long to wait before trying again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A connection that is ready for HTTP/2.
pub struct Connection {
    io: Either<TcpStream, Box<TlsStream<TcpStream>>>,
    peer: Peer,
}

/// The connections of a listener. Dropping the stream closes the listener.
pub(super) fn connections(
    listener: TcpListener,
    tls: Option<Arc<ServerTls>>,
) -> impl Stream<Item = io::Result<Connection>> {
    let (ready, taken) = mpsc::channel(1);
    tokio::spawn(accept(listener, tls, ready));
    stream::unfold(taken, async |mut taken| Some((Ok(taken.recv().await?), taken)))
}

/// Handshakes go on side by side: a slow client holds up nobody.
async fn accept(listener: TcpListener, tls: Option<Arc<ServerTls>>, ready: mpsc::Sender<Connection>) {
    let handshakes = Arc::new(Semaphore::new(MAX_HANDSHAKES));
    loop {
        let place = Arc::clone(&handshakes).acquire_owned().await.expect("the semaphore is never closed");
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = ready.closed() => return,
        };
        let (tcp, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(error = %error, "no connection could be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (tls, ready) = (tls.clone(), ready.clone());
        tokio::spawn(async move {
            let made = tokio::time::timeout(HANDSHAKE_TIMEOUT, make_ready(tcp, address, tls)).await;
            match made.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
                // Fails when the gateway stops meanwhile.
                Ok(connection) => drop(ready.send(connection).await),
                Err(error) => {
                    metrics::counter!("faceid_tls_handshakes_failed_total").increment(1);
                    tracing::debug!(peer = %address.ip(), error = %error, "a TLS handshake failed");
                }
            }
            drop(place);
        });
    }
}

async fn make_ready(tcp: TcpStream, address: SocketAddr, tls: Option<Arc<ServerTls>>) -> io::Result<Connection> {
    tcp.set_nodelay(true)?;
    // An IPv4 client on an IPv6 listener is that IPv4 client.
    let ip = address.ip().to_canonical();
    let Some(tls) = tls else {
        return Ok(Connection { io: Either::Left(tcp), peer: Peer { ip, identities: Arc::default() } });
    };
    let stream = tls.acceptor().accept(tcp).await?;
    let certificates = stream.get_ref().1.peer_certificates();
    let identities = certificates.and_then(<[_]>::first).map(|own| identities_in(own)).unwrap_or_default();
    Ok(Connection { io: Either::Right(Box::new(stream)), peer: Peer { ip, identities } })
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}
