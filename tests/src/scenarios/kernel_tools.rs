//! Looking at the kernel and meddling with it as an administrator would, by the usual tools.

use std::{collections::BTreeMap, fs, process::Command};

use anyhow::{Context, Result, ensure};

use crate::netns::Netns;

/// Runs a command in a namespace, by its words, and returns what it printed.
pub(super) fn run(netns: &Netns, line: &str) -> Result<String> {
    let mut words = line.split_whitespace();
    let program = words.next().context("no command")?;
    let output = netns.enter(|| Ok(Command::new(program).args(words).output()?))?;
    ensure!(
        output.status.success(),
        "{line}: {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The sorted lines of a listing that begin, after white space, with one of `words`.
pub(super) fn listing(netns: &Netns, line: &str, words: &[&str]) -> Result<Vec<String>> {
    let mut lines: Vec<String> = run(netns, line)?
        .lines()
        .map(|line| line.trim().to_owned())
        .filter(|line| words.is_empty() || words.iter().any(|word| line.starts_with(word)))
        .collect();
    lines.sort_unstable();
    Ok(lines)
}

/// What a namespace's XFRM refused, by the kernel's names (`Documentation/networking/xfrm_proc.rst`).
pub(super) fn xfrm_errors(netns: &Netns) -> Result<BTreeMap<String, u64>> {
    let text = netns.enter(|| Ok(fs::read_to_string("/proc/thread-self/net/xfrm_stat")?))?;
    text.lines()
        .map(|line| {
            let (name, count) = line
                .split_once(char::is_whitespace)
                .context("an odd line")?;
            Ok((name.to_owned(), count.trim().parse()?))
        })
        .collect()
}
