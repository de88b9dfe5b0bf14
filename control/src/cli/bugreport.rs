//! `withy bugreport`: what somebody who is to help wants to see.

use std::{fmt::Write as _, fs, path::Path, time::SystemTime};

use super::{Exit, exit, written};
use crate::{
    api::{
        client::{self, ClientError},
        protocol::{Request, Response},
    },
    daemon::Directories,
    terminal::disarm,
};

/// Prints a report. It has addresses, names and public keys; of secrets it has the names of their files.
pub(super) fn bugreport(directories: &Directories, file: &Path) -> Exit {
    let ask = |request| client::call(&directories.socket(), &request);
    exit::print(&report(file, ask));
    Exit::Fine
}

fn report(file: &Path, ask: impl Fn(Request) -> Result<Response, ClientError>) -> String {
    let mut text = String::from("Withy bug report\n");
    let time = humantime::format_rfc3339_seconds(SystemTime::now());
    let mut line = |name: &str, value: &str| {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{name}: {}", disarm(value.trim().to_owned()));
    };
    line("time", &time.to_string());
    line("withy", env!("CARGO_PKG_VERSION"));
    line("kernel", &first_line("/proc/sys/kernel/version"));
    line("kernel release", &first_line("/proc/sys/kernel/osrelease"));
    section(&mut text, "status", &status(&ask));
    section(&mut text, "events", &events(&ask));
    section(
        &mut text,
        "configuration of the daemon",
        &configuration(&ask),
    );
    let of_file = written(file).unwrap_or_else(|_| "it is bad: see `withy check`\n".to_owned());
    section(
        &mut text,
        &format!("configuration in {}", file.display()),
        &of_file,
    );
    text
}

fn first_line(path: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().next().unwrap_or_default().to_owned()
}

fn section(text: &mut String, title: &str, body: &str) {
    // Writing to a string does not fail.
    let _ = writeln!(text, "\n== {} ==", disarm(title.to_owned()));
    for line in body.lines() {
        let _ = writeln!(text, "{}", disarm(line.to_owned()));
    }
}

fn status(ask: impl Fn(Request) -> Result<Response, ClientError>) -> String {
    match ask(Request::Status) {
        Ok(Response::Status(status)) => {
            serde_json::to_string_pretty(&status).unwrap_or_else(|error| error.to_string())
        }
        other => unexpected(other),
    }
}

fn events(ask: impl Fn(Request) -> Result<Response, ClientError>) -> String {
    match ask(Request::Events) {
        Ok(Response::Events(events)) => {
            let lines = events
                .iter()
                .map(|event| format!("{} {}\n", event.time, event.text));
            lines.collect()
        }
        other => unexpected(other),
    }
}

fn configuration(ask: impl Fn(Request) -> Result<Response, ClientError>) -> String {
    match ask(Request::Configuration) {
        Ok(Response::Configuration(text)) => text,
        other => unexpected(other),
    }
}

/// What there is instead: that the daemon does not run is part of the report.
fn unexpected(answer: Result<Response, ClientError>) -> String {
    match answer {
        Ok(Response::Failed(reason)) => reason,
        Ok(_) => "the daemon's answer is not understood".to_owned(),
        Err(error) => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::OpenOptionsExt as _;

    use super::*;
    use crate::api::event::{Event, What};

    const SECRET: &str = "5ec4e75ec4e75ec4e75ec4e75ec4e75ec4e75ec4e75ec4e75ec4e75ec4e75ec4e75ec4e75ec4e75ec4e75ec4e75ec4e7";

    /// A configuration whose keys are in files beside it.
    fn configured() -> (tempfile::TempDir, std::path::PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        for (name, key) in [("out", SECRET.to_owned()), ("in", "77".repeat(48))] {
            let mut options = fs::File::options();
            let options = options.write(true).create_new(true).mode(0o600);
            let mut file = options.open(directory.path().join(name)).unwrap();
            std::io::Write::write_all(&mut file, key.as_bytes()).unwrap();
        }
        let text = "
gateway: {name: a, lan: [lan0]}
links:
  dsl: {interface: eth1, rate: 1 Mbit/s, latency: 1 ms}
bundles:
  all: {links: [dsl]}
tunnels:
  b:
    bundle: all
    endpoints: {local: 10.255.0.1, remote: 10.255.0.2}
    subnets: {local: [192.168.1.0/24], remote: [192.168.2.0/24]}
    ivcs: [{link: dsl, remote: 198.51.100.1}]
    security:
      mode: manual
      suite: aes-cbc-128-hmac-sha-256
      outbound: {spi: 0x1001, key_file: out}
      inbound: {spi: 0x1002, key_file: in}
";
        let file = directory.path().join("withy.yaml");
        fs::write(&file, text).unwrap();
        (directory, file)
    }

    #[test]
    fn it_names_the_files_of_keys_and_shows_no_key() {
        let (_directory, file) = configured();
        let text = report(&file, |request| {
            Ok(match request {
                Request::Events => {
                    let what = What::Problem {
                        problem: "no route".to_owned(),
                    };
                    Response::Events(vec![Event::new(SystemTime::UNIX_EPOCH, what)])
                }
                Request::Configuration => {
                    Response::Configuration("gateway: \u{1b}[2J\n".to_owned())
                }
                _ => Response::Failed("no status".to_owned()),
            })
        });
        for part in [
            concat!("withy: ", env!("CARGO_PKG_VERSION"), "\n"),
            "== status ==\nno status\n",
            "== events ==\n1970-01-01T00:00:00.000Z no route\n",
            "== configuration of the daemon ==\ngateway: \\u{1b}[2J\n",
            "key_file: out",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains("5ec4e7"), "{text}");
    }

    #[test]
    fn without_a_daemon_there_is_a_report_that_says_so() {
        let text = report(Path::new("/nonexistent"), |_| {
            Err(ClientError::Refused("nobody answers".to_owned()))
        });
        assert_eq!(text.matches("\nnobody answers\n").count(), 3, "{text}");
        assert!(text.contains("it is bad"), "{text}");
    }
}
