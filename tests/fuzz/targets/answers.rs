#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| nsqadmin::cluster::fuzz::answers(bytes));
