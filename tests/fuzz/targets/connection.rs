#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| nsq_cluster::fuzz::connection(bytes));
