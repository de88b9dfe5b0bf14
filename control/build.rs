//! Finds the eBPF object that the library embeds.

use std::{env, path::PathBuf};

fn main() {
    println!("cargo::rerun-if-env-changed=WITHY_BPF_OBJECT");
    let object = env::var_os("WITHY_BPF_OBJECT").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/ebpf/withy-bpf.o"),
        PathBuf::from,
    );
    println!("cargo::rerun-if-changed={}", object.display());
    if let Ok(path) = object.canonicalize() {
        println!("cargo::rustc-env=WITHY_BPF_OBJECT={}", path.display());
    } else {
        println!(
            "cargo::error=the eBPF object {} is missing: run `cargo xtask build-ebpf`",
            object.display()
        );
    }
}
