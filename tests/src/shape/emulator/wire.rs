//! One direction of a link, as the emulator's thread sees it.

use std::{
    collections::VecDeque,
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::time::{ClockId, clock_gettime};
use socket2::Socket;

use super::{Addresses, Shared, conduct::Conduct};
use crate::{
    shape::ETHERNET_HEADER,
    sys::{
        batch::{self, BATCH, Stamped},
        packet,
    },
};

/// Batches taken in before those due are sent again.
const BATCHES: usize = 4;

/// A frame is never older when it is read: whatever looks older, the time of day was set meanwhile.
const OLDEST: Duration = Duration::from_secs(1);

/// A moment by both clocks: the kernel notes arrivals in the time of day, which may be set at any
/// time, and everything else here is reckoned by the clock that runs on.
#[derive(Clone, Copy)]
pub(super) struct Moment {
    pub(super) instant: Instant,
    day: Duration,
}

impl Moment {
    pub(super) fn now() -> Self {
        let day = clock_gettime(ClockId::Realtime);
        Self {
            instant: Instant::now(),
            day: Duration::new(
                u64::try_from(day.tv_sec).unwrap_or(0),
                u32::try_from(day.tv_nsec).unwrap_or(0),
            ),
        }
    }

    /// When something happened that the kernel noted at `day`.
    fn instant(&self, day: Option<Duration>) -> Instant {
        let age = day.map_or(Duration::ZERO, |day| self.day.saturating_sub(day));
        let age = if age > OLDEST { Duration::ZERO } else { age };
        self.instant.checked_sub(age).unwrap_or(self.instant)
    }
}

/// A frame on its way.
struct Frame {
    /// When it is due at the other end.
    arrival: Instant,
    length: usize,
    buffer: Box<[u8]>,
}

impl Frame {
    fn bytes(&self) -> &[u8] {
        &self.buffer[..self.length]
    }
}

/// Sockets, frames under way, and buffers for more: nothing is allocated for a frame once there
/// have been as many at a time.
pub(super) struct Wire {
    shared: Arc<Shared>,
    entrance: Socket,
    exit: Socket,
    addresses: Addresses,
    /// In order of arrival. Bounded: the queue takes a finite number of frames, and what has left
    /// it stays for the latency only.
    under_way: VecDeque<Frame>,
    /// What the next frames are read into.
    inbox: Vec<Box<[u8]>>,
    spare: Vec<Box<[u8]>>,
    frame_length: usize,
    /// When the last frame came.
    last: Instant,
    /// How long a frame takes at least.
    least: Duration,
}

impl Wire {
    /// `entrance` brings what the link is to carry, at most `mtu` bytes in a frame, and `exit`
    /// sends it on.
    pub(super) fn new(
        shared: Arc<Shared>,
        entrance: Socket,
        exit: Socket,
        addresses: Addresses,
        mtu: u32,
    ) -> Self {
        let frame_length = (mtu + ETHERNET_HEADER) as usize;
        let buffer = || vec![0; frame_length].into_boxed_slice();
        let least = shared.queue().least_delay();
        Self {
            shared,
            entrance,
            exit,
            addresses,
            under_way: VecDeque::new(),
            inbox: (0..BATCH).map(|_| buffer()).collect(),
            spare: Vec::new(),
            frame_length,
            last: Instant::now(),
            least,
        }
    }

    pub(super) fn entrance(&self) -> &Socket {
        &self.entrance
    }

    /// When the next frame is due.
    pub(super) fn due(&self) -> Option<Instant> {
        self.under_way.front().map(|frame| frame.arrival)
    }

    /// How long a frame takes at least.
    pub(super) fn least_delay(&self) -> Duration {
        self.least
    }

    /// Puts what has come on its way; returns whether there was anything.
    pub(super) fn take_in(&mut self, now: Moment) -> io::Result<bool> {
        let mut received = [Stamped::default(); BATCH];
        for batch in 0..BATCHES {
            let came = match batch::receive(&self.entrance, &mut self.inbox, &mut received) {
                Ok(came) => came,
                Err(error) if is_nothing(&error) => return Ok(batch > 0),
                Err(error) => return Err(error),
            };
            self.offer(&received[..came], now);
            if came < BATCH {
                break;
            }
        }
        Ok(true)
    }

    fn offer(&mut self, received: &[Stamped], now: Moment) {
        let mut queue = self.shared.queue();
        self.least = queue.least_delay();
        for (place, frame) in self.inbox.iter_mut().zip(received) {
            let came = now.instant(frame.at).max(self.last);
            self.last = came;
            let Some(arrival) = queue.offer(came, frame.length) else {
                continue;
            };
            let another = self.spare.pop();
            let another = another.unwrap_or_else(|| vec![0; self.frame_length].into_boxed_slice());
            let mut buffer = std::mem::replace(place, another);
            self.addresses.write(&mut buffer);
            self.under_way.push_back(Frame {
                arrival,
                length: frame.length,
                buffer,
            });
        }
    }

    /// Sends the next batch of frames that are due by `until`, of which there must be one. Returns
    /// whether it could.
    pub(super) fn deliver(&mut self, until: Instant, conduct: &mut Conduct) -> io::Result<bool> {
        let frames = self.under_way.iter();
        let due = frames.take_while(|frame| frame.arrival <= until);
        match batch::send(&self.exit, due.map(Frame::bytes)) {
            Ok(sent) => {
                let now = Instant::now();
                for frame in self.under_way.drain(..sent) {
                    conduct.sent(now.saturating_duration_since(frame.arrival));
                    self.spare.push(frame.buffer);
                }
            }
            // The frame is lost, as it would be on a cut cable, and the emulator goes on.
            Err(error) if is_cut(&error) => {
                conduct.unsent += 1;
                let lost = self.under_way.pop_front();
                self.spare.extend(lost.map(|frame| frame.buffer));
            }
            // The receiving side is held up. The frames are late, and that will show.
            Err(error) if is_nothing(&error) => return Ok(false),
            Err(error) => return Err(error),
        }
        Ok(true)
    }

    /// Frames that came and were thrown away because nobody took them, since the last call.
    pub(super) fn missed(&self) -> io::Result<u64> {
        Ok(packet::dropped(&self.entrance)?.into())
    }
}

fn is_nothing(error: &io::Error) -> bool {
    // ENETDOWN: the device has been set down or is gone, of which each socket is told once.
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    ) || error.raw_os_error() == Some(libc::ENETDOWN)
}

/// Whether a frame could not be sent because the device is down, gone or full.
fn is_cut(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ENETDOWN | libc::ENXIO | libc::ENODEV | libc::ENOBUFS)
    )
}
