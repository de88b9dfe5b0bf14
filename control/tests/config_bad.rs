//! Configurations that are wrong: each of `bad/*.yaml` has a file `.expected` beside it with every
//! line that `withy check` prints. After a deliberate change, `BLESS=1` writes them anew.

use std::{fs, path::Path};

use withy::config;

mod keys;

#[test]
fn every_error_of_every_bad_file_is_found_in_its_place() {
    let keys = keys::directory();
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bad");
    let mut wrong = Vec::new();
    let mut count = 0;
    for entry in fs::read_dir(directory).expect("the directory") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        count += 1;
        let text = fs::read_to_string(&path).expect("a text");
        let name = path.file_name().expect("a name").to_string_lossy();
        // The key files stand in a directory of this run.
        let found = match config::parse(&text, &name, keys.path()) {
            Ok(loaded) => format!("accepted\n{}", loaded.warnings),
            Err(report) => report.to_string(),
        };
        let found = found.replace(&format!("{}/", keys.path().display()), "KEYS/");
        let expected = path.with_extension("expected");
        if std::env::var_os("BLESS").is_some() {
            fs::write(&expected, &found).expect("a written file");
        }
        let expected = fs::read_to_string(&expected).unwrap_or_default();
        if found != expected {
            wrong.push(format!(
                "--- {name}: expected\n{expected}--- found\n{found}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.concat());
    assert!(count >= 80, "only {count} files");
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let directory = keys::empty_directory();
    let missing = directory.path().join("missing.yaml");
    let report = config::load(&missing).expect_err("no file").to_string();
    let name = missing.display();
    assert!(
        report.starts_with(&format!("{name}: error: cannot be read: No such file")),
        "{report}"
    );
}

#[test]
fn bytes_that_are_no_text_are_located() {
    let directory = keys::empty_directory();
    let path = directory.path().join("latin1.yaml");
    fs::write(&path, b"gateway:\n  name: caf\xe9\n").expect("a written file");
    let report = config::load(&path).expect_err("not UTF-8").to_string();
    assert!(
        report.contains("latin1.yaml:2:12: error: not UTF-8"),
        "{report}"
    );
}

#[test]
fn a_file_that_is_too_long_is_refused() {
    let directory = keys::empty_directory();
    let path = directory.path().join("long.yaml");
    fs::write(&path, " ".repeat(config::MAX_FILE + 1)).expect("a written file");
    let report = config::load(&path).expect_err("too long").to_string();
    assert!(
        report.contains("long.yaml: error: longer than 1048576 bytes"),
        "{report}"
    );
}

#[test]
fn a_fifo_as_key_file_is_refused_without_waiting() {
    let keys = keys::directory();
    let fifo = keys.path().join("fifo");
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, mode).expect("a FIFO");
    let text = include_str!("bad/key-missing.yaml").replace("no-such-key", "fifo");
    let report = config::parse(&text, "x", keys.path())
        .expect_err("a FIFO")
        .to_string();
    assert!(report.contains("is not a regular file"), "{report}");
}

#[test]
fn reports_serialise_with_schema_and_positions() {
    let text = "gateway: {}\nlinks: {}\nbundles: {}\ntunnels: []\n";
    let report = config::parse(text, "x.yaml", Path::new("")).expect_err("no list");
    let json = serde_json::to_value(&report).expect("JSON");
    assert_eq!(json["schema"], 1);
    assert_eq!(json["file"], "x.yaml");
    let last = &json["diagnostics"][2];
    let expected = serde_json::json!({
        "severity": "error",
        "line": 4,
        "column": 1,
        "field": "tunnels",
        "message": "a list where a mapping of names is needed",
        "help": "write NAME: … for each, indented, or {} where there is none",
    });
    assert_eq!(*last, expected);
}

#[test]
fn a_report_is_bounded_and_says_so() {
    let lines: Vec<String> = (0..5000).map(|number| format!("f{number}: 1\n")).collect();
    let text = lines.concat();
    let report = config::parse(&text, "x", Path::new("")).expect_err("unknown fields");
    assert_eq!(report.diagnostics().len(), 1001);
    let last = report.diagnostics().last().expect("the last one");
    assert_eq!(last.message, "4004 more findings are not shown");
    assert!(report.has_errors());
}
