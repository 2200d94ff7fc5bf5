//! A connection that can be cut, and that ends by itself when its peer takes nothing.

use super::{Place, PlaceHandle};
use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Sleep,
};
use tokio_util::sync::WaitForCancellationFutureOwned;

/// A peer that takes not one byte of what is written for so long is gone, or wants to hold us.
const WRITE_TIMEOUT: Duration = Duration::from_secs(20);

/// The bytes of a connection, as long as it may hold its place.
pub struct GuardedIo<S> {
    io: S,
    place: Place,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    /// Runs while a write waits for the peer.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<S> GuardedIo<S> {
    pub(super) fn new(io: S, place: Place) -> Self {
        let cut = Box::pin(place.cut.clone().cancelled_owned());
        Self { io, place, cut, stalled: None }
    }

    /// A handle on the connection's place.
    pub fn place(&self) -> PlaceHandle {
        self.place.handle()
    }

    /// The bare connection.
    pub fn io(&self) -> &S {
        &self.io
    }

    fn poll_cut(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        self.cut.as_mut().poll(cx).map(|()| io::Error::new(io::ErrorKind::ConnectionAborted, "cut to make room"))
    }

    fn poll_moving<T>(
        &mut self,
        cx: &mut Context<'_>,
        poll: impl FnOnce(Pin<&mut S>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>>
    where
        S: Unpin,
    {
        if let Poll::Ready(error) = self.poll_cut(cx) {
            return Poll::Ready(Err(error));
        }
        if let Poll::Ready(moved) = poll(Pin::new(&mut self.io), cx) {
            self.stalled = None;
            return Poll::Ready(moved);
        }
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(WRITE_TIMEOUT)));
        ready!(stalled.as_mut().poll(cx));
        metrics::counter!("faceid_connections_stalled_total").increment(1);
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer takes nothing")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for GuardedIo<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if let Poll::Ready(error) = self.poll_cut(cx) {
            return Poll::Ready(Err(error));
        }
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for GuardedIo<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_moving(cx, |io, cx| io.poll_write(cx, bytes))
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
        self.poll_moving(cx, |io, cx| io.poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{PlaceLimits, Places};
    use super::*;
    use std::net::Ipv4Addr;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    fn guarded<S>(io: S) -> (GuardedIo<S>, std::sync::Arc<Places>) {
        let places = Places::new("test", PlaceLimits { total: 1, per_peer: 1 });
        let place = places.take(Ipv4Addr::LOCALHOST.into()).unwrap();
        (GuardedIo::new(io, place), places)
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_takes_nothing_is_left_and_a_slow_one_is_not() {
        let (ours, mut theirs) = tokio::io::duplex(8);
        let (mut guarded, _places) = guarded(ours);
        let slow = tokio::spawn(async move {
            for _ in 0..4 {
                tokio::time::sleep(WRITE_TIMEOUT - Duration::from_secs(1)).await;
                theirs.read_exact(&mut [0; 8]).await.unwrap();
            }
            theirs
        });
        guarded.write_all(&[7; 40]).await.unwrap();
        let _theirs = slow.await.unwrap();
        let error = guarded.write_all(&[7; 40]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_cut_ends_a_read_that_waits() {
        let (ours, _theirs) = tokio::io::duplex(8);
        let (mut guarded, places) = guarded(ours);
        let waiting = tokio::spawn(async move { guarded.read(&mut [0; 8]).await });
        tokio::task::yield_now().await;
        assert!(places.take(Ipv4Addr::LOCALHOST.into()).is_some());
        assert_eq!(waiting.await.unwrap().unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
    }
}
