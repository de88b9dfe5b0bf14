//! `cargo xtask demo`: the main job, to look at, on a kernel that can do it.

use std::{
    ffi::OsString,
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;
use console::Term;

use crate::{
    build_ebpf, command,
    progress::Step,
    setup::{self, Purpose, kernels::Series},
    vm::{self, Streams, VmOptions},
    workspace,
};

/// What comes before and after the transfer: booting, starting, measuring the links alone, tearing down. Machines that
/// are busy with something else take their time.
const EVERYTHING_ELSE: Duration = Duration::from_mins(10);

/// How to show it.
#[derive(Debug)]
pub(crate) struct DemoOptions {
    /// Print one JSON object on standard output and everything else on standard error.
    pub(crate) json: bool,
    /// Show it in a virtual machine in any case.
    pub(crate) vm: bool,
    /// The kernel to show it on, in a virtual machine; the kernel at hand if it will do.
    pub(crate) kernel: Option<Series>,
    /// Kernel modules to load first.
    pub(crate) modules: Vec<String>,
    /// How long the transfer through the tunnel takes.
    pub(crate) duration: Duration,
    /// The split policy.
    pub(crate) split: Split,
}

/// When packets are split over links.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Split {
    /// Where they fit no link whole
    Mtu,
    /// Always, so that all links carry a part of each packet
    Always,
}

/// Where the demonstration takes place.
enum Place {
    Here,
    Machine(Series),
}

impl Place {
    /// The profile of the links: a machine whose processor is emulated takes slow ones.
    const fn profile(&self) -> &'static str {
        match self {
            Self::Here => "demo",
            Self::Machine(_) => "demo-vm",
        }
    }

    /// Where the plot goes. Of what a machine writes, only its own folder stays.
    fn plot(&self) -> PathBuf {
        match self {
            Self::Here => workspace::target().join("demo/demo.svg"),
            Self::Machine(_) => vm::out_folder().join("demo.svg"),
        }
    }
}

/// Sets up, builds, shows, and returns the exit status for the caller.
///
/// # Errors
///
/// Something could not be set up, built or started.
pub(crate) fn run(options: &DemoOptions) -> Result<u8> {
    let stream: &mut dyn Write = if options.json {
        &mut io::stderr()
    } else {
        &mut io::stdout()
    };
    stream.write_all(INTRODUCTION.as_bytes())?;
    setup::ensure(Purpose::Build)?;
    let program = build()?;
    let place = place(options, &program);
    let plot = place.plot();
    make_room(&plot)?;
    let arguments = arguments(options, &place, &plot);
    let status = match place {
        Place::Here => here(&program, &arguments)?,
        Place::Machine(series) => {
            setup::ensure(Purpose::Vm)?;
            in_machine(options, series, &program, arguments)?
        }
    };
    if plot.exists() {
        let words = format!(
            "What each link carried over time is drawn in {}\n",
            plot.display()
        );
        stream.write_all(words.as_bytes())?;
    }
    Ok(status)
}

/// Makes the folder of a file, and takes away what an earlier run left.
fn make_room(file: &Path) -> Result<()> {
    let folder = file.parent().context("a plot without a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", file.display()))
        }
        _ => Ok(()),
    }
}

const INTRODUCTION: &str = "\
Withy: two sites, four links, one encrypted tunnel.

A file goes from host A to host B. Between them are two gateways with four links, unequal in speed
and in delay. Withy sends the file over all four at once, encrypted (IPsec), so that one TCP stream
gets nearly the sum of the links. On the way one link is cut, and comes back; then another has half
of its rate for a while.

Hosts, gateways and links are network namespaces. Nothing of your own network is touched. It takes
one to two minutes, and a few more the first time, for building.

";

/// Builds everything and returns the demonstration's path.
fn build() -> Result<PathBuf> {
    let step = Step::start("building the programs that run in the kernel");
    build_ebpf::build(build_ebpf::Object::Programs, false)?;
    step.done();
    let step = Step::start("building withy and the demonstration");
    let mut cargo = command::cargo("build");
    cargo.args([
        "--release",
        "--package",
        "withy",
        "--package",
        "withy-tests",
    ]);
    cargo.args(["--bin", "withy", "--bin", "withy-demo"]);
    command::run(&step, cargo)?;
    step.done();
    Ok(workspace::target().join("release/withy-demo"))
}

/// The kernel asked for; else the one at hand, if it will do; else the main one.
fn place(options: &DemoOptions, program: &Path) -> Place {
    if let Some(series) = options.kernel {
        return Place::Machine(series);
    }
    if options.vm || !options.modules.is_empty() {
        return Place::Machine(Series::V6_12);
    }
    match probe(program) {
        Ok(()) => Place::Here,
        Err(error) => {
            eprintln!("In a virtual machine, since it cannot be shown here: {error:#}");
            Place::Machine(Series::V6_12)
        }
    }
}

/// Fails, saying why, where this process cannot show it on this kernel.
fn probe(program: &Path) -> Result<()> {
    let output = Command::new(program)
        .arg("--probe")
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {}", program.display()))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    bail!("{}", said.trim().trim_start_matches("error: "))
}

fn arguments(options: &DemoOptions, place: &Place, plot: &Path) -> Vec<OsString> {
    let mut arguments = vec![
        "--profile".to_owned(),
        place.profile().to_owned(),
        "--duration".to_owned(),
        options.duration.as_secs().to_string(),
        "--split".to_owned(),
        match options.split {
            Split::Mtu => "mtu".to_owned(),
            Split::Always => "always".to_owned(),
        },
    ];
    if options.json {
        arguments.push("--json".to_owned());
    }
    let terminal = if options.json {
        Term::stderr()
    } else {
        Term::stdout()
    };
    if terminal.is_term() {
        let (_rows, columns) = terminal.size();
        arguments.extend(["--terminal".to_owned(), columns.to_string()]);
        if std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) {
            arguments.push("--colour".to_owned());
        }
    }
    let words = arguments.into_iter().map(OsString::from);
    words.chain(["--plot".into(), plot.into()]).collect()
}

fn here(program: &Path, arguments: &[OsString]) -> Result<u8> {
    let status = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("cannot start {}", program.display()))?;
    // Without a code it was killed; its own codes are small.
    Ok(status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .unwrap_or(1))
}

fn in_machine(
    options: &DemoOptions,
    series: Series,
    program: &Path,
    arguments: Vec<OsString>,
) -> Result<u8> {
    let machine = VmOptions {
        kernel: series,
        modules: options.modules.clone(),
        timeout: options.duration + EVERYTHING_ELSE,
        ..VmOptions::default()
    };
    let command: Vec<_> = std::iter::once(program.as_os_str().to_owned())
        .chain(arguments)
        .collect();
    let boot = Boot::begin(series);
    let streams = Streams {
        stdout: Box::new(boot.until_word(io::stdout())),
        stderr: Box::new(boot.until_word(io::stderr())),
    };
    Ok(vm::run_with(&machine, &command, streams)?.code())
}

/// A step that ends with the guest's first word.
#[derive(Clone)]
struct Boot(Arc<Mutex<Option<Step>>>);

impl Boot {
    fn begin(series: Series) -> Self {
        let step = Step::start(format!("starting a virtual machine with Linux {series}"));
        Self(Arc::new(Mutex::new(Some(step))))
    }

    fn end(&self) {
        let step = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(step) = step {
            step.done();
        }
    }

    fn until_word<W: Write>(&self, to: W) -> UntilWord<W> {
        UntilWord {
            boot: self.clone(),
            to,
        }
    }
}

/// Passes everything on.
struct UntilWord<W> {
    boot: Boot,
    to: W,
}

impl<W: Write> Write for UntilWord<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.boot.end();
        self.to.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> DemoOptions {
        DemoOptions {
            json: true,
            vm: false,
            kernel: None,
            modules: Vec::new(),
            duration: Duration::from_secs(30),
            split: Split::Always,
        }
    }

    #[test]
    fn the_program_gets_what_was_asked_for() {
        let arguments = arguments(&options(), &Place::Here, Path::new("there.svg"));
        assert!(arguments.ends_with(&["--plot".into(), "there.svg".into()]));
        assert_eq!(
            arguments[..7],
            [
                "--profile",
                "demo",
                "--duration",
                "30",
                "--split",
                "always",
                "--json"
            ]
        );
    }

    #[test]
    fn a_machine_a_kernel_or_a_module_asked_for_takes_a_machine() {
        // Everything succeeds with this program, the probe included.
        let program = Path::new("/bin/true");
        assert!(matches!(place(&options(), program), Place::Here));
        let kernel = DemoOptions {
            kernel: Some(Series::V6_1),
            ..options()
        };
        assert!(matches!(
            place(&kernel, program),
            Place::Machine(Series::V6_1)
        ));
        let machine = DemoOptions {
            vm: true,
            ..options()
        };
        assert!(matches!(
            place(&machine, program),
            Place::Machine(Series::V6_12)
        ));
        let module = DemoOptions {
            modules: vec!["esp4_offload".into()],
            ..options()
        };
        assert!(matches!(
            place(&module, program),
            Place::Machine(Series::V6_12)
        ));
        let unfit = place(&options(), Path::new("/bin/false"));
        assert!(matches!(unfit, Place::Machine(Series::V6_12)));
    }

    #[test]
    fn output_passes_unchanged_and_ends_the_boot() {
        let boot = Boot(Arc::new(Mutex::new(Some(Step::start("booting")))));
        let mut out = Vec::new();
        boot.until_word(&mut out).write_all(b"a\x1b[1Ab").unwrap();
        assert_eq!(out, b"a\x1b[1Ab");
        assert!(boot.0.lock().unwrap().is_none());
    }
}
