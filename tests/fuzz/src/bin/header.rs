//! Fuzz target: any packet to what the programs find out about it.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| withy_fuzz::header::run(bytes));
