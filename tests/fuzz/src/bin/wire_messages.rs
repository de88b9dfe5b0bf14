//! Fuzz target: any payload of any type: what is understood says the same when it is written and read again.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| withy_fuzz::wire_messages::run(bytes));
