//! Key files for the configurations of tests.

use std::{fmt::Write as _, fs, io::Write as _, os::unix::fs::OpenOptionsExt as _, path::Path};

use tempfile::TempDir;

/// Each suite, the short name of its key files, and the length of its key material in bytes.
const KEYS: [(&str, usize); 10] = [
    ("aes-gcm-128", 20),
    ("aes-gcm-256", 36),
    ("chacha20-poly1305", 36),
    ("aes-cbc-128-hmac-sha-256", 48),
    ("aes-cbc-256-hmac-sha-256", 64),
    ("gcm-128", 20),
    ("gcm-256", 36),
    ("chacha", 36),
    ("cbc-128", 48),
    ("cbc-256", 64),
];

/// A gateway's private key, of the first test vector of RFC 8032 section 7.1.
pub(crate) const IDENTITY: &str = "nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=\n";

/// Makes an empty directory that removes itself.
pub(crate) fn empty_directory() -> TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

/// Makes a directory with key files `NAME-a`, `NAME-b`, `NAME-2a`, `NAME-2b` for each suite, `gateway`
/// with a gateway's private key, and files that are no good keys.
pub(crate) fn directory() -> TempDir {
    let directory = empty_directory();
    let path = directory.path();
    let mut seed = 0;
    for (name, length) in KEYS {
        for suffix in ["a", "b", "2a", "2b"] {
            seed += 1;
            write(path, &format!("{name}-{suffix}"), &hex(seed, length), 0o600);
        }
    }
    write(path, "gateway", IDENTITY, 0o600);
    write(path, "gateway-group-readable", IDENTITY, 0o640);
    let zero = format!("{}=", "A".repeat(43));
    write(path, "gateway-zero", &zero, 0o600);
    write(path, "short", &hex(1, 16), 0o600);
    write(path, "empty", "", 0o600);
    write(path, "zero", &"00".repeat(20), 0o600);
    write(
        path,
        "no-hex",
        "0x00112233445566778899aabbccddeeff00112233",
        0o600,
    );
    write(path, "odd", "001", 0o600);
    write(path, "huge", &" ".repeat(5000), 0o600);
    write(path, "group-readable", &hex(1, 20), 0o640);
    write(path, "world-writable", &hex(1, 20), 0o602);
    // The key of gcm-128-a with another salt.
    let salted = hex(21, 20);
    assert_eq!(
        fs::read_to_string(path.join("gcm-128-a")).expect("the key"),
        salted
    );
    write(
        path,
        "gcm-128-resalted",
        &format!("{}00000007\n", &salted[..32]),
        0o600,
    );
    fs::create_dir(path.join("directory")).expect("a directory");
    directory
}

/// Returns `length` bytes in hexadecimal that depend on `seed` and show a pattern in dumps.
pub(crate) fn hex(seed: u8, length: usize) -> String {
    let bytes = (0_u8..)
        .take(length)
        .map(|index| index.wrapping_mul(7) ^ seed);
    let mut text = String::new();
    for byte in bytes {
        write!(text, "{byte:02x}").expect("a string takes it");
    }
    text.push('\n');
    text
}

/// Writes a file with exactly these permissions, whatever the umask.
pub(crate) fn write(directory: &Path, name: &str, text: &str, mode: u32) {
    let path = directory.join(name);
    let mut file = fs::File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .expect("a new file");
    file.write_all(text.as_bytes()).expect("a written file");
    let permissions = std::os::unix::fs::PermissionsExt::from_mode(mode);
    fs::set_permissions(&path, permissions).expect("its mode");
}
