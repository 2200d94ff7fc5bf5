//! Takes in connections of the gRPC port: plain ones, or TLS with the certificate of the moment.

use super::tls::ServerTls;
use crate::{
    auth::identity::{Peer, identities_in},
    listen::{GuardedIo, PlaceHandle, Places},
};
use futures_util::{Stream, stream};
use std::{
    io,
    net::IpAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;
use tonic::transport::server::Connected;

/// How every client of HTTP/2 begins (RFC 9113, section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

type Io = Either<GuardedIo<TcpStream>, Box<TlsStream<GuardedIo<TcpStream>>>>;

/// A connection that has begun to speak HTTP/2.
pub struct Connection {
    io: Io,
    /// The part of the preface that is still to be replayed to the HTTP/2 server.
    preface: &'static [u8],
    info: ConnectionInfo,
}

/// Connection details that each call can look up.
#[derive(Clone)]
pub struct ConnectionInfo {
    pub(super) peer: Peer,
    pub(super) place: PlaceHandle,
}

/// The connections of a listener. Dropping the stream closes the listener.
pub(super) fn connections(
    listener: TcpListener,
    places: Arc<Places>,
    tls: Option<Arc<ServerTls>>,
) -> impl Stream<Item = io::Result<Connection>> {
    let (ready, taken) = mpsc::channel(1);
    tokio::spawn(accept(listener, places, tls, ready));
    stream::unfold(taken, async |mut taken| Some((Ok(taken.recv().await?), taken)))
}

/// Handshakes go on side by side: a slow client holds up nobody.
async fn accept(
    listener: TcpListener,
    places: Arc<Places>,
    tls: Option<Arc<ServerTls>>,
    ready: mpsc::Sender<Connection>,
) {
    loop {
        let (tcp, ip) = tokio::select! {
            accepted = places.accept(&listener) => accepted,
            () = ready.closed() => return,
        };
        let timeout = places.opening_timeout(ip);
        let (tls, ready) = (tls.clone(), ready.clone());
        tokio::spawn(async move {
            let made = tokio::time::timeout(timeout, make_ready(tcp, ip, tls)).await;
            match made.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
                // Fails when the gateway stops meanwhile.
                Ok(connection) => drop(ready.send(connection).await),
                Err(error) => tracing::debug!(peer = %ip, error = %error, "a connection was not opened"),
            }
        });
    }
}

async fn make_ready(tcp: GuardedIo<TcpStream>, ip: IpAddr, tls: Option<Arc<ServerTls>>) -> io::Result<Connection> {
    tcp.io().set_nodelay(true)?;
    let place = tcp.place();
    let (mut io, identities): (Io, _) = match tls {
        None => (Either::Left(tcp), Arc::default()),
        Some(tls) => {
            let stream = tls.acceptor().accept(tcp).await.inspect_err(|_| {
                metrics::counter!("faceid_tls_handshakes_failed_total").increment(1);
            })?;
            let certificates = stream.get_ref().1.peer_certificates();
            let identities = certificates.and_then(<[_]>::first).map(|own| identities_in(own)).unwrap_or_default();
            (Either::Right(Box::new(stream)), identities)
        }
    };
    read_preface(&mut io).await?;
    Ok(Connection { io, preface: PREFACE, info: ConnectionInfo { peer: Peer { ip, identities }, place } })
}

/// Nothing is set up for a client that does not speak HTTP/2.
async fn read_preface(io: &mut Io) -> io::Result<()> {
    let mut seen = [0; PREFACE.len()];
    let mut length = 0;
    while length < PREFACE.len() {
        match io.read(&mut seen[length..]).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => length += read,
        }
        if seen[..length] != PREFACE[..length] {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "does not speak HTTP/2"));
        }
    }
    Ok(())
}

impl Connected for Connection {
    type ConnectInfo = ConnectionInfo;

    fn connect_info(&self) -> ConnectionInfo {
        self.info.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.preface.is_empty() {
            let length = self.preface.len().min(buffer.remaining());
            let (now, later) = self.preface.split_at(length);
            buffer.put_slice(now);
            self.preface = later;
            return Poll::Ready(Ok(()));
        }
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
