//! The command line.

mod bugreport;
mod change;
mod check;
mod debug;
mod exit;
mod keys;
mod log;
mod measuring;
mod monitor;
mod ping;
mod show;
mod speedtest;
mod views;

use std::{io::IsTerminal as _, path::PathBuf};

use clap::{CommandFactory as _, Parser, Subcommand};

pub use self::exit::Exit;
use crate::{
    api::{client, protocol::Request, protocol::Response},
    config::{self, Colour},
    daemon::{self, DaemonError, Directories},
};

/// Withy bonds every Internet connection of a site into one IPsec tunnel.
///
/// Without a command it shows the status.
#[derive(Debug, Parser)]
#[command(name = "withy", version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    directories: Directories,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Bring the gateway up and keep it up
    ///
    /// Stays in the foreground. On SIGTERM it ends and leaves everything forwarding; `withy down`
    /// takes everything down.
    Run {
        /// The configuration
        #[arg(
            short,
            long,
            value_name = "FILE",
            default_value = "/etc/withy/withy.yaml"
        )]
        config: PathBuf,
    },
    /// Show tunnels, IVCs, links, counters and drops
    Status(StatusArgs),
    /// Print what happens as it happens, until interrupted
    Monitor(monitor::Args),
    /// Measure how long packets take over each IVC of a tunnel
    ///
    /// Keepalives that are answered at once go each IVC's own way. What comes back is told as it comes, at the end for each IVC the
    /// least, the median and the longest round-trip time and what was lost. Exits with 1 if nothing comes back.
    Ping(ping::Args),
    /// Measure what a tunnel carries each way, or one link alone
    ///
    /// For some seconds the gateways fill the tunnel with packets that take the way of the data: whatever else it carries has to wait, and
    /// links that are paid by the byte cost what that is. What is told is what came through.
    Speedtest(speedtest::Args),
    /// Check a configuration, and touch nothing
    Check {
        /// The configuration
        #[arg(value_name = "FILE", default_value = "/etc/withy/withy.yaml")]
        config: PathBuf,
        /// Print findings as JSON
        #[arg(long)]
        json: bool,
        /// Do not compare with this machine's interfaces
        #[arg(long)]
        offline: bool,
    },
    /// Show one thing
    Show {
        #[command(subcommand)]
        what: Show,
    },
    /// Renew a tunnel's keys now
    ///
    /// Packets under way are not lost.
    Rekey {
        /// The tunnel
        #[arg(value_name = "TUNNEL")]
        tunnel: String,
    },
    /// Take the changes of the configuration file, without a new start
    ///
    /// The daemon checks the file first, and keeps what it has if the file is bad (exit status 78). Only what differs
    /// is touched: tunnels and links that are the same in both go on.
    Reload,
    /// Show what `reload` would change; exits with 1 if anything
    Diff {
        /// The configuration
        #[arg(value_name = "FILE", default_value = "/etc/withy/withy.yaml")]
        config: PathBuf,
    },
    /// Take a link out of use, or into use again
    Link {
        #[command(subcommand)]
        change: Link,
    },
    /// Print what somebody who is to help wants to see; no secrets
    ///
    /// Version, kernel, status, the last events, the configuration. Addresses and names are in it: read it before you pass it on.
    Bugreport {
        /// The configuration
        #[arg(value_name = "FILE", default_value = "/etc/withy/withy.yaml")]
        config: PathBuf,
    },
    /// Print what makes a shell complete withy's commands
    ///
    /// For bash: `withy completions bash > /etc/bash_completion.d/withy`.
    Completions {
        /// The shell
        #[arg(value_name = "SHELL")]
        shell: clap_complete::Shell,
    },
    /// Look into what is otherwise nobody's business
    Debug {
        #[command(subcommand)]
        what: debug::Debug,
    },
    /// Remove everything that Withy has set up
    Down,
    /// Print a new private key
    ///
    /// It is this gateway's identity and stays on it: `(umask 077; withy genkey > gateway.key)`.
    Genkey,
    /// Print the public key of the private key on standard input
    ///
    /// It is what the other gateways know this one by: `withy pubkey < gateway.key`.
    Pubkey,
}

#[derive(Debug, Subcommand)]
enum Show {
    /// A configuration as Withy understands it, defaults filled in; never keys, only the names of their files
    Config {
        /// The configuration
        #[arg(value_name = "FILE", default_value = "/etc/withy/withy.yaml")]
        config: PathBuf,
    },
    /// The links, or one of them
    Link(views::Args),
    /// The tunnels, or one of them
    Tunnel(views::Args),
    /// The IVCs, or those of one tunnel
    Ivc(views::Args),
    /// The security associations, or those of one tunnel; never keys
    Sa(views::Args),
}

#[derive(Debug, Subcommand)]
enum Link {
    /// Take a link into use again
    Up {
        /// The link
        #[arg(value_name = "LINK")]
        link: String,
    },
    /// Take a link out of use, over restarts too
    ///
    /// Tunnels leave it without losing a packet; its interface stays as it is.
    Down {
        /// The link
        #[arg(value_name = "LINK")]
        link: String,
    },
}

#[derive(Debug, Default, clap::Args)]
struct StatusArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Exit with 3 unless everything works
    #[arg(long)]
    check: bool,
}

impl Cli {
    /// Does what the command line says.
    #[must_use]
    pub fn execute(self) -> Exit {
        let directories = self.directories;
        match self.command {
            None => status(&directories, &StatusArgs::default()),
            Some(Command::Status(args)) => status(&directories, &args),
            Some(Command::Monitor(args)) => monitor::monitor(&directories.socket(), &args),
            Some(Command::Speedtest(args)) => speedtest::speedtest(&directories.socket(), &args),
            Some(Command::Ping(args)) => ping::ping(&directories.socket(), &args),
            Some(Command::Check {
                config,
                json,
                offline,
            }) => check::check(&config, json, offline),
            Some(Command::Run { config }) => run(&config, directories),
            Some(Command::Show {
                what: Show::Config { config },
            }) => show_config(&config),
            Some(Command::Show { what }) => views::show(&directories, &what),
            Some(Command::Rekey { tunnel }) => rekey(&directories, tunnel),
            Some(Command::Reload) => change::reload(&directories),
            Some(Command::Diff { config }) => change::diff(&directories, &config),
            Some(Command::Link { change }) => change::link(&directories, change),
            Some(Command::Debug { what }) => debug::debug(&directories, &what),
            Some(Command::Down) => down(&directories),
            Some(Command::Bugreport { config }) => bugreport::bugreport(&directories, &config),
            Some(Command::Completions { shell }) => completions(shell),
            Some(Command::Genkey) => keys::genkey(),
            Some(Command::Pubkey) => keys::pubkey(),
        }
    }
}

fn run(path: &std::path::Path, directories: Directories) -> Exit {
    log::start();
    let loaded = match config::load(path) {
        Ok(loaded) => loaded,
        Err(report) => {
            complain(&report);
            return Exit::Configuration;
        }
    };
    if !loaded.warnings.is_empty() {
        complain(&loaded.warnings);
    }
    finish(in_runtime(daemon::run(loaded.config, path, directories)))
}

fn show_config(path: &std::path::Path) -> Exit {
    match written(path) {
        Ok(text) => {
            exit::print(&text);
            Exit::Fine
        }
        Err(exit) => exit,
    }
}

/// A configuration file as Withy understands it.
fn written(path: &std::path::Path) -> Result<String, Exit> {
    let loaded = config::load(path).map_err(|report| {
        complain(&report);
        Exit::Configuration
    })?;
    serde_yaml::to_string(&loaded.config).map_err(|error| {
        eprintln!("withy: {error}");
        Exit::Failed
    })
}

fn down(directories: &Directories) -> Exit {
    log::start();
    let problems = match in_runtime(daemon::take_down(directories)) {
        Ok(problems) => problems,
        Err(error) => return finish(Err(error)),
    };
    for problem in &problems {
        eprintln!("withy: {problem}");
    }
    if problems.is_empty() {
        Exit::Fine
    } else {
        Exit::Failed
    }
}

/// Runs to the end on one thread: network namespaces are the thread's.
fn in_runtime<T>(future: impl Future<Output = Result<T, DaemonError>>) -> Result<T, DaemonError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(DaemonError::Signals)?
        .block_on(future)
}

fn finish(result: Result<(), DaemonError>) -> Exit {
    match result {
        Ok(()) => Exit::Fine,
        Err(error) => {
            eprintln!("withy: {error}");
            Exit::Failed
        }
    }
}

fn rekey(directories: &Directories, tunnel: String) -> Exit {
    match ask(directories, &Request::Rekey { tunnel }) {
        Ok(Response::Done) => Exit::Fine,
        Ok(other) => unexpected(&other),
        Err(exit) => exit,
    }
}

/// Asks the daemon; says what is wrong if it does not answer, or fails.
fn ask(directories: &Directories, request: &Request) -> Result<Response, Exit> {
    match client::call(&directories.socket(), request) {
        Ok(Response::Failed(reason)) => {
            eprintln!("withy: {reason}");
            Err(Exit::Failed)
        }
        Ok(response) => Ok(response),
        Err(error) => {
            eprintln!("withy: {error}");
            Err(Exit::Unreachable)
        }
    }
}

fn unexpected(response: &Response) -> Exit {
    eprintln!("withy: unexpected answer: {response:?}");
    Exit::Failed
}

fn status(directories: &Directories, args: &StatusArgs) -> Exit {
    let status = match ask(directories, &Request::Status) {
        Ok(Response::Status(status)) => *status,
        Ok(other) => return unexpected(&other),
        Err(exit) => return exit,
    };
    let text = if args.json {
        match serde_json::to_string_pretty(&status) {
            Ok(text) => text + "\n",
            Err(error) => {
                eprintln!("withy: {error}");
                return Exit::Failed;
            }
        }
    } else {
        show::status(&status, std::io::stdout().is_terminal())
    };
    exit::print(&text);
    if args.check && !status.is_healthy() {
        Exit::Degraded
    } else {
        Exit::Fine
    }
}

fn completions(shell: clap_complete::Shell) -> Exit {
    // The generator panics where it cannot write, as into a closed pipe.
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "withy", &mut text);
    exit::print(&String::from_utf8_lossy(&text));
    Exit::Fine
}

/// Writes findings about a configuration for people.
fn complain(report: &config::Report) {
    let colour = if std::io::stderr().is_terminal() {
        Colour::Always
    } else {
        Colour::Never
    };
    eprintln!("{}", report.render(colour));
}
