//! Several links as one: what Withy and others make of the profiles in `tests/profiles`.

mod ceiling;
mod draw;
mod latency;
mod load;
mod outcome;
pub mod random;

use std::{path::PathBuf, thread, time::Duration};

use anyhow::Result;
use withy::config::{SplitPolicy, Suite};

use self::{
    load::{Stage, Times},
    outcome::Outcome,
};
use super::{
    choose::choose,
    figures::Figures,
    measure,
    report::{Legend, Machine, Report, Skipped},
};
use crate::{
    lab::Lab,
    peers::{Boringtun, Mptcp, Plain, Spread, System, Withy, described},
    profiles::{Load, Profile, Profiles},
};

/// What is measured where nothing is said.
const USUAL: [&str; 3] = ["four-equal", "two-unequal", "lossy"];

/// Instead of a profile's name.
pub const ALL: &str = "all";

/// What to measure.
#[derive(Clone, Debug)]
pub struct Options {
    /// How often.
    pub runs: u32,
    /// How long each load goes on before anything counts.
    pub warm_up: Duration,
    /// How long each load is measured.
    pub time: Duration,
    /// Only these systems; all where nothing is said.
    pub systems: Vec<String>,
    /// Where further systems are described.
    pub peers: PathBuf,
}

/// What every system goes through.
struct Program<'a> {
    profiles: Vec<&'a Profile>,
    loads: &'a [Load],
    /// Whether there are pings beside the loads.
    pings: bool,
}

/// Measures every system under every load of every profile in turn, `runs` times. What each goes through is told on
/// standard error. `names` are those of profiles, or [`ALL`]; a few are measured where it is empty.
pub fn run(options: &Options, names: &[String]) -> Result<Report> {
    let known = Profiles::bonding()?;
    let program = Program {
        profiles: profiles(&known, names)?,
        loads: &known.loads,
        pings: true,
    };
    program.run(options)
}

impl Program<'_> {
    fn run(&self, options: &Options) -> Result<Report> {
        let machine = Machine::at_hand()?;
        let mut skipped = Vec::new();
        let systems = systems(options, &mut skipped)?;
        let mut figures = Figures::default();
        for number in 1..=options.runs {
            for profile in &self.profiles {
                for system in &systems {
                    let name = format!("{}/{}", profile.name, system.name());
                    eprintln!("bench: run {number} of {}: {name}", options.runs);
                    let place = (profile.name.as_str(), system.name());
                    match self.measure(profile, system.as_ref(), number, options) {
                        Ok(outcomes) => outcomes
                            .iter()
                            .for_each(|outcome| outcome.note(&mut figures, place)),
                        Err(error) => skipped.push(Skipped::failed(&name, &error)),
                    }
                }
            }
        }
        let of_systems = systems
            .iter()
            .map(|system| Legend::new(system.name(), system.about()));
        let of_profiles = self
            .profiles
            .iter()
            .map(|profile| Legend::new(&profile.name, &profile.about));
        Ok(Report::new(machine, figures.measurements()?)
            .legend(of_systems.chain(of_profiles).collect())
            .skipped(skipped))
    }

    /// Runs all loads through one system.
    fn measure(
        &self,
        profile: &Profile,
        system: &(dyn System + Sync),
        run: u32,
        options: &Options,
    ) -> Result<Vec<Outcome>> {
        let times = Times {
            warm_up: options.warm_up,
            measured: options.time,
        };
        measure::with_system(
            || Lab::paired(&profile.links).seed(u64::from(run)),
            system,
            |lab, running| {
                thread::sleep(SETTLED);
                let stage = Stage {
                    lab,
                    running,
                    profile,
                };
                let loads = self.loads.iter().filter(|load| stage.bears(**load));
                loads
                    .map(|load| stage.run(*load, times, self.pings))
                    .collect()
            },
        )
    }
}

/// The names of the profiles that are measured.
pub fn profiles_of(names: &[String]) -> Result<Vec<String>> {
    let known = Profiles::bonding()?;
    let chosen = profiles(&known, names)?;
    Ok(chosen.iter().map(|profile| profile.name.clone()).collect())
}

fn profiles<'a>(known: &'a Profiles, names: &[String]) -> Result<Vec<&'a Profile>> {
    if names.iter().any(|name| name == ALL) {
        return Ok(known.profiles.iter().collect());
    }
    if names.is_empty() {
        return USUAL.iter().map(|name| known.find(name)).collect();
    }
    names.iter().map(|name| known.find(name)).collect()
}

fn systems(options: &Options, skipped: &mut Vec<Skipped>) -> Result<Vec<Box<dyn System + Sync>>> {
    let mut all: Vec<Box<dyn System + Sync>> = vec![
        Box::new(WITHY),
        Box::new(STATED),
        Box::new(WHOLE),
        Box::new(PIECES),
        Box::new(CHOICE),
        Box::new(Mptcp),
        Box::new(BORINGTUN),
        Box::new(Plain),
    ];
    for system in described::read_all(&options.peers)? {
        all.push(Box::new(system));
    }
    if options.systems.is_empty() {
        all.retain(|system| !BY_NAME.contains(&system.name()));
    }
    choose(all, |system| system.as_ref(), &options.systems, skipped)
}

/// How long a system has been up when it is first loaded. Nobody's tunnel comes up the moment before it is needed.
const SETTLED: Duration = Duration::from_secs(1);

const WITHY: Withy = Withy {
    name: "withy",
    about: "Withy with an engine that the kernel at hand allows, AES-GCM-256; it finds out what the links carry",
    suite: Suite::AesGcm256,
    userspace: false,
    stated: false,
    split: SplitPolicy::Mtu,
};

const STATED: Withy = Withy {
    name: "withy-stated",
    about: "the same, told what the links carry",
    stated: true,
    ..WITHY
};

/// Systems that are measured only where they are named: they differ in when they split packets.
const BY_NAME: [&str; 3] = [WHOLE.name, PIECES.name, CHOICE.name];

const WHOLE: Withy = Withy {
    name: "withy-whole",
    about: "Withy with `split: mtu`: whole packets with a clamped MSS",
    split: SplitPolicy::Mtu,
    ..WITHY
};

const PIECES: Withy = Withy {
    name: "withy-pieces",
    about: "Withy with `split: always`: each packet in pieces that arrive together",
    split: SplitPolicy::Always,
    ..WITHY
};

const CHOICE: Withy = Withy {
    name: "withy-auto",
    about: "Withy with `split: auto`: pieces where links are slow, as long as hardly anything waits on them",
    split: SplitPolicy::Auto,
    ..WITHY
};

const BORINGTUN: Boringtun = Boringtun {
    name: "boringtun-ecmp",
    about: "a WireGuard tunnel (boringtun) over each link, streams spread by a weighted multipath route",
    threads: None,
    spread: Spread::Ecmp,
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_are_chosen_by_name() {
        let names = |names: &[&str]| {
            profiles_of(
                &names
                    .iter()
                    .map(|&name| name.to_owned())
                    .collect::<Vec<_>>(),
            )
        };
        assert_eq!(names(&[]).unwrap(), USUAL);
        assert_eq!(names(&["lossy"]).unwrap(), ["lossy"]);
        assert!(names(&[ALL]).unwrap().len() > USUAL.len());
        assert!(names(&["no-such"]).is_err());
    }
}
