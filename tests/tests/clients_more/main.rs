//! nsqd as further client libraries see it. Their programs are in `clients/<library>`; each offers the scenarios for
//! which its library has the commands. The libraries that most people use have more tests: `clients_go`,
//! `clients_node` and `clients_python`.

mod scenarios;

/// The tests of one library: how to install it, its topic, and which of the tests in `scenarios` it takes.
macro_rules! library {
    ($name:ident, $topic:literal, [$($test:ident),+ $(,)?]) => {
        mod $name {
            use std::sync::LazyLock;

            use nsq_tests::ClientLibrary;

            static LIBRARY: LazyLock<Option<ClientLibrary>> = LazyLock::new(ClientLibrary::$name);

            $(
                #[test]
                fn $test() {
                    if let Some(library) = LIBRARY.as_ref() {
                        crate::scenarios::$test(library, $topic);
                    }
                }
            )+
        }
    };
}

library!(
    gnsq,
    "gnsq",
    [
        it_publishes_and_consumes,
        a_requeued_message_waits_and_comes_again,
        a_deferred_message_comes_when_it_is_due,
        touching_keeps_a_message_beyond_its_timeout,
        an_unanswered_message_times_out_and_comes_after_the_waiting_one,
        it_finds_every_nsqd,
    ]
);
library!(
    ansq,
    "ansq",
    [
        it_publishes_and_consumes,
        a_requeued_message_waits_and_comes_again,
        a_deferred_message_comes_when_it_is_due,
        touching_keeps_a_message_beyond_its_timeout,
        an_unanswered_message_times_out_and_comes_after_the_waiting_one,
        it_finds_every_nsqd,
    ]
);
library!(
    tokio_nsq,
    "tokio-nsq",
    [
        it_publishes_and_consumes,
        a_requeued_message_waits_and_comes_again,
        a_deferred_message_comes_when_it_is_due,
        touching_keeps_a_message_beyond_its_timeout,
        an_unanswered_message_times_out_and_comes_after_the_waiting_one,
        it_finds_every_nsqd,
    ]
);
library!(
    nsq_j,
    "nsq-j",
    [
        it_publishes_and_consumes,
        a_requeued_message_waits_and_comes_again,
        a_deferred_message_comes_when_it_is_due,
        touching_keeps_a_message_beyond_its_timeout,
        an_unanswered_message_times_out_and_comes_after_the_waiting_one,
        it_finds_every_nsqd,
    ]
);
// No DPUB and no TOUCH; and it understands only an nsqlookupd from before version 1.0.
library!(
    nsq_go,
    "nsq-go",
    [
        it_publishes_and_consumes,
        a_requeued_message_waits_and_comes_again,
        an_unanswered_message_times_out_and_comes_after_the_waiting_one,
    ]
);
library!(
    nsq_ruby,
    "nsq-ruby",
    [
        it_publishes_and_consumes,
        a_requeued_message_waits_and_comes_again,
        a_deferred_message_comes_when_it_is_due,
        touching_keeps_a_message_beyond_its_timeout,
        an_unanswered_message_times_out_and_comes_after_the_waiting_one,
        it_finds_every_nsqd,
    ]
);
