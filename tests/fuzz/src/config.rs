//! Any text as a configuration.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    sync::LazyLock,
};

use withy::config::{self, Colour, Report};

/// The key files that the examples in `deploy/` name, and what their keys of 64 bytes consist of.
const KEYS: [(&str, &str); 2] = [("london-paris", "1f"), ("paris-london", "2e")];

/// The folder from which key files are looked for.
static BASE: LazyLock<&Path> = LazyLock::new(|| {
    let base = Path::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../target/fuzz/base"
    ));
    // Where they cannot be written, a configuration that names one is refused, which is no finding.
    let _ = KEYS.map(|(name, byte)| write_key(&base.join("keys"), name, byte));
    base
});

/// Reads, validates and reports on `bytes`.
///
/// # Panics
///
/// A configuration is refused without a reason, or its reasons cannot be shown.
pub fn run(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else {
        return;
    };
    match config::parse(text, "fuzz.yaml", &BASE) {
        Ok(loaded) => {
            assert!(!loaded.warnings.has_errors());
            show(&loaded.warnings);
        }
        Err(report) => {
            assert!(report.has_errors(), "refused without a reason");
            show(&report);
        }
    }
}

/// Shows a report as text and as its parts: both go to terminals, which a file must not steer.
fn show(report: &Report) {
    for finding in report.diagnostics() {
        let help = finding.help.as_deref().unwrap_or_default();
        let texts = [&finding.message, &finding.field, help];
        let plain = |text: &str| !text.contains(char::is_control);
        assert!(texts.into_iter().all(plain), "{finding:?}");
    }
    let text = report.render(Colour::Never);
    assert_eq!(text.is_empty(), report.is_empty());
    let steers = |character: char| character.is_control() && character != '\n';
    assert!(!text.contains(steers), "{text:?}");
}

/// Writes a key file that nobody else can read, unless there is one.
fn write_key(folder: &Path, name: &str, byte: &str) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let mut file = fs::File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(folder.join(name))?;
    file.write_all(byte.repeat(64).as_bytes())
}
