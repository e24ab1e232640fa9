//! The line that counts: on a terminal, and nowhere else.

use nsq_tests::{Nsqd, PATIENCE, Tool};

const LINE: &str = "3 messages published, ";

#[test]
fn a_terminal_is_told_how_far_it_is_and_a_pipe_is_not() {
    let nsqd = Nsqd::start(&[]);
    let args = ["--topic=t", &format!("--nsqd-tcp-address={}", nsqd.tcp())];
    let input = b"one\ntwo\nthree\n";
    let mut tool = Tool::start_on_terminal("to_nsq", &args, input);
    assert_eq!(tool.wait_for_exit().code(), Some(0));
    let shown = tool.log().wait_for(LINE, PATIENCE);
    assert!(shown.is_some(), "{:?}", tool.log().text());

    let mut tool = Tool::start_reading("to_nsq", &args, input);
    assert_eq!(tool.wait_for_exit().code(), Some(0));
    assert_eq!(tool.log().wait_for(LINE, PATIENCE), None);
    assert!(!tool.log().text().contains("published"));
    assert_eq!(nsqd.topic("t")["message_count"], 6);
}
