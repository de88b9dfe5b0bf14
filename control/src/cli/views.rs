//! `withy show link`, `tunnel`, `ivc` and `sa`: parts of the status.

use std::io::IsTerminal as _;

use comfy_table::Cell;
use humansize::{DECIMAL, format_size};
use serde::Serialize;

use super::{Exit, Show, ask, exit, show, unexpected};
use crate::{
    api::{
        protocol::{Request, Response},
        status::{IvcStatus, SCHEMA, SaDirection, SaStatus, Status, TunnelStatus},
    },
    daemon::Directories,
};

/// What of it to show, and how.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The one to show
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A part of the status, as JSON.
#[derive(Serialize)]
struct Part<'a, T> {
    schema: u32,
    gateway: &'a str,
    #[serde(flatten)]
    list: T,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum List<T> {
    Links(Vec<T>),
    Tunnels(Vec<T>),
    Ivcs(Vec<T>),
    SecurityAssociations(Vec<T>),
}

/// An IVC and its tunnel.
#[derive(Clone, Serialize)]
struct Ivc {
    tunnel: String,
    #[serde(flatten)]
    ivc: IvcStatus,
}

/// Shows a part of the status.
pub(super) fn show(directories: &Directories, what: &Show) -> Exit {
    match text(directories, what) {
        Ok(text) => {
            exit::print(&text);
            Exit::Fine
        }
        Err(exit) => exit,
    }
}

fn text(directories: &Directories, what: &Show) -> Result<String, Exit> {
    let status = match ask(directories, &Request::Status)? {
        Response::Status(status) => *status,
        other => return Err(unexpected(&other)),
    };
    let terminal = std::io::stdout().is_terminal();
    let gateway = &*status.gateway;
    match what {
        // Configurations are not asked of the daemon.
        Show::Config { .. } => Ok(String::new()),
        Show::Link(args) => {
            let links = status.links.clone();
            let links = pick(links, args, "link", |link| &link.name)?;
            if args.json {
                return json(gateway, List::Links(links));
            }
            Ok(show::links(&links, terminal))
        }
        Show::Tunnel(args) => {
            let tunnels = tunnels(&status, args)?;
            if args.json {
                return json(gateway, List::Tunnels(tunnels));
            }
            let mut parts = Vec::new();
            for tunnel in &tunnels {
                parts.push(show::tunnel(tunnel, terminal));
            }
            Ok(parts.join("\n"))
        }
        Show::Ivc(args) => {
            let ivcs = ivcs(tunnels(&status, args)?);
            if args.json {
                return json(gateway, List::Ivcs(ivcs));
            }
            let texts = ivcs
                .iter()
                .map(|Ivc { tunnel, ivc }| show::ivc(tunnel, ivc));
            Ok(texts.collect::<Vec<_>>().join("\n"))
        }
        Show::Sa(args) => {
            let names = tunnels(&status, args)?;
            let mut sas = match ask(directories, &Request::Associations)? {
                Response::Associations(sas) => sas,
                other => return Err(unexpected(&other)),
            };
            sas.retain(|sa| names.iter().any(|tunnel| tunnel.name == sa.tunnel));
            if args.json {
                return json(gateway, List::SecurityAssociations(sas));
            }
            Ok(sa_table(&sas, terminal))
        }
    }
}

fn tunnels(status: &Status, args: &Args) -> Result<Vec<TunnelStatus>, Exit> {
    let tunnels = status.tunnels.clone();
    pick(tunnels, args, "tunnel", |tunnel| &tunnel.name)
}

fn ivcs(tunnels: Vec<TunnelStatus>) -> Vec<Ivc> {
    let mut all = Vec::new();
    for tunnel in tunnels {
        let name = tunnel.name;
        let ivcs = tunnel.ivcs.into_iter();
        all.extend(ivcs.map(|ivc| Ivc {
            tunnel: name.clone(),
            ivc,
        }));
    }
    all
}

/// Keeps the one of the name that is asked for.
fn pick<T>(
    mut all: Vec<T>,
    args: &Args,
    kind: &str,
    name: impl Fn(&T) -> &String,
) -> Result<Vec<T>, Exit> {
    if let Some(wanted) = &args.name {
        all.retain(|one| name(one) == wanted);
        if all.is_empty() {
            eprintln!("withy: there is no {kind} {wanted}");
            return Err(Exit::Failed);
        }
    }
    Ok(all)
}

fn json<T: Serialize>(gateway: &str, part: List<T>) -> Result<String, Exit> {
    let part = Part {
        schema: SCHEMA,
        gateway,
        list: part,
    };
    match serde_json::to_string_pretty(&part) {
        Ok(text) => Ok(text + "\n"),
        Err(error) => {
            eprintln!("withy: {error}");
            Err(Exit::Failed)
        }
    }
}

fn sa_table(sas: &[SaStatus], terminal: bool) -> String {
    let header = [
        "tunnel", "packets", "SPI", "suite", "state", "for", "count", "bytes",
    ];
    let mut table = show::table(&header, terminal);
    for sa in sas {
        let (word, fine) = match (&sa.usage, sa.newest) {
            (None, _) => ("missing", false),
            (Some(_), true) => ("in use", true),
            (Some(_), false) => ("old", true),
        };
        let known = |text: &dyn Fn(&crate::api::status::SaUsage) -> String| {
            let text = sa.usage.as_ref().map(text);
            show::number(text.unwrap_or_else(|| "-".to_owned()))
        };
        table.add_row(vec![
            Cell::new(&sa.tunnel),
            Cell::new(match sa.direction {
                SaDirection::In => "received",
                SaDirection::Out => "sent",
            }),
            Cell::new(format!("{:#010x}", sa.spi)),
            Cell::new(&sa.suite),
            show::good(word, fine),
            known(&|usage| usage.since.map_or_else(|| "-".to_owned(), show::age)),
            known(&|usage| usage.packets.to_string()),
            known(&|usage| format_size(usage.bytes, DECIMAL)),
        ]);
    }
    format!("{table}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::status::SaUsage;

    fn sa(direction: SaDirection, newest: bool, usage: Option<SaUsage>) -> SaStatus {
        SaStatus {
            tunnel: "paris".to_owned(),
            direction,
            spi: 0x1001,
            suite: "aes-gcm-256".to_owned(),
            newest,
            usage,
        }
    }

    #[test]
    fn associations_are_in_use_or_old_or_missing() {
        let usage = SaUsage {
            since: Some(u64::MAX),
            packets: 7,
            bytes: 9000,
        };
        let sas = [
            sa(SaDirection::Out, true, Some(usage)),
            sa(SaDirection::In, false, Some(usage)),
            sa(SaDirection::In, true, None),
            sa(
                SaDirection::In,
                true,
                Some(SaUsage {
                    since: None,
                    ..usage
                }),
            ),
        ];
        let text = sa_table(&sas, false);
        let rows: Vec<Vec<_>> = text
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        let row = |row: usize, words: &str| {
            assert_eq!(rows[row], words.split_whitespace().collect::<Vec<_>>());
        };
        row(1, "paris sent 0x00001001 aes-gcm-256 in use 0s 7 9 kB");
        row(2, "paris received 0x00001001 aes-gcm-256 old 0s 7 9 kB");
        row(3, "paris received 0x00001001 aes-gcm-256 missing - - -");
        row(4, "paris received 0x00001001 aes-gcm-256 in use - 7 9 kB");
    }

    #[test]
    fn a_part_has_the_schema_and_its_gateway() {
        let part = json(
            "london",
            List::SecurityAssociations(vec![sa(SaDirection::In, true, None)]),
        );
        let value: serde_json::Value = serde_json::from_str(&part.unwrap()).unwrap();
        assert_eq!(
            (&value["schema"], &value["gateway"]),
            (&SCHEMA.into(), &"london".into())
        );
        let sa = &value["security_associations"][0];
        assert_eq!(
            (&sa["spi"], &sa["direction"]),
            (&0x1001.into(), &"in".into())
        );
    }

    #[test]
    fn a_name_that_is_not_there_is_an_error() {
        let args = |name: &str| Args {
            name: Some(name.to_owned()),
            json: false,
        };
        let all = || vec!["a".to_owned(), "b".to_owned()];
        let found = pick(all(), &args("b"), "link", |one| one);
        assert_eq!(found.unwrap(), ["b"]);
        let missing = pick(all(), &args("c"), "link", |one| one);
        assert_eq!(missing.unwrap_err(), Exit::Failed);
    }
}
