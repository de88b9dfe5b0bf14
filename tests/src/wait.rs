//! Waiting for something to become true.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

/// Time between two looks.
const PERIOD: Duration = Duration::from_millis(10);

/// For how long nothing changes where it is calm, and how long that may take to come about.
const CALM: Duration = Duration::from_secs(1);
const STORM: Duration = Duration::from_secs(30);

/// Reads again and again until the same has come for a second, and returns that. What probing finds is still to be set
/// some time after a tunnel is up, and what nobody uses is freed late.
pub fn when_calm<T: PartialEq>(what: &str, mut read: impl FnMut() -> Result<T>) -> Result<T> {
    let mut last = read()?;
    let mut since = Instant::now();
    wait_until(STORM, what, || {
        let now = read()?;
        if now != last {
            (last, since) = (now, Instant::now());
        }
        Ok(since.elapsed() >= CALM)
    })?;
    Ok(last)
}

/// Looks again and again until `condition` holds; returns how long that took. Fails after `limit`,
/// naming `what` was waited for, or when the condition itself fails.
pub fn wait_until(
    limit: Duration,
    what: &str,
    mut condition: impl FnMut() -> Result<bool>,
) -> Result<Duration> {
    let start = Instant::now();
    loop {
        if condition()? {
            return Ok(start.elapsed());
        }
        if start.elapsed() >= limit {
            bail!("waited {limit:?} in vain for {what}");
        }
        thread::sleep(PERIOD);
    }
}
