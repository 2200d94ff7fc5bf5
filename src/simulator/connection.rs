//! Connections that can be reset: by a handler, for the faults in which the vendor hangs up in the
//! middle of an answer or without one, and before a request is read.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use futures_util::{StreamExt, stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

use super::faults::Fault;
use super::shared::Shared;

/// Resets the connection on which a request came.
#[derive(Clone, Default)]
pub(super) struct ResetSwitch(Arc<AtomicBool>);

impl ResetSwitch {
    /// From now on nothing is written: the connection ends with a TCP reset instead of the answer.
    pub(super) fn reset(&self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// The pieces, after which the connection is reset.
pub(super) fn broken_body(pieces: Vec<Bytes>, switch: ResetSwitch) -> Body {
    let rest = stream::once(async move {
        // What was sent so far is on its way before the reset overtakes it.
        tokio::time::sleep(Duration::from_millis(20)).await;
        switch.reset();
        Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset))
    });
    Body::from_stream(stream::iter(pieces.into_iter().map(Ok)).chain(rest))
}

/// A TCP listener that gives each connection its [`ResetSwitch`].
pub(super) struct ResettableListener {
    pub(super) listener: TcpListener,
    pub(super) shared: Arc<Shared>,
}

impl Listener for ResettableListener {
    type Io = ResettableStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        // axum's own implementation knows which accept errors to wait out.
        let (stream, peer) = Listener::accept(&mut self.listener).await;
        let (switch, shared) = (ResetSwitch::default(), Arc::clone(&self.shared));
        (ResettableStream { stream, switch, shared, requests: 0, is_idle: true }, peer)
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

impl Connected<IncomingStream<'_, ResettableListener>> for ResetSwitch {
    fn connect_info(stream: IncomingStream<'_, ResettableListener>) -> Self {
        stream.io().switch.clone()
    }
}

pub(super) struct ResettableStream {
    stream: TcpStream,
    switch: ResetSwitch,
    shared: Arc<Shared>,
    /// How many came so far.
    requests: u64,
    /// Whether what comes next begins a request.
    is_idle: bool,
}

impl ResettableStream {
    /// A request has come and is not yet read. Fails when a fault waits for that.
    fn begin_request(&mut self) -> io::Result<()> {
        let is_reused = self.requests > 0;
        self.requests += 1;
        self.is_idle = false;
        let Some(fault) = self.shared.state().faults.take_for_connection(is_reused) else { return Ok(()) };
        tracing::debug!(fault = fault.answer_code(), "a connection met a fault");
        if fault == Fault::ResetUnread {
            self.switch.reset();
        }
        Err(io::ErrorKind::ConnectionReset.into())
    }

    /// Fails when the switch was used, and sees to it that closing the socket sends RST and not
    /// FIN.
    fn check(&self) -> io::Result<()> {
        if !self.switch.0.load(Ordering::SeqCst) {
            return Ok(());
        }
        self.stream.set_zero_linger()?;
        Err(io::ErrorKind::ConnectionReset.into())
    }
}

impl AsyncRead for ResettableStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if self.is_idle && buf.filled().len() > before {
            self.begin_request()?;
        }
        read
    }
}

impl Drop for ResettableStream {
    fn drop(&mut self) {
        // A body that broke off is not followed by a write that would see the switch.
        drop(self.check());
    }
}

impl AsyncWrite for ResettableStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.check()?;
        self.is_idle = true;
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        self.is_idle = true;
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
