//! Load on purpose, to see what a tunnel, or one IVC of it, carries: who wants it, and who sends it. Sans-IO.
//!
//! What one gateway wants of another stands in its keepalives, which are authenticated: for how long from now it wants load. The other
//! sends it only as long as such words keep coming, for [`LONGEST`] at the most, to nobody but the sender of these, and one load at a time.

mod pace;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    time::Duration,
};

pub(crate) use pace::room;

use crate::bundle::IvcId;

/// For how long load is sent at the most, and for how long then none is sent for others.
pub(crate) const LONGEST: Duration = Duration::from_secs(30);
/// For how long ahead it is said that load is wanted: it ends that soon after who wants it has gone.
const AHEAD: Duration = Duration::from_secs(1);
/// For how long it is said that there will be none.
const REFUSED: Duration = Duration::from_secs(2);

/// What a keepalive says of load: for how many milliseconds it is wanted (13 bits), whether over this IVC alone (1 bit), and what has
/// become of the other side's wish (2 bits).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Word(pub u16);

const TIME: u16 = 0x1fff;
const ALONE: u16 = 0x2000;
const LOADING: u16 = 0x4000;
const BUSY: u16 = 0x8000;

/// What has become of a wish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// The load is being sent.
    Loading,
    /// It is not, for another load is being sent, or has been for long.
    Busy,
}

impl Word {
    fn wanted(self) -> Duration {
        Duration::from_millis((self.0 & TIME).into())
    }

    const fn is_alone(self) -> bool {
        self.0 & ALONE != 0
    }

    const fn reply(self) -> Option<Reply> {
        match self.0 & (LOADING | BUSY) {
            0 => None,
            LOADING => Some(Reply::Loading),
            _ => Some(Reply::Busy),
        }
    }
}

/// What is loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// The tunnel, by its remote endpoint.
    pub(crate) tunnel: Ipv4Addr,
    /// Some of its IVCs, if not all: what is sent by one says nothing of the others.
    pub(crate) only: Option<BTreeSet<IvcId>>,
}

impl Target {
    fn has(&self, id: &IvcId) -> bool {
        self.tunnel == id.0 && self.only.as_ref().is_none_or(|only| only.contains(id))
    }
}

/// A load that is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sending {
    /// Where.
    pub(crate) target: Target,
    /// Until when, unless it is prolonged.
    pub(crate) until: Duration,
    /// Since when, and whether the other side wants it.
    since: Duration,
    theirs: bool,
}

/// A load is sent or wanted already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("another speedtest is under way")]
pub(crate) struct Busy;

/// A load that is wanted.
#[derive(Debug)]
struct Wish {
    target: Target,
    until: Duration,
    reply: Option<Reply>,
}

/// The loads of a gateway.
#[derive(Debug, Default)]
pub(crate) struct Loads {
    sending: Option<Sending>,
    /// Until when none is sent for others.
    rests: Duration,
    wish: Option<Wish>,
    /// Whose wishes were refused, by the tunnel, and until when to say so.
    refused: BTreeMap<Ipv4Addr, Duration>,
}

impl Loads {
    /// Wants load from the other side until then.
    ///
    /// # Errors
    ///
    /// There is another already.
    pub(crate) fn want(
        &mut self,
        target: Target,
        until: Duration,
        now: Duration,
    ) -> Result<(), Busy> {
        self.is_free(now).then_some(()).ok_or(Busy)?;
        self.wish = Some(Wish {
            target,
            until,
            reply: None,
        });
        Ok(())
    }

    /// Sends load to the other side until then.
    ///
    /// # Errors
    ///
    /// There is another already.
    pub(crate) fn send(
        &mut self,
        target: Target,
        until: Duration,
        now: Duration,
    ) -> Result<(), Busy> {
        self.is_free(now).then_some(()).ok_or(Busy)?;
        self.sending = Some(Sending {
            target,
            until: until.min(now + LONGEST),
            since: now,
            theirs: false,
        });
        Ok(())
    }

    fn is_free(&mut self, now: Duration) -> bool {
        let wanted = self.wish.as_ref().is_some_and(|wish| wish.until > now);
        self.sending(now).is_none() && !wanted
    }

    /// Ends what this side sends or wants of its own accord.
    pub(crate) fn end(&mut self) {
        self.wish = None;
        self.sending.take_if(|sending| !sending.theirs);
    }

    /// What the other side has said of what this one wants.
    pub(crate) fn reply(&self) -> Option<Reply> {
        self.wish.as_ref()?.reply
    }

    /// Takes in what a genuine keepalive says.
    pub(crate) fn heard(&mut self, id: &IvcId, word: Word, now: Duration) {
        if let Some(wish) = self.wish.as_mut().filter(|wish| wish.target.has(id)) {
            wish.reply = word.reply().or(wish.reply);
        }
        let wanted = word.wanted().min(AHEAD);
        if wanted.is_zero() {
            return;
        }
        let target = Target {
            tunnel: id.0,
            only: word.is_alone().then(|| BTreeSet::from([id.clone()])),
        };
        let free = self.is_free(now) && now >= self.rests;
        match &mut self.sending {
            Some(sending) if sending.theirs && sending.target == target => {
                sending.until = (now + wanted).min(sending.since + LONGEST);
            }
            None if free => {
                self.refused.remove(&id.0);
                self.sending = Some(Sending {
                    target,
                    until: now + wanted,
                    since: now,
                    theirs: true,
                });
            }
            _ => {
                self.refused.insert(id.0, now + REFUSED);
            }
        }
    }

    /// What is to be said in a keepalive.
    pub(crate) fn say(&mut self, id: &IvcId, now: Duration) -> Word {
        self.refused.retain(|_, until| *until > now);
        let sending = self.sending(now);
        let reply = match sending.filter(|sending| sending.theirs && sending.target.has(id)) {
            Some(_) => LOADING,
            None if self.refused.contains_key(&id.0) => BUSY,
            None => 0,
        };
        let wish = self.wish.as_ref().filter(|wish| wish.target.has(id));
        let wish = wish.map_or(0, |wish| {
            let left = wish.until.saturating_sub(now).min(AHEAD).as_millis();
            let alone = if wish.target.only.is_some() { ALONE } else { 0 };
            match u16::try_from(left).unwrap_or_default() {
                0 => 0,
                left => left & TIME | alone,
            }
        });
        Word(reply | wish)
    }

    /// The load that is to be sent now.
    pub(crate) fn sending(&mut self, now: Duration) -> Option<Sending> {
        if let Some(over) = self.sending.take_if(|sending| sending.until <= now)
            && over.theirs
            && now >= over.since + LONGEST
        {
            self.rests = now + LONGEST;
        }
        self.sending.clone()
    }
}

#[cfg(test)]
mod tests;
