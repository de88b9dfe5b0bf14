//! Telling what is being done: a spinner on a terminal, plain lines elsewhere. All of it goes to standard error.

use std::{
    io::IsTerminal as _,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

/// One thing that takes a while. Dropped before [`Step::done`], it leaves its last state behind.
pub(crate) struct Step {
    what: String,
    started: Instant,
    spinner: Option<ProgressBar>,
}

impl Step {
    /// Begins a step; `what` is a phrase such as "unpacking kernel 6.12".
    pub(crate) fn start(what: impl Into<String>) -> Self {
        let what = what.into();
        let spinner = std::io::stderr().is_terminal().then(|| spinner(&what));
        if spinner.is_none() {
            eprintln!("{what} ...");
        }
        Self {
            what,
            started: Instant::now(),
            spinner,
        }
    }

    /// Shows what the step is busy with, where there is a terminal.
    pub(crate) fn note(&self, detail: &str) {
        if let Some(spinner) = &self.spinner {
            spinner.set_message(detail.trim().to_owned());
        }
    }

    /// Ends the step and says how long it took.
    pub(crate) fn done(self) {
        let line = format!(
            "{} ... done ({})",
            self.what,
            seconds(self.started.elapsed())
        );
        match &self.spinner {
            Some(spinner) => {
                spinner.finish_and_clear();
                eprintln!("{line}");
            }
            None => eprintln!("{line}"),
        }
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if let Some(spinner) = &self.spinner
            && !spinner.is_finished()
        {
            spinner.abandon();
        }
    }
}

/// A duration in seconds, as precise as a person wants it.
pub(crate) fn seconds(duration: Duration) -> String {
    if duration < Duration::from_secs(10) {
        format!("{:.1} s", duration.as_secs_f64())
    } else {
        format!("{} s", duration.as_secs())
    }
}

fn spinner(what: &str) -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    // The template is a constant: were it wrong, the default look would do.
    if let Ok(style) =
        ProgressStyle::with_template("{spinner} {prefix} [{elapsed}] {wide_msg:.dim}")
    {
        bar.set_style(style);
    }
    bar.set_prefix(what.to_owned());
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}
