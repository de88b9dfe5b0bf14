//! Gateway processes, their traces, and a lab that is killed.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result};
use withy_tests::{
    gateway::Gateway,
    lab::{Lab, LinkSpec},
    netns::Route,
    shape::Shape,
    snapshot::{Scope, Snapshot},
    wait::wait_until,
};

use crate::{ms, turn};

#[test]
fn a_gateway_process_is_started_asked_and_ended() -> Result<()> {
    let _turn = turn();
    let lab = Lab::paired(&[LinkSpec::new("wan0", Shape::new(20_000_000, ms(2)))]).build()?;
    let mut gateway = Gateway::new(&lab, "b", Path::new("/bin/sh"))?;
    let said = gateway.run_cli(&[
        "-c",
        "ip -o link; echo $WITHY_BPFFS; ls -d $WITHY_RUN_DIR; exit 3",
    ])?;
    assert_eq!(said.status.code(), Some(3));
    assert!(
        said.stdout.contains("wan0") && said.stdout.contains("lan0"),
        "{said:?}"
    );
    assert!(
        said.stdout.contains(&b_dir(&lab, "bpf")?) && said.stderr.is_empty(),
        "{said:?}"
    );

    gateway.start(&[
        "-c",
        "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.02; done",
    ])?;
    wait_until(ms(3_000), "the log", || Ok(gateway.log()?.contains("up")))?;
    gateway.sigterm()?;
    assert!(gateway.wait(ms(3_000))?.success());
    assert_eq!(gateway.log()?, "up\nbye\n");
    gateway.start(&["-c", "exec sleep 1000"])?;
    gateway.sigkill()?;
    assert_eq!(gateway.wait(ms(3_000))?.code(), None);
    Ok(())
}

fn b_dir(lab: &Lab, name: &str) -> Result<String> {
    Ok(lab
        .site("b")?
        .dirs()
        .run()
        .with_file_name(name)
        .display()
        .to_string())
}

#[test]
fn a_snapshot_tells_every_change() -> Result<()> {
    let _turn = turn();
    let lab = Lab::paired(&[LinkSpec::new("wan0", Shape::new(20_000_000, ms(2)))]).build()?;
    let a = lab.site("a")?;
    let before = Snapshot::of_gateway(a, Scope::Namespace)?;
    assert_eq!(
        before.differences_after(a, ms(3_000))?,
        Vec::<String>::new()
    );

    let link = a.link("wan0")?;
    a.gateway().set_sysctl("net.ipv4.ipfrag_time", "2")?;
    a.gateway()
        .add_address("wan0", [192, 0, 2, 77].into(), 32)?;
    let route = Route::to(([198, 18, 0, 0].into(), 15), "wan0").via(link.next_hop());
    a.gateway().set_route(&route)?;
    fs::create_dir(a.dirs().bpf().join("left"))?;
    let differences =
        Snapshot::diff(&before, &Snapshot::of_gateway(a, Scope::Namespace)?).join("\n");
    for change in ["ipfrag_time = 2", "192.0.2.77", "198.18.0.0/15"] {
        assert!(
            differences.contains(change),
            "{change} is not in\n{differences}"
        );
    }

    a.gateway().set_sysctl("net.ipv4.ipfrag_time", "30")?;
    a.gateway().delete_route(&route)?;
    a.gateway()
        .delete_address("wan0", [192, 0, 2, 77].into(), 32)?;
    fs::remove_dir(a.dirs().bpf().join("left"))?;
    assert_eq!(
        before.differences_after(a, ms(3_000))?,
        Vec::<String>::new()
    );
    Ok(())
}

#[test]
fn a_thread_has_one_lab_at_a_time() -> Result<()> {
    let _turn = turn();
    let lab = Lab::paired(&[]).build()?;
    let file = lab.site("a")?.dirs().state().join("kept");
    fs::write(&file, "")?;
    assert!(Lab::paired(&[]).build().is_err());
    assert!(file.exists());
    drop(lab);
    assert!(
        !Lab::paired(&[])
            .build()?
            .site("a")?
            .dirs()
            .state()
            .join("kept")
            .exists()
    );
    Ok(())
}

/// Not a test: the lab that [`a_killed_lab_leaves_nothing`] kills, in a process of its own.
#[test]
#[ignore = "waits to be killed"]
fn victim() -> Result<()> {
    let lab = Lab::paired(&[LinkSpec::new("wan0", Shape::new(20_000_000, ms(2)))]).build()?;
    let a = lab.site("a")?;
    let mut gateway = Gateway::new(&lab, "a", Path::new("/bin/sleep"))?;
    gateway.start(&["1000"])?;
    println!("child {}", gateway.pid().context("no child")?);
    for netns in [a.host(), a.gateway(), a.link("wan0")?.provider().0] {
        let name = netns.enter(|| Ok(fs::read_link("/proc/thread-self/ns/net")?))?;
        println!("namespace {}", name.display());
    }
    println!("ready");
    std::thread::sleep(Duration::from_mins(1));
    anyhow::bail!("nobody killed the lab")
}

#[test]
fn a_killed_lab_leaves_nothing() -> Result<()> {
    let mut lab = Command::new(std::env::current_exe()?)
        .args(["--ignored", "--exact", "--nocapture", "processes::victim"])
        .stdout(Stdio::piped())
        .spawn()?;
    let (mut child, mut namespaces) = (None, Vec::new());
    for line in BufReader::new(lab.stdout.take().context("no output")?).lines() {
        match line?.split_once(' ') {
            Some(("child", pid)) => child = Some(pid.to_owned()),
            Some(("namespace", name)) => namespaces.push(name.to_owned()),
            // The test harness may print before and on the same line.
            _ if namespaces.len() == 3 => break,
            _ => {}
        }
    }
    let child = child.context("the lab told no child")?;
    assert!(running(&child), "the child should run until the lab dies");
    assert!(
        namespaces.iter().any(|name| in_use(name).unwrap_or(false)),
        "{namespaces:?}"
    );

    lab.kill()?;
    lab.wait()?;
    wait_until(ms(3_000), "the child's end", || Ok(!running(&child)))?;
    for name in &namespaces {
        wait_until(ms(3_000), name, || Ok(!in_use(name)?))?;
    }
    assert!(!fs::read_to_string("/proc/self/mounts")?.contains("withy-lab"));
    Ok(())
}

/// Whether a process is there and not merely waiting to be reaped.
fn running(pid: &str) -> bool {
    let state = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    state
        .rsplit(')')
        .next()
        .is_some_and(|rest| !rest.is_empty() && !rest.starts_with(" Z"))
}

/// Whether a thread is in the namespace or a process holds a descriptor of it.
fn in_use(namespace: &str) -> Result<bool> {
    for process in fs::read_dir("/proc")?.flatten().map(|entry| entry.path()) {
        // Processes come and go while they are listed.
        let mut held = links(&process.join("fd"), "").chain(links(&process.join("task"), "ns/net"));
        if held.any(|link| link == Path::new(namespace)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Where the links lead that have the path `below` under each entry of `directory`.
fn links(directory: &Path, below: &'static str) -> impl Iterator<Item = PathBuf> + use<> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let paths = entries.map(move |entry| entry.path().join(below));
    paths.filter_map(|path| fs::read_link(path.components().as_path()).ok())
}
