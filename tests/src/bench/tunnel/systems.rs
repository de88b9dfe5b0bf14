//! What is measured over links without limits.

use std::{num::NonZero, thread};

use withy::config::{SplitPolicy, Suite};

use crate::peers::{
    Boringtun, OpenVpn, Plain, Spread, StrongSwan, System, WireGuard, Withy, Xfrm,
    described::Described,
};

/// Whose ESP Withy takes, and so what it is to be compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// Withy's own: with other programs that encrypt.
    Userspace,
    /// The kernel's: with what else kernels have.
    Kernel,
}

/// A system, and over how many links it is measured.
pub(super) struct Entry {
    pub(super) system: Box<dyn System + Sync>,
    pub(super) links: usize,
    /// Whether the others are compared with it.
    pub(super) is_base: bool,
}

impl Entry {
    /// A system that a file describes, over one link.
    pub(super) fn described(system: Described) -> Self {
        Self {
            system: Box::new(system),
            links: 1,
            is_base: false,
        }
    }
}

/// All systems, Withy first.
pub(super) fn all(engine: Engine) -> Vec<Entry> {
    let mut all = withy(engine);
    let others: Vec<Box<dyn System + Sync>> = match engine {
        Engine::Userspace => vec![
            Box::new(one_thread_a_processor()),
            Box::new(BORINGTUN),
            Box::new(OpenVpn),
            Box::new(StrongSwan),
            Box::new(Plain),
        ],
        Engine::Kernel => vec![Box::new(Xfrm), Box::new(WireGuard), Box::new(Plain)],
    };
    all.extend(others.into_iter().map(|system| Entry {
        system,
        links: 1,
        is_base: false,
    }));
    all
}

fn withy(engine: Engine) -> Vec<Entry> {
    let names = match engine {
        Engine::Userspace => [
            ("withy-1", "Withy's own ESP engine, one link, AES-GCM-256"),
            ("withy-4", "the same over four links"),
        ],
        Engine::Kernel => [
            (
                "withy-kernel-1",
                "Withy with the kernel's ESP, one link, AES-GCM-256",
            ),
            ("withy-kernel-4", "the same over four links"),
        ],
    };
    let entry = |(name, about), links| Entry {
        system: Box::new(Withy {
            name,
            about,
            suite: Suite::AesGcm256,
            userspace: engine == Engine::Userspace,
            stated: true,
            split: SplitPolicy::Mtu,
        }),
        links,
        is_base: links == 1,
    };
    vec![entry(names[0], 1), entry(names[1], 4)]
}

/// With as many threads as there are processors, as Withy's engine has for each direction.
fn one_thread_a_processor() -> Boringtun {
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    Boringtun {
        name: "boringtun-cores",
        about: "WireGuard in user space (boringtun-cli), one link, a thread for each processor",
        threads: u32::try_from(processors).ok(),
        spread: Spread::First,
    }
}

const BORINGTUN: Boringtun = Boringtun {
    name: "boringtun",
    about: "the same with as many threads as it takes by itself (4)",
    threads: None,
    spread: Spread::First,
};

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_words_and_differ() {
        for engine in [Engine::Userspace, Engine::Kernel] {
            let all = all(engine);
            let names: HashSet<_> = all.iter().map(|entry| entry.system.name()).collect();
            assert_eq!(names.len(), all.len());
            assert!(all[0].is_base && all[0].system.name().starts_with("withy"));
            assert!(
                names
                    .iter()
                    .all(|name| { name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') })
            );
        }
    }
}
