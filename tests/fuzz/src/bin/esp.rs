//! Fuzz target: any bytes as an ESP packet, and as what is inside one.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| withy_fuzz::esp::run(bytes));
