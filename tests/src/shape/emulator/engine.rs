//! The emulator's thread: it sleeps until something is due, and serves all links in turn.

use std::{
    collections::BTreeMap,
    io,
    mem::MaybeUninit,
    num::NonZeroU64,
    os::fd::OwnedFd,
    sync::{
        Arc,
        mpsc::{Receiver, Sender},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use rustix::{
    event::{
        PollFd, PollFlags, Timespec,
        epoll::{self, CreateFlags, Event, EventData, EventFlags},
        poll,
    },
    io::{Errno, read},
    thread::set_current_timer_slack,
    time::{ClockId, clock_gettime},
};

use super::{
    conduct::Conduct,
    wire::{Moment, Wire},
};
use crate::sys;

/// From one round to the next, at least: frames that are due meanwhile go together, like those of
/// a network card that spares its machine interrupts. A round costs as much as sending one or two.
const TICK: Duration = Duration::from_micros(100);

/// From one look at what has come to the next, at most, while frames come.
const FARTHEST: Duration = Duration::from_millis(1);

/// Wires that one system call tells of; the others follow in the next round.
const EVENTS: usize = 64;

/// The key of the descriptor that wakes the thread up; wires count from 1.
const WAKE: u64 = 0;

/// What the emulator's owner asks of the thread.
pub(super) enum Command {
    /// Serve another wire, under a key.
    Attach(u64, Box<Wire>),
    /// Let go of a wire, and say when it is gone.
    Detach(u64, Sender<()>),
    /// Say how it went so far.
    Report(Sender<Conduct>),
    /// End.
    Stop,
}

/// The thread's side.
pub(super) struct Engine {
    commands: Receiver<Command>,
    wake: Arc<OwnedFd>,
    epoll: OwnedFd,
    wires: BTreeMap<u64, Wire>,
    conduct: Conduct,
    /// Whether frames came when it last looked.
    busy: bool,
    /// When it last looked.
    looked: Instant,
    /// When the last round began.
    last: Instant,
    stopped: bool,
}

impl Engine {
    pub(super) fn new(commands: Receiver<Command>, wake: Arc<OwnedFd>) -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &wake, EventData::new_u64(WAKE), EventFlags::IN)?;
        Ok(Self {
            commands,
            wake,
            epoll,
            wires: BTreeMap::new(),
            conduct: Conduct::new(),
            busy: false,
            looked: Instant::now(),
            last: Instant::now(),
            stopped: false,
        })
    }

    pub(super) fn run(mut self) -> Result<()> {
        // The default slack of 50 µs is as long as a round.
        set_current_timer_slack(NonZeroU64::new(1))?;
        // A link does not wait for the machine's other work. Niceness would not do: it counts among
        // the threads of a session or control group only. Where real time is not to be had, as in
        // some containers, the link is as punctual as the machine is idle.
        let _best_effort = sys::process::run_promptly();
        while !self.stopped {
            self.round()?;
        }
        Ok(())
    }

    /// Sleeps as long as nothing can be missed, looks whether frames have come, sends what is due.
    ///
    /// While frames come, each would end the waiting, at the cost of a change of context. But when
    /// it came is known later, too, and none is due before its latency is over: so the thread looks
    /// no more often than it must.
    fn round(&mut self) -> Result<()> {
        let rest = |until: Instant| until.saturating_duration_since(Instant::now());
        let next = self.last + TICK;
        let due = self.wires.values().filter_map(Wire::due).min();
        if self.busy {
            let look = self.looked + self.patience();
            thread::sleep(rest(due.map_or(look, |due| due.min(look)).max(next)));
            self.last = Instant::now();
            if self.last >= look {
                self.look()?;
            }
        } else {
            thread::sleep(rest(next));
            self.wait(due.map(rest))?;
            self.look()?;
            self.last = self.looked;
        }
        Ok(self.deliver()?)
    }

    /// How long frames that come may lie before they are looked at.
    fn patience(&self) -> Duration {
        let least = self.wires.values().map(Wire::least_delay).min();
        least.map_or(FARTHEST, |least| (least / 2).clamp(TICK, FARTHEST))
    }

    /// Waits until frames have come, at most so long.
    fn wait(&self, timeout: Option<Duration>) -> io::Result<()> {
        // The waiting of epoll itself goes by whole milliseconds.
        let timeout = timeout.map(timespec);
        let mut events = [PollFd::new(&self.epoll, PollFlags::IN)];
        match poll(&mut events, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes in what has come.
    fn look(&mut self) -> Result<()> {
        let mut events = [MaybeUninit::<Event>::uninit(); EVENTS];
        let ready = match epoll::wait(&self.epoll, &mut events, Some(&Timespec::default())) {
            Ok((ready, _)) => ready,
            Err(Errno::INTR) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let now = Moment::now();
        self.looked = now.instant;
        self.busy = false;
        for event in ready {
            match event.data.u64() {
                WAKE => self.obey()?,
                key => {
                    if let Some(wire) = self.wires.get_mut(&key) {
                        self.busy |= wire.take_in(now)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Sends what is due on all links. Whatever order frames of different links are due in, they
    /// leave in it: a round must not bring disorder that the links do not have.
    fn deliver(&mut self) -> io::Result<()> {
        loop {
            let now = Instant::now();
            let mut until = now;
            let mut first: Option<(Instant, &mut Wire)> = None;
            for wire in self.wires.values_mut() {
                let Some(due) = wire.due().filter(|&due| due <= now) else {
                    continue;
                };
                match &first {
                    Some((earliest, _)) if due >= *earliest => until = until.min(due),
                    earlier => {
                        until = earlier.as_ref().map_or(until, |(due, _)| until.min(*due));
                        first = Some((due, wire));
                    }
                }
            }
            let Some((_, wire)) = first else {
                return Ok(());
            };
            if !wire.deliver(until, &mut self.conduct)? {
                return Ok(());
            }
        }
    }

    fn obey(&mut self) -> Result<()> {
        match read(&self.wake, &mut [0; 8]) {
            Ok(_) | Err(Errno::AGAIN | Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::Attach(key, wire) => {
                    let data = EventData::new_u64(key);
                    epoll::add(&self.epoll, wire.entrance(), data, EventFlags::IN)?;
                    self.wires.insert(key, *wire);
                }
                Command::Detach(key, gone) => {
                    if let Some(wire) = self.wires.remove(&key) {
                        self.conduct.missed += wire.missed()?;
                    }
                    // Whoever asked may have given up.
                    let _told = gone.send(());
                }
                Command::Report(to) => {
                    let _told = to.send(self.report()?);
                }
                Command::Stop => self.stopped = true,
            }
        }
        Ok(())
    }

    fn report(&mut self) -> io::Result<Conduct> {
        for wire in self.wires.values() {
            self.conduct.missed += wire.missed()?;
        }
        let used = clock_gettime(ClockId::ThreadCPUTime);
        self.conduct.processor = Duration::new(
            u64::try_from(used.tv_sec).unwrap_or(0),
            u32::try_from(used.tv_nsec).unwrap_or(0),
        );
        Ok(self.conduct.clone())
    }
}

fn timespec(time: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: time.subsec_nanos().into(),
    }
}
