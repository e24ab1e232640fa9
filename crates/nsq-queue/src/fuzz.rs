//! What the fuzzer calls, and the tests that call it again with what it found.

mod damage;
mod diskqueue;
mod log;
mod marks;

pub use diskqueue::diskqueue;
pub use log::log;
pub use marks::marks;

#[cfg(test)]
mod tests {
    use nsq_replay::replay;

    #[test]
    fn logs_of_the_corpus() {
        replay("log", super::log);
    }

    #[test]
    fn marks_of_the_corpus() {
        replay("marks", super::marks);
    }

    #[test]
    fn disk_queues_of_the_corpus() {
        replay("diskqueue", super::diskqueue);
    }
}
