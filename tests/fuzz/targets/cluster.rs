#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| nsqd::fuzz::cluster(bytes));
