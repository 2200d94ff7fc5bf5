//! WatchVerifications: what happens to a caller's verifications, with no gap and nothing twice.

use super::{App, Error, event::Event};
use crate::{
    domain::{caller::Caller, fault::Fault, store_identity::StoreIdentity, verification::RESULT_LIFETIME},
    store::{
        row::EventRow,
        signals::{EventKey, EventSignal},
    },
};
use futures_util::{Stream, stream};
use jiff::Timestamp;
use std::{collections::VecDeque, sync::Arc, time::Duration};
use uuid::Uuid;

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
    /// When it happened; at first, when the reader came.
    at_ms: i64,
    waiting: VecDeque<EventRow>,
    /// The log had no more than what is waiting.
    at_end: bool,
    /// Whether the reader has a token to come back with.
    has_token: bool,
    signal: EventSignal,
}

/// The content of a resume token.
struct Place {
    /// None in tokens of the first versions, and so is the time.
    store: Option<StoreIdentity>,
    seq: i64,
    at_ms: Option<i64>,
}

impl Place {
    fn write(&self) -> Vec<u8> {
        let mut place = self.seq.to_be_bytes().to_vec();
        if let (Some(store), Some(at_ms)) = (self.store, self.at_ms) {
            place.extend(at_ms.to_be_bytes());
            place.extend(store.epoch.to_be_bytes());
            place.extend(store.id.as_bytes());
        }
        place
    }

    fn read(place: &[u8]) -> Option<Self> {
        let (seq, rest) = place.split_first_chunk()?;
        let seq = i64::from_be_bytes(*seq);
        if rest.is_empty() {
            return Some(Self { store: None, seq, at_ms: None });
        }
        let (at_ms, rest) = rest.split_first_chunk()?;
        let (epoch, id) = rest.split_first_chunk()?;
        let store = StoreIdentity { id: Uuid::from_slice(id).ok()?, epoch: u32::from_be_bytes(*epoch) };
        Some(Self { store: Some(store), seq, at_ms: Some(i64::from_be_bytes(*at_ms)) })
    }

    /// A token that names no store is from before there were epochs.
    fn is_of(&self, store: StoreIdentity) -> bool {
        self.store.map_or(store.epoch == 1, |of| of == store)
    }

    /// A verification has events for as long as the vendor knows its result.
    fn list_from(&self) -> Option<Timestamp> {
        Timestamp::from_millisecond(self.at_ms?).ok().map(|at| at - RESULT_LIFETIME)
    }
}

impl App {
    /// Streams a caller's events, of one flow unless that is empty, from a resume token on; without
    /// one, from now on. Nothing is read ahead of the reader but one batch. The stream ends with an
    /// error when the gateway stops.
    ///
    /// # Errors
    /// A resume token that is not ours, or is from before the store was restored.
    pub async fn watch_verifications(
        self: &Arc<Self>,
        caller: &Caller,
        resume_token: &str,
        flow: String,
    ) -> Result<impl Stream<Item = Result<Watched, Error>> + use<>, Error> {
        if !flow.is_empty() {
            self.flow_of(caller, &flow)
                .map_err(|problem| Error::InvalidFields(vec![Fault { field: "flow".into(), problem }]))?;
        }
        let context = format!("watch {}", caller.name);
        let last = self.store.last_event().await?;
        let (seq, at_ms) = if resume_token.is_empty() {
            (last, self.clock.now().as_millisecond())
        } else {
            let place = self.keyring.read_cursor(&context, resume_token).and_then(|place| Place::read(&place));
            let place = place.ok_or_else(|| {
                let problem = "was not given by this gateway for this caller".to_owned();
                Error::InvalidFields(vec![Fault { field: "resume_token".into(), problem }])
            })?;
            if place.seq > last || !place.is_of(self.identity) {
                return Err(Error::EventsMissing { list_from: place.list_from() });
            }
            (place.seq, place.at_ms.unwrap_or_default())
        };
        let reader = Reader {
            app: Arc::clone(self),
            caller: caller.name.clone(),
            flow,
            context,
            seq,
            at_ms,
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
            // At once, before anything happens: a reader that is cut off early must know where it
            // began.
            if !self.has_token {
                self.has_token = true;
                return Ok(self.watched(None));
            }
            if let Some(row) = self.waiting.pop_front() {
                (self.seq, self.at_ms) = (row.seq, row.event.at_ms);
                if !self.app.bears_out(&row.event).await? {
                    continue;
                }
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
        let place = Place { store: Some(self.app.identity), seq: self.seq, at_ms: Some(self.at_ms) };
        Watched {
            event,
            resume_token: self.app.keyring.write_cursor(&self.context, &place.write()),
            caught_up: self.at_end && self.waiting.is_empty(),
        }
    }
}
