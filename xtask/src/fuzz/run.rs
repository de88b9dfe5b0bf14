//! Running the targets: libFuzzer's command line.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, Result};

use super::{Target, build, folder};
use crate::{command, progress::Step, workspace};

/// How many inputs a test tries.
const TEST_RUNS: u32 = 20_000;
/// How long one input may take, in seconds; a shared machine can be slow.
const TIMEOUT: u32 = 20;
/// How much memory a target may take, in MiB.
const MEMORY: u32 = 1024;

/// How much is tried.
pub(super) enum Effort {
    /// As many inputs as this time allows, from another beginning each time.
    Time(Duration),
    /// The inputs of a test, the same ones each time.
    Test,
}

/// The folder in which the inputs are kept that were found to reach something new; later runs go on from there.
pub(super) fn corpus(target: Target) -> Result<PathBuf> {
    let corpus = folder().join("corpus").join(target.name());
    made(&corpus)?;
    Ok(corpus)
}

/// The command that fuzzes a target and puts what is new into `corpus`.
pub(super) fn fuzz(target: Target, corpus: &Path, effort: &Effort) -> Result<Command> {
    let findings = findings(target);
    made(&findings)?;
    let mut program = program(target);
    program
        .arg(corpus)
        .args(target.seeds())
        .arg(format!("-max_len={}", target.longest()))
        .arg(format!("-artifact_prefix={}/", findings.display()));
    if let Some(dictionary) = target.dictionary() {
        program.arg(format!("-dict={}", dictionary.display()));
    }
    match effort {
        Effort::Time(duration) => {
            program.arg(format!("-max_total_time={}", duration.as_secs()));
            program.arg("-print_final_stats=1");
        }
        Effort::Test => {
            program.args([&format!("-runs={TEST_RUNS}"), "-seed=1", "-reload=0"]);
            // What was compared is remembered by the place in the code, and that is another one in each process.
            program.arg("-use_cmp=0");
        }
    }
    Ok(program)
}

/// The command that runs one input on a target.
pub(super) fn replay(target: Target, input: &Path) -> Command {
    let mut program = program(target);
    program.arg(input);
    program
}

/// Runs the inputs of a test on a target. The error has the end of what the target says.
pub(super) fn briefly(target: Target) -> Result<()> {
    // What is found is not kept: the next test would begin with it.
    let corpus = tempfile::tempdir().context("cannot make a temporary folder")?;
    let step = Step::start(format!("fuzzing {}", target.name()));
    command::run(&step, fuzz(target, corpus.path(), &Effort::Test)?)?;
    step.done();
    Ok(())
}

/// Says which input broke a target, and how to run it again.
pub(super) fn finding(target: Target, input: Option<&Path>) -> String {
    let newest = || newest(&findings(target));
    match input.map(Path::to_path_buf).or_else(newest) {
        Some(file) => {
            let file = workspace::relative(&file);
            format!(
                "the input is {file}; to run it again:\n  cargo xtask fuzz {target} --input {file}",
                target = target.name(),
                file = file.display(),
            )
        }
        None => format!("{}: it left no input behind", target.name()),
    }
}

fn program(target: Target) -> Command {
    let mut program = Command::new(build::program(target));
    program
        .current_dir(workspace::root())
        .arg(format!("-timeout={TIMEOUT}"))
        .arg(format!("-rss_limit_mb={MEMORY}"));
    program
}

/// Where a target leaves the inputs that break it.
fn findings(target: Target) -> PathBuf {
    folder().join("findings").join(target.name())
}

fn made(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))
}

/// The file in a folder that was written last.
fn newest(folder: &Path) -> Option<PathBuf> {
    let written = |path: &PathBuf| -> Option<SystemTime> { path.metadata().ok()?.modified().ok() };
    let files = fs::read_dir(folder).ok()?.flatten();
    files.map(|file| file.path()).max_by_key(written)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_finding_is_shown() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(newest(folder.path()), None);
        for (name, age) in [("crash-2", 20), ("crash-1", 10), ("crash-3", 30)] {
            let file = fs::File::create(folder.path().join(name)).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(age))
                .unwrap();
        }
        assert_eq!(newest(folder.path()), Some(folder.path().join("crash-1")));
    }

    #[test]
    fn a_finding_comes_with_the_command_that_shows_it_again() {
        let input = workspace::root().join("some/input");
        let text = finding(Target::Header, Some(&input));
        assert!(
            text.ends_with("cargo xtask fuzz header --input some/input"),
            "{text}"
        );
    }
}
