//! Fuzz target: any text as a configuration.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| withy_fuzz::config::run(bytes));
