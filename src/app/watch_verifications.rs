//! WatchVerifications: what happens to a caller's verifications, with no gap and nothing twice.

use super::{App, Error, event::Event};
use crate::{
    domain::{caller::Caller, fault::Fault},
    store::{
        row::EventRow,
        signals::{EventKey, EventSignal},
    },
};
use futures_util::{Stream, stream};
use std::{collections::VecDeque, sync::Arc, time::Duration};

/// How often a reader hears something while nothing happens.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How many events are read at once: all that a slow reader costs.
const BATCH: u32 = 100;

/// An event, or a heartbeat.
pub struct Watched {
    pub event: Option<Event>,
    pub resume_token: String,
    pub caught_up: bool,
}

/// A reader's place in the log.
struct Reader {
    app: Arc<App>,
    caller: String,
    flow: String,
    context: String,
    /// The last event that was given out.
    seq: i64,
    waiting: VecDeque<EventRow>,
    /// The log had no more than what is waiting.
    at_end: bool,
    /// Whether the reader has a token to come back with.
    has_token: bool,
    signal: EventSignal,
}

impl App {
    /// Streams a caller's events, of one flow unless that is empty, from a resume token on; without one, from now on. Nothing is
    /// read ahead of the reader but one batch. The stream ends with an error when the gateway stops.
    ///
    /// # Errors
    /// A resume token that is not ours.
    pub async fn watch_verifications(
        self: &Arc<Self>,
        caller: &Caller,
        resume_token: &str,
        flow: String,
    ) -> Result<impl Stream<Item = Result<Watched, Error>> + use<>, Error> {
        let context = format!("watch {}", caller.name);
        let seq = if resume_token.is_empty() {
            self.store.last_event().await?
        } else {
            let place = self.keyring.read_cursor(&context, resume_token);
            let place = place.and_then(|place| <[u8; 8]>::try_from(place.as_slice()).ok());
            i64::from_be_bytes(place.ok_or_else(|| {
                let problem = "was not given by this gateway for this caller".to_owned();
                Error::InvalidFields(vec![Fault { field: "resume_token".into(), problem }])
            })?)
        };
        let reader = Reader {
            app: Arc::clone(self),
            caller: caller.name.clone(),
            flow,
            context,
            seq,
            waiting: VecDeque::new(),
            at_end: false,
            has_token: false,
            signal: self.store.event_signal(EventKey::Caller(caller.name.clone())),
        };
        Ok(stream::try_unfold(reader, async |mut reader| {
            let watched = reader.next().await?;
            Ok(Some((watched, reader)))
        }))
    }
}

impl Reader {
    async fn next(&mut self) -> Result<Watched, Error> {
        loop {
            if self.app.stopping.is_cancelled() {
                return Err(Error::Stopping);
            }
            // At once, before anything happens: a reader that is cut off early must know where it began.
            if !self.has_token {
                self.has_token = true;
                return Ok(self.watched(None));
            }
            if let Some(row) = self.waiting.pop_front() {
                self.seq = row.seq;
                match Event::of(row) {
                    Some(event) => return Ok(self.watched(Some(event))),
                    None => continue,
                }
            }
            // Seen before the log is read: an event that comes in between changes the signal again.
            self.signal.forget();
            let rows = self.app.store.events_after(&self.caller, &self.flow, self.seq, BATCH).await?;
            self.at_end = rows.len() < BATCH as usize;
            self.waiting = rows.into();
            if !self.waiting.is_empty() {
                continue;
            }
            tokio::select! {
                () = self.signal.changed() => {}
                () = self.app.stopping.cancelled() => {}
                () = tokio::time::sleep(HEARTBEAT) => return Ok(self.watched(None)),
            }
        }
    }

    fn watched(&self, event: Option<Event>) -> Watched {
        Watched {
            event,
            resume_token: self.app.keyring.write_cursor(&self.context, &self.seq.to_be_bytes()),
            caught_up: self.at_end && self.waiting.is_empty(),
        }
    }
}
