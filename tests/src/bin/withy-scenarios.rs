//! Runs the scenarios one after the other, with the command line and output of Rust's own tests.
//!
//! `--smoke` leaves the few that show that a kernel will do, `--esp` those and all that show something about the
//! kernel's ESP; `--native` plays those that do without ESP, and a few that take more than a virtual machine has.

use std::{env, process::ExitCode, thread, time::Instant};

use anyhow::{Result, anyhow};
use libtest_mimic::{Arguments, Failed, Trial};
use withy_tests::scenarios::{self, Ipsec, Scenario};

fn main() -> ExitCode {
    let (own, rest): (Vec<String>, Vec<String>) =
        env::args().partition(|word| ["--smoke", "--esp", "--native"].contains(&word.as_str()));
    let said = |word: &str| own.iter().any(|own| own == word);
    let ipsec = if said("--native") {
        Ipsec::Missing
    } else {
        Ipsec::Kernel
    };
    let mut arguments = Arguments::from_iter(rest);
    // Each scenario takes the whole machine: links, CPU and the kernel's lists of programs.
    arguments.test_threads = Some(1);
    let trials = scenarios::all()
        .into_iter()
        .filter(|scenario| scenario.smoke || !said("--smoke"))
        .filter(|scenario| scenario.smoke || scenario.is_about_esp() || !said("--esp"))
        .filter(|scenario| scenario.suits(ipsec))
        .map(|scenario| trial(scenario, ipsec))
        .collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn trial(scenario: Scenario, ipsec: Ipsec) -> Trial {
    Trial::test(scenario.name, move || {
        // What follows on the line of the name is the scenario's figures.
        println!();
        let start = Instant::now();
        let result = on_its_own_thread(scenario, ipsec);
        println!("    took {:.1} s", start.elapsed().as_secs_f64());
        result.map_err(|error| {
            let error = format!("{error:#}");
            // Again here, because what the daemons say of themselves has come in between.
            println!("    failed: {error}");
            Failed::from(error)
        })
    })
}

/// A lab changes the mount namespace of its thread, so that thread must not be used again.
fn on_its_own_thread(scenario: Scenario, ipsec: Ipsec) -> Result<()> {
    let thread = thread::Builder::new().name(scenario.name.to_owned());
    thread
        .spawn(move || scenario.run(ipsec))?
        .join()
        .unwrap_or_else(|_panic| Err(anyhow!("it panicked")))
}
