//! What was done to the links, and when.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use crate::shape::Shape;

/// Something that the lab did to a link.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Happening {
    /// The gateway's interface was set down.
    Cut,
    /// The gateway's interface was set up again.
    Restored,
    /// The provider began to swallow every packet.
    Blackholed,
    /// The provider forwards again.
    Unblackholed,
    /// The provider carries packets only up to so many bytes.
    Narrowed(u32),
    /// The link has another address.
    Renumbered,
    /// The gateway's interface was deleted.
    Unplugged,
    /// The gateway's interface was made again.
    Plugged,
    /// Rate, latency, jitter, loss or queue changed.
    Reshaped {
        /// From the gateway.
        up: Shape,
        /// To the gateway.
        down: Shape,
    },
}

/// A happening with its time and place.
#[derive(Clone, Debug)]
pub struct Event {
    /// When it was complete.
    pub at: Instant,
    /// The site's name.
    pub site: String,
    /// The link's name.
    pub link: String,
    /// What it was.
    pub what: Happening,
}

/// The lab's log; clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Events(Arc<Mutex<Vec<Event>>>);

impl Events {
    pub(crate) fn record(&self, site: &str, link: &str, what: Happening) {
        let event = Event {
            at: Instant::now(),
            site: site.into(),
            link: link.into(),
            what,
        };
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(event);
    }

    pub(crate) fn all(&self) -> Vec<Event> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}
