//! What others' programs make of the packets, Wireshark and Scapy, with the keys of `withy debug export-keys`.

use std::{
    fmt::Write as _,
    fs::{self, File},
    io::Write as _,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};
use withy::config::Suite;

use super::{
    Scenario,
    kernel_tools::run,
    stage::{Stage, links, play, program},
};
use crate::{
    capture::{Capture, CapturePlan, Frame},
    lab::Lab,
    site_config::TunnelSpec,
    traffic::icmp::ping_data,
};

pub(super) const SCENARIOS: &[Scenario] = &[Scenario::native(
    "exported_keys_let_others_read_the_tunnel",
    exported_keys,
)];

/// The suites that both engines have.
const SUITES: [Suite; 3] = [Suite::AesGcm128, Suite::AesGcm256, Suite::ChaCha20Poly1305];
const AGREED: &str = "--i-know-that-this-exposes-all-traffic";
/// Data in each ping, in bytes: too little to be split.
const SIZES: [usize; 3] = [40, 41, 1000];
const FRAMES: usize = 1000;
/// Where the hosts of a lab's sites have their addresses.
const HOSTS: &str = "192.168.0.0/16";
/// Takes the keys' file and the recorded one.
const SCRIPT: &str = include_str!("decryption.py");
/// `LINKTYPE_ETHERNET` of pcap files.
const ETHERNET: u32 = 1;

fn exported_keys() -> Result<()> {
    for suite in SUITES {
        let spec = TunnelSpec {
            suite,
            userspace: &["a", "b"],
            ..TunnelSpec::default()
        };
        play(Lab::paired(&links(&[(4000, 5); 2])), &spec, |stage| {
            refuses_others(stage)?;
            let folder = stage.a.site().dirs().run().join("wireshark");
            fs::create_dir(&folder)?;
            let keys = export(stage, &folder)?;
            let recorded = record(stage, &folder)?;
            read_by_others(suite, &recorded, &folder, &pings(stage)?)?;
            // It is the keys that open the packets.
            exchange_keys(stage, &keys)?;
            read_by_others(suite, &recorded, &folder, &[])
        })?;
    }
    Ok(())
}

/// Only root is given keys, whoever may ask for other things.
fn refuses_others(stage: &Stage<'_>) -> Result<()> {
    let site = stage.a.site();
    let file = Path::new("/tmp").join(format!("withy-denied-{}", std::process::id()));
    let line = format!(
        "setpriv --reuid 65534 --regid 0 --clear-groups {} --run-dir {} debug export-keys {AGREED} {}",
        program()?.display(),
        site.dirs().run().display(),
        file.display(),
    );
    let denied = run(site.gateway(), &line).err();
    let text = denied.map_or_else(String::new, |error| error.to_string());
    let left = file.exists();
    ensure!(
        text.contains("only root may have this") && !left,
        "{text}, and a file is left: {left}"
    );
    Ok(())
}

/// Has the keys written where Wireshark looks for them.
fn export(stage: &Stage<'_>, folder: &Path) -> Result<PathBuf> {
    let file = folder.join("esp_sa");
    let path = file.to_str().context("an odd path")?;
    let unasked = stage.a.run_cli(&["debug", "export-keys", path])?;
    ensure!(
        !unasked.status.success() && !file.exists(),
        "nobody agreed: {unasked:?}"
    );
    let output = stage.a.run_cli(&["debug", "export-keys", AGREED, path])?;
    ensure!(
        output.status.success() && output.stderr.contains("warning"),
        "{output:?}"
    );
    ensure!(fs::metadata(&file)?.mode() & 0o777 == 0o600, "its mode");
    let log = stage.a.log()?;
    ensure!(log.contains("keys of all SAs were exported"), "{log}");
    let text = fs::read_to_string(&file)?;
    for key in hexadecimal_keys(stage)? {
        ensure!(text.contains(&key), "a key is missing in {text}");
        ensure!(!log.contains(&key[..16]), "a key is in the log");
    }
    Ok(file)
}

fn hexadecimal_keys(stage: &Stage<'_>) -> Result<[String; 2]> {
    let (a, b) = stage.hosts("a")?;
    let spec = &stage.spec;
    Ok([spec.material(a, b), spec.material(b, a)].map(hexadecimal))
}

fn hexadecimal(bytes: impl IntoIterator<Item = u8>) -> String {
    let mut text = String::new();
    for byte in bytes {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Gives each SA in the file the other's key.
fn exchange_keys(stage: &Stage<'_>, file: &Path) -> Result<()> {
    let [one, other] = hexadecimal_keys(stage)?;
    let text = fs::read_to_string(file)?;
    let text = text.replace(&one, "one").replace(&other, &one);
    Ok(fs::write(file, text.replace("one", &other))?)
}

/// Records pings between the hosts on all links, in a pcap file.
fn record(stage: &Stage<'_>, folder: &Path) -> Result<PathBuf> {
    let links = stage.a.site().links().iter();
    let captures = links.map(|link| {
        let (netns, device) = link.provider();
        CapturePlan::new().keep(FRAMES).start(netns, device)
    });
    let captures: Vec<Capture> = captures.collect::<Result<_>>()?;
    for size in SIZES {
        stage.expect_ping("a", size)?;
    }
    let path = folder.join("links.pcap");
    let mut file = File::create(&path)?;
    // Magic number, version 2.4, time zone, accuracy, longest frame, kind: in the machine's byte order.
    let head = [0xa1b2_c3d4, 0, 0, 0, u32::from(u16::MAX), ETHERNET];
    let mut head: Vec<_> = head.map(u32::to_ne_bytes).into();
    head[1] = [2_u16, 4].map(u16::to_ne_bytes).concat()[..].try_into()?;
    file.write_all(&head.concat())?;
    for capture in captures {
        for Frame { bytes, .. } in capture.finish()?.kept {
            let length = u32::try_from(bytes.len())?;
            // Nobody looks at the time.
            file.write_all(&[0, 0, length, length].map(u32::to_ne_bytes).concat())?;
            file.write_all(&bytes)?;
        }
    }
    Ok(path)
}

/// A ping as a program finds it inside an ESP packet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Inner {
    source: String,
    destination: String,
    /// Its data, in hexadecimal.
    data: String,
}

/// The pings that there should be, and the answers.
fn pings(stage: &Stage<'_>) -> Result<Vec<Inner>> {
    let (a, b) = stage.hosts("a")?;
    let (a, b) = (a.lan().host.to_string(), b.lan().host.to_string());
    let ping = |source: &String, destination: &String, size| Inner {
        source: source.clone(),
        destination: destination.clone(),
        data: hexadecimal(ping_data(size)),
    };
    let sizes = SIZES.into_iter();
    let mut pings: Vec<_> = sizes
        .flat_map(|size| [ping(&a, &b, size), ping(&b, &a, size)])
        .collect();
    pings.sort();
    Ok(pings)
}

/// Fails unless others' programs read exactly these.
fn read_by_others(suite: Suite, recorded: &Path, folder: &Path, wanted: &[Inner]) -> Result<()> {
    let read = scapy(recorded, folder)?;
    ensure!(read == wanted, "scapy reads {read:?} and not {wanted:?}");
    println!("    {suite}: scapy finds {} packets right", read.len());
    let (read, good) = wireshark(recorded, folder)?;
    if good.is_none() && suite == Suite::ChaCha20Poly1305 {
        println!("    {suite}: this version of wireshark does not know it");
        return Ok(());
    }
    ensure!(
        read == wanted,
        "wireshark reads {read:?} and not {wanted:?}"
    );
    let verdict = match good {
        Some(true) => "finds them right",
        Some(false) => bail!("wireshark finds check values wrong"),
        None => "cannot check them in this version",
    };
    println!(
        "    {suite}: wireshark reads {} packets, and {verdict}",
        read.len()
    );
    Ok(())
}

/// What Wireshark reads, and whether it finds all check values right, if its version can tell: before it knew 64-bit sequence
/// numbers it read the packets, but found all check values wrong.
///
/// Without the right key it takes packets apart all the same, and now and then what says what is inside says ICMP by chance: so only
/// what has an address of a host counts.
fn wireshark(recorded: &Path, folder: &Path) -> Result<(Vec<Inner>, Option<bool>)> {
    let mut command = Command::new("tshark");
    command.env("WIRESHARK_CONFIG_DIR", folder);
    command.arg("-r").arg(recorded);
    for preference in ["encryption_decode", "authentication_check"] {
        command.args(["-o", &format!("esp.enable_{preference}:TRUE")]);
    }
    command.args(["-Y", &format!("icmp && ip.addr == {HOSTS}"), "-T", "fields"]);
    command.args(["-E", "separator=;", "-E", "occurrence=l"]);
    for field in ["ip.src", "ip.dst", "data.data", "esp.icv_good"] {
        command.args(["-e", field]);
    }
    let output = command.output().context("tshark")?;
    let complaints = String::from_utf8_lossy(&output.stderr);
    let knows = !complaints.contains("More fields than required");
    // A cipher that it does not know is an error to it.
    ensure!(
        output.status.success() || !knows,
        "tshark: {}: {complaints}",
        output.status
    );
    let lines = String::from_utf8(output.stdout)?;
    let right = |line: &str| line.ends_with(";1") || line.ends_with(";True");
    let good = knows.then(|| lines.lines().all(right));
    Ok((inner(&lines)?, good))
}

/// What Scapy reads: only what has a right check value.
fn scapy(recorded: &Path, folder: &Path) -> Result<Vec<Inner>> {
    // Debian's, which finds Debian's Scapy.
    let mut command = Command::new("/usr/bin/python3");
    command.arg("-c").arg(SCRIPT);
    command.arg(folder.join("esp_sa")).arg(recorded);
    let output = command.output().context("python3")?;
    let complaints = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "scapy: {complaints}");
    inner(&String::from_utf8(output.stdout)?)
}

fn inner(lines: &str) -> Result<Vec<Inner>> {
    let read = |line: &str| {
        let mut fields = line.split(';').map(str::to_owned);
        let mut field = || {
            fields
                .next()
                .with_context(|| format!("an odd line: {line}"))
        };
        Ok(Inner {
            source: field()?,
            destination: field()?,
            data: field()?,
        })
    };
    let mut all: Vec<_> = lines.lines().map(read).collect::<Result<_>>()?;
    all.sort();
    Ok(all)
}
