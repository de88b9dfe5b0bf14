//! Fuzz target: any bytes as a keepalive.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| withy_fuzz::keepalive::run(bytes));
