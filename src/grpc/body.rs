//! A body of an answer that holds something until it has ended, and that can be ended early with a
//! status.

use super::call_context::CallContext;
use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};
use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};
use tonic::{Status, body::Body};

type Cut = Pin<Box<dyn Future<Output = Status> + Send>>;

/// The body, what is held for it, and what ends it early.
pub(super) struct GuardedBody<H> {
    body: Body,
    cut: Option<Cut>,
    held: Option<H>,
}

impl<H: Send + Unpin + 'static> GuardedBody<H> {
    /// Holds `held` until the body has ended.
    pub(super) fn holding(body: Body, held: H) -> Body {
        Body::new(Self { body, cut: None, held: Some(held) })
    }
}

/// Ends the body with the status that `cut` gives, if that comes first.
pub(super) fn cut_by(body: Body, cut: impl Future<Output = Status> + Send + 'static) -> Body {
    Body::new(GuardedBody { body, cut: Some(Box::pin(cut)), held: Some(()) })
}

impl<H: Send + Unpin + 'static> HttpBody for GuardedBody<H> {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Some(cut) = &mut self.cut
            && let Poll::Ready(status) = cut.as_mut().poll(cx)
        {
            (self.body, self.cut, self.held) = (Body::empty(), None, None);
            return Poll::Ready(Some(Ok(Frame::trailers(trailers(&status)))));
        }
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if matches!(frame, Poll::Ready(None | Some(Err(_)))) {
            (self.cut, self.held) = (None, None);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.cut.is_some() { SizeHint::default() } else { self.body.size_hint() }
    }
}

/// A body whose frames are made for the call of this id.
pub(super) fn served_as(id: CallContext, body: Body) -> Body {
    Body::new(ServedBody { id, body })
}

struct ServedBody {
    id: CallContext,
    body: Body,
}

impl HttpBody for ServedBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Self { id, body } = &mut *self;
        id.during(|| Pin::new(body).poll_frame(cx))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn trailers(status: &Status) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    // Fails only for a message that is no header value, which the encoding of messages rules out.
    if status.add_header(&mut trailers).is_err() {
        trailers.insert("grpc-status", http::HeaderValue::from(status.code() as i32));
    }
    trailers
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::{BodyExt, Full, StreamBody};
    use std::sync::Arc;

    #[tokio::test]
    async fn what_is_held_goes_with_the_end() {
        let held = Arc::new(());
        let mut body = GuardedBody::holding(Body::new(Full::new(Bytes::from_static(b"abc"))), Arc::clone(&held));
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "abc");
        assert_eq!(Arc::strong_count(&held), 2);
        assert!(body.frame().await.is_none());
        assert_eq!(Arc::strong_count(&held), 1);
    }

    #[tokio::test]
    async fn a_cut_is_told_in_the_trailers() {
        let endless = futures_util::stream::repeat_with(|| Ok::<_, Status>(Frame::data(Bytes::from_static(b"x"))));
        let (end, ended) = tokio::sync::oneshot::channel();
        let cut = async { ended.await.map_or_else(|_| Status::internal("gone"), |()| Status::unavailable("enough")) };
        let mut body = cut_by(Body::new(StreamBody::new(endless)), cut);
        assert!(body.frame().await.unwrap().unwrap().is_data());
        end.send(()).unwrap();
        let trailers = body.frame().await.unwrap().unwrap().into_trailers().unwrap();
        assert_eq!(
            (&trailers["grpc-status"], &trailers["grpc-message"]),
            (&"14".parse().unwrap(), &"enough".parse().unwrap())
        );
        assert!(body.frame().await.is_none());
    }
}
