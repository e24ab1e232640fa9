//! What a utility says at its end of the messages it lost.

use nsq_client::Consumer;
use nsq_daemon::logging;

/// Logs how many messages a consumer finished unseen, after more than `max_attempts` deliveries, if any. Each has been
/// logged when it happened; this is the line to look for in a long log.
pub fn log_total(consumer: &Consumer) {
    if let Some(line) = line(
        consumer.stats().messages_given_up,
        consumer.topic().as_str(),
        consumer.channel().as_str(),
    ) {
        logging::plain_line(&line);
    }
}

fn line(count: u64, topic: &str, channel: &str) -> Option<String> {
    (count > 0).then(|| {
        format!("WARNING: [{topic}/{channel}] gave up {count} messages after too many attempts")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_losses_are_worth_a_line() {
        assert_eq!(line(0, "t", "c"), None);
        assert_eq!(
            line(3, "t", "c").as_deref(),
            Some("WARNING: [t/c] gave up 3 messages after too many attempts")
        );
    }
}
