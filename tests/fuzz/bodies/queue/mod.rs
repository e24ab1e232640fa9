//! Fuzz bodies of nsq-queue: logs, finished sets and upstream's disk queues.

mod damage;
mod diskqueue;
mod finished_set;
mod log;

pub use diskqueue::diskqueue;
pub use finished_set::finished_set;
pub use log::log;

#[cfg(test)]
mod tests {
    use nsq_replay::replay;

    #[test]
    fn logs_of_the_corpus() {
        replay("log", super::log);
    }

    #[test]
    fn marks_of_the_corpus() {
        replay("marks", super::finished_set);
    }

    #[test]
    fn disk_queues_of_the_corpus() {
        replay("diskqueue", super::diskqueue);
    }
}
