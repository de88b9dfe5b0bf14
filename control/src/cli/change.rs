//! Changes to a gateway that runs.

use std::{fmt::Write as _, io::IsTerminal as _, path::Path};

use anstyle::{AnsiColor, Style};
use similar::{ChangeTag, TextDiff};

use super::{Exit, Link, ask, exit, unexpected, written};
use crate::{
    api::protocol::{Request, Response},
    daemon::Directories,
};

/// `withy reload`.
pub(super) fn reload(directories: &Directories) -> Exit {
    match ask(directories, &Request::Reload) {
        Ok(Response::Reloaded { changes, warnings }) => {
            if let Some(warnings) = warnings {
                eprintln!("{warnings}");
            }
            if changes.is_empty() {
                exit::print("nothing has changed\n");
            }
            for change in changes {
                exit::print(&(change + "\n"));
            }
            Exit::Fine
        }
        Ok(Response::BadConfiguration(report)) => {
            eprintln!("{report}\nwithy: the gateway keeps the configuration that it has");
            Exit::Configuration
        }
        Ok(other) => unexpected(&other),
        Err(exit) => exit,
    }
}

/// `withy link up` and `withy link down`.
pub(super) fn link(directories: &Directories, change: Link) -> Exit {
    let (link, down) = match change {
        Link::Up { link } => (link, false),
        Link::Down { link } => (link, true),
    };
    match ask(directories, &Request::Link { link, down }) {
        Ok(Response::Done) => Exit::Fine,
        Ok(other) => unexpected(&other),
        Err(exit) => exit,
    }
}

/// `withy diff`.
pub(super) fn diff(directories: &Directories, path: &Path) -> Exit {
    let new = match written(path) {
        Ok(text) => text,
        Err(exit) => return exit,
    };
    match ask(directories, &Request::Configuration) {
        Ok(Response::Configuration(old)) if old == new => Exit::Fine,
        Ok(Response::Configuration(old)) => {
            exit::print(&compare(&old, &new, std::io::stdout().is_terminal()));
            Exit::Failed
        }
        Ok(other) => unexpected(&other),
        Err(exit) => exit,
    }
}

/// The lines that differ, with some around them; with colours if they go to a terminal.
fn compare(old: &str, new: &str, terminal: bool) -> String {
    let diff = TextDiff::from_lines(old, new);
    let mut text = String::new();
    for hunk in diff.unified_diff().context_radius(3).iter_hunks() {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{}", hunk.header());
        for change in hunk.iter_changes() {
            let (sign, colour) = match change.tag() {
                ChangeTag::Delete => ('-', Some(AnsiColor::Red)),
                ChangeTag::Insert => ('+', Some(AnsiColor::Green)),
                ChangeTag::Equal => (' ', None),
            };
            let style = Style::new().fg_color(colour.filter(|_| terminal).map(Into::into));
            let line = change.value().trim_end_matches('\n');
            let _ = writeln!(text, "{style}{sign}{line}{style:#}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_shown() {
        let lines: Vec<_> = (0..20).map(|number| format!("line {number}\n")).collect();
        let old = lines.concat();
        let new = old.replace("line 10\n", "line ten\n");
        let shown = compare(&old, &new, false);
        assert!(shown.contains("-line 10\n+line ten\n"), "{shown}");
        assert!(!shown.contains("line 2\n") && !shown.contains('\u{1b}'));
        assert!(compare(&old, &new, true).contains("\u{1b}[32m+line ten"));
    }
}
