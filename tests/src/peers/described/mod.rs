//! Systems described by files in `tests/peers`, for programs that are not ours to install.

mod description;
mod fill;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use self::{
    description::{Description, Side, Sign},
    fill::Values,
};
use super::{
    Envelope, Running, START_LIMIT, System, between_hosts,
    device::{self, End},
    forward,
    process::Process,
    tool, wait_for_path,
};
use crate::{lab::Lab, traffic::bulk::Flow, wait::wait_until};

/// A system as its file describes it.
#[derive(Debug)]
pub struct Described {
    file: PathBuf,
    description: Description,
}

struct Up<'lab> {
    lab: &'lab Lab,
    processes: Vec<Process>,
    envelope: Envelope,
}

/// Reads all descriptions in a folder, in the order of their files' names. An error names the file and what is wrong
/// in it.
pub fn read_all(folder: &Path) -> Result<Vec<Described>> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut files = entries
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<Vec<_>>>()?;
    files.retain(|file| {
        file.extension()
            .is_some_and(|extension| extension == "yaml")
    });
    files.sort();
    files.iter().map(|file| read(file)).collect()
}

/// Reads one description.
pub fn read(file: &Path) -> Result<Described> {
    let text = fs::read_to_string(file);
    let text = text.with_context(|| format!("cannot read {}", file.display()))?;
    let description = Description::parse(&text).with_context(|| file.display().to_string())?;
    Ok(Described {
        file: file.to_owned(),
        description,
    })
}

impl System for Described {
    fn name(&self) -> &str {
        &self.description.name
    }

    fn about(&self) -> &str {
        &self.description.about
    }

    fn absent(&self) -> Option<String> {
        let needs: Vec<_> = self.description.needs.iter().map(String::as_str).collect();
        let probe = self.description.probe.as_deref();
        tool::absent(&needs).or_else(|| failure(probe?))
    }

    fn start<'lab>(&self, lab: &'lab Lab) -> Result<Box<dyn Running + 'lab>> {
        self.start_both(lab)
            .with_context(|| format!("as {} describes it", self.file.display()))
    }
}

/// What a line for the shell says when it fails; none if it succeeds.
fn failure(line: &str) -> Option<String> {
    let output = tool::command("sh").args(["-c", line]).output();
    match output {
        Ok(output) if output.status.success() => None,
        Ok(output) => {
            let words = String::from_utf8_lossy(&output.stderr);
            Some(format!("`{line}` fails: {}", words.trim()))
        }
        Err(error) => Some(format!("`{line}`: {error}")),
    }
}

impl Described {
    fn start_both<'lab>(&self, lab: &'lab Lab) -> Result<Box<dyn Running + 'lab>> {
        forward(lab)?;
        let ends = device::ends(lab, usize::MAX)?;
        let [a, b] = *ends.first().context("the lab has no links")?;
        let at_a: Vec<_> = ends.iter().map(|[a, b]| (*a, *b)).collect();
        let at_b: Vec<_> = ends.iter().map(|[a, b]| (*b, *a)).collect();
        let sides = &self.description.sides;
        let parts = [(&sides.a, a, b, at_a), (&sides.b, b, a, at_b)];
        let mut values = Vec::new();
        for (_, here, _, links) in &parts {
            let own = Values::new(&self.description, links)?;
            fs::create_dir_all(own.folder())?;
            tool::write_secret(&own.secret_file(), &tool::hex(&tool::key(self.name())))?;
            values.push((*here, own));
        }
        // What one side prepares, a public key for one, the other may need for its start.
        for ((side, ..), (here, values)) in parts.iter().zip(&values) {
            prepare(lab, *here, side, values)?;
        }
        for ((side, ..), (_, values)) in parts.iter().zip(&values) {
            write_files(side, values)?;
        }
        let mut processes = Vec::new();
        for ((side, ..), (here, values)) in parts.iter().zip(&values) {
            let command = shell(&format!("exec {}", values.fill(&side.start)?), values);
            processes.push(Process::start(lab, here.site, self.name(), command)?);
        }
        for ((_, here, there, _), process) in parts.iter().zip(&mut processes) {
            self.connect(*here, *there, process)?;
        }
        wait_for_path(lab, || processes.iter_mut().try_for_each(Process::check)).with_context(
            || {
                processes
                    .iter()
                    .map(Process::tail)
                    .collect::<Vec<_>>()
                    .join("\n")
            },
        )?;
        Ok(Box::new(Up {
            lab,
            processes,
            envelope: Envelope::Plus(self.description.overhead),
        }))
    }

    /// Waits for the side's device, and routes the other LAN into it.
    fn connect(&self, here: End<'_>, there: End<'_>, process: &mut Process) -> Result<()> {
        let Description {
            device,
            mtu,
            up,
            configures_itself,
            ..
        } = &self.description;
        if let Sign::Log(text) = up {
            wait_until(START_LIMIT, &format!("{text:?} in the log"), || {
                process.check()?;
                Ok(process.output().contains(text))
            })?;
        }
        if !configures_itself {
            device::configure(here, device, *mtu, &mut || process.check())?;
            return device::route_lan_to(here, there, device);
        }
        wait_until(START_LIMIT, &format!("the device {device}"), || {
            process.check()?;
            let netns = here.site.gateway();
            Ok(netns.has_link(device)? && netns.is_up(device)?)
        })?;
        device::route_lan(here.site, there.site, device)
    }
}

fn prepare(lab: &Lab, here: End<'_>, side: &Side, values: &Values) -> Result<()> {
    for line in &side.prepare {
        let command = shell(&values.fill(line)?, values);
        tool::run(lab, here.site.gateway(), command)?;
    }
    Ok(())
}

fn write_files(side: &Side, values: &Values) -> Result<()> {
    for (name, text) in &side.files {
        let links = values.each_link(side.each_link.as_deref().unwrap_or_default())?;
        let text = values.fill(&text.replace("%{links}", &links))?;
        tool::write_secret(&values.folder().join(name), &text)?;
    }
    Ok(())
}

/// A line for the shell, in the side's folder.
fn shell(line: &str, values: &Values) -> std::process::Command {
    let mut command = tool::command("sh");
    command.args(["-c", line]).current_dir(values.folder());
    command
}

impl Running for Up<'_> {
    fn processes(&self) -> Vec<u32> {
        self.processes.iter().flat_map(Process::pids).collect()
    }

    fn flow(&self) -> Result<Flow> {
        between_hosts(self.lab)
    }

    fn envelope(&self) -> Envelope {
        self.envelope
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_that_come_along_are_valid() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers");
        let all = read_all(&folder).unwrap();
        assert!(all.iter().any(|described| described.name() == "fastd"));
    }

    #[test]
    fn what_is_missing_is_told() {
        assert_eq!(failure("true"), None);
        let words = failure("echo no such device >&2; false").unwrap();
        assert!(words.ends_with("fails: no such device"), "{words}");
    }

    #[test]
    fn errors_name_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("odd.yaml");
        fs::write(&file, "name: odd\n").unwrap();
        let problem = format!("{:#}", read_all(folder.path()).unwrap_err());
        assert!(problem.contains("odd.yaml: missing field"), "{problem}");
        let nowhere = read_all(&folder.path().join("none")).unwrap_err();
        assert!(nowhere.to_string().contains("none"), "{nowhere:#}");
    }
}
