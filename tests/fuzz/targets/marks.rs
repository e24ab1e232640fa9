#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| nsq_queue::fuzz::finished_set(bytes));
