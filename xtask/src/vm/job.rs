//! What the guest is to do, as shell text.

use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStrExt as _,
    path::Path,
};

use super::VmOptions;

/// Variables that the command gets from this process.
const PASSED: [&str; 13] = [
    "CLICOLOR",
    "CLICOLOR_FORCE",
    "COLORTERM",
    "COLUMNS",
    "FORCE_COLOR",
    "HOME",
    "LANG",
    "LINES",
    "NO_COLOR",
    "PATH",
    "RUST_BACKTRACE",
    "RUST_LOG",
    "TERM",
];
/// Families of variables that the command gets from this process.
const PASSED_PREFIXES: [&str; 3] = ["LC_", "PROPTEST_", "WITHY_"];

/// The settings that the guest's start-up scripts read.
pub(super) fn settings(options: &VmOptions, folder: &Path, out: &Path, modules: &Path) -> Vec<u8> {
    let load = OsString::from(options.modules.join(" "));
    let settings: [(&str, &OsStr); 4] = [
        ("WORK_DIR", folder.as_os_str()),
        ("OUT", out.as_os_str()),
        ("MODULES", modules.as_os_str()),
        ("LOAD", &load),
    ];
    let mut text = Vec::new();
    for (name, value) in settings {
        assign(&mut text, name.as_ref(), value);
    }
    text
}

/// A script that becomes the command.
pub(super) fn script(
    environment: &[(OsString, OsString)],
    folder: &Path,
    command: &[OsString],
) -> Vec<u8> {
    let mut text = Vec::new();
    for (name, value) in environment {
        text.extend(b"export ");
        assign(&mut text, name, value);
    }
    text.extend(b"cd ");
    quote(&mut text, folder.as_os_str());
    text.extend(b" || exit 125\nexec");
    for word in command {
        text.push(b' ');
        quote(&mut text, word);
    }
    text.push(b'\n');
    text
}

/// The variables of this process that reach the guest, then those that the options add.
pub(super) fn environment(options: &VmOptions, out: &Path) -> Vec<(OsString, OsString)> {
    let passed = std::env::vars_os().filter(|(name, _)| {
        let name = name.to_string_lossy();
        PASSED.contains(&name.as_ref())
            || PASSED_PREFIXES
                .iter()
                .any(|prefix| name.starts_with(prefix))
    });
    let out = (OsString::from("WITHY_OUT"), out.as_os_str().to_owned());
    passed
        .chain([out])
        .chain(options.environment.iter().cloned())
        .collect()
}

fn assign(text: &mut Vec<u8>, name: &OsStr, value: &OsStr) {
    text.extend(name.as_bytes());
    text.push(b'=');
    quote(text, value);
    text.push(b'\n');
}

/// Single quotes keep everything as it is but a single quote itself.
fn quote(text: &mut Vec<u8>, word: &OsStr) {
    let mut parts = word.as_bytes().split(|byte| *byte == b'\'');
    text.push(b'\'');
    text.extend(parts.next().unwrap_or_default());
    for part in parts {
        text.extend(br"'\''");
        text.extend(part);
    }
    text.push(b'\'');
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt as _;
    use std::process::Command;

    use super::*;

    #[test]
    fn a_shell_reads_back_what_was_quoted() {
        let words = [
            "",
            "a b",
            "it's",
            "''",
            "$HOME `x` \\ \" \n*",
            "-n",
            "\u{fc}",
        ];
        let mut command = vec![OsString::from("printf"), OsString::from("<%s>")];
        command.extend(words.iter().map(OsString::from));
        command.push(OsString::from_vec(vec![b'x', 0xff]));
        let environment = [(OsString::from("WITHY_A"), OsString::from("1 '2'"))];
        let mut text = script(&environment, Path::new("/"), &command);
        text.splice(0..0, b"set -eu\n".iter().copied());
        let output = Command::new("sh")
            .arg("-c")
            .arg(OsString::from_vec(text))
            .output()
            .unwrap();
        let mut expected: Vec<u8> = words
            .iter()
            .flat_map(|word| format!("<{word}>").into_bytes())
            .collect();
        expected.extend(b"<x\xff>");
        assert_eq!(output.stdout, expected);
    }

    #[test]
    fn the_folder_for_results_is_named() {
        let variables = environment(&VmOptions::default(), Path::new("/out"));
        assert!(variables.contains(&("WITHY_OUT".into(), "/out".into())));
        assert!(!variables.iter().any(|(name, _)| name == "CARGO"));
    }
}
