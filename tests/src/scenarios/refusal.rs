//! What is refused leaves everything as it is.

use std::{fs, path::Path};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{
    Scenario,
    stage::{fast_links, play, rehearse},
};
use crate::{
    gateway::Gateway,
    lab::Lab,
    site_config::TunnelSpec,
    snapshot::{Scope, Snapshot},
};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::new(
        "bad_configurations_are_refused_and_touch_nothing",
        bad_configurations,
    ),
    Scenario::new(
        "a_second_daemon_is_refused_and_harms_nothing",
        second_daemon,
    ),
];

/// `EX_CONFIG` of sysexits.h.
const BAD_CONFIGURATION: i32 = 78;

/// A name, and a change to a good file.
type Spoiling = (&'static str, fn(&str) -> String);

/// One of each kind; the rest are tested without a kernel.
const SPOILED: [Spoiling; 5] = [
    ("an unknown field", |text| text.replace("lan:", "lann:")),
    ("a wrong unit", |text| text.replace("bit/s", "bps")),
    ("a missing key file", |text| {
        text.replace("/keys/", "/no-keys/")
    }),
    ("two links on one interface", |text| {
        text.replace("interface: wan1", "interface: wan0")
    }),
    ("no YAML", |text| text.replace("bundles:", "bundles: [")),
];

fn bad_configurations() -> Result<()> {
    rehearse(
        Lab::paired(&fast_links()),
        &TunnelSpec::default(),
        |stage| {
            stage.configure()?;
            let site = stage.a.site();
            let good = fs::read_to_string(site.dirs().etc().join("withy.yaml"))?;
            let before = Snapshot::when_calm(site, Scope::Machine)?;
            let bad = site.dirs().etc().join("bad.yaml");
            for (what, spoil) in SPOILED {
                fs::write(&bad, spoil(&good))?;
                for command in ["run", "check"] {
                    refused(&stage.a, command, &bad).with_context(|| what.to_owned())?;
                }
            }
            unknown_interface(&stage.a, &good, &bad)?;
            fine(&stage.a)?;
            let differences = Snapshot::diff(&before, &Snapshot::of_gateway(site, Scope::Machine)?);
            ensure!(
                differences.is_empty(),
                "something changed:\n{}",
                differences.join("\n")
            );
            Ok(())
        },
    )
}

fn refused(gateway: &Gateway<'_>, command: &str, file: &Path) -> Result<()> {
    let path = file.to_str().context("an odd path")?;
    let words = match command {
        "run" => vec!["run", "-c", path],
        command => vec![command, path],
    };
    let output = gateway.run_cli(&words)?;
    let code = output.status.code();
    ensure!(
        code == Some(BAD_CONFIGURATION),
        "{command} exits with {code:?}: {output:?}"
    );
    ensure!(
        output.stderr.contains("bad.yaml:"),
        "{command} names no place: {}",
        output.stderr
    );
    Ok(())
}

/// A file that is right for another machine is refused by `check` at the line that names the
/// interface, and fine where the machine is left out.
fn unknown_interface(gateway: &Gateway<'_>, good: &str, bad: &Path) -> Result<()> {
    let spoiled = good.replace("interface: wan2", "interface: wan9");
    fs::write(bad, &spoiled)?;
    let line = spoiled.lines().position(|line| line.contains("wan9"));
    let line = line.context("no line names wan9")?;
    let text = spoiled.lines().nth(line).unwrap_or_default();
    let column = text.find("wan9").context("no column either")? + 1;
    let path = bad.to_str().context("an odd path")?;

    let output = gateway.run_cli(&["check", "--json", path])?;
    let code = output.status.code();
    ensure!(code == Some(BAD_CONFIGURATION), "check exits with {code:?}");
    let reports = serde_json::Deserializer::from_str(&output.stdout).into_iter::<Value>();
    let findings: Vec<Value> = reports
        .collect::<Result<Vec<_>, _>>()?
        .iter()
        .filter_map(|report| report["diagnostics"].as_array())
        .flatten()
        .filter(|finding| finding["severity"] == "error")
        .cloned()
        .collect();
    let [finding] = findings.as_slice() else {
        anyhow::bail!("one error was to be found: {findings:?}");
    };
    println!("    {finding}");
    ensure!(
        finding["field"] == "links.wan2.interface",
        "another field: {finding}"
    );
    ensure!(
        finding["line"] == line + 1,
        "not line {}: {finding}",
        line + 1
    );
    ensure!(finding["column"] == column, "another column: {finding}");

    let offline = gateway.run_cli(&["check", "--offline", path])?;
    ensure!(offline.status.success(), "check --offline: {offline:?}");
    Ok(())
}

fn fine(gateway: &Gateway<'_>) -> Result<()> {
    let path = gateway.site().dirs().etc().join("withy.yaml");
    let path = path.to_str().context("an odd path")?;
    let output = gateway.run_cli(&["check", path])?;
    ensure!(output.status.success(), "check of a good file: {output:?}");
    Ok(())
}

fn second_daemon() -> Result<()> {
    play(
        Lab::paired(&fast_links()),
        &TunnelSpec::default(),
        |stage| {
            let site = stage.a.site();
            let before = Snapshot::when_calm(site, Scope::Machine)?;
            let path = site.dirs().etc().join("withy.yaml");
            let output = stage
                .a
                .run_cli(&["run", "-c", path.to_str().context("an odd path")?])?;
            ensure!(!output.status.success(), "there are two daemons");
            println!("    {}", output.stderr.lines().last().unwrap_or_default());
            let differences = Snapshot::diff(&before, &Snapshot::of_gateway(site, Scope::Machine)?);
            ensure!(
                differences.is_empty(),
                "something changed:\n{}",
                differences.join("\n")
            );
            stage.expect_ping("a", 1472)
        },
    )
}
