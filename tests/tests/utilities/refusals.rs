//! Command lines that nothing can be done with, and `--version`.

use nsq_tests::{PATIENCE, Tool};

#[test]
fn utilities_say_what_is_missing_and_end_with_1() {
    for (program, text) in [
        ("nsq_to_nsq", "--topic and --channel are required"),
        ("nsq_to_http", "--topic and --channel are required"),
        ("nsq_stat", "--topic and --channel are required"),
    ] {
        let mut tool = Tool::start(program, &[] as &[&str]);
        assert_eq!(tool.wait_for_exit().code(), Some(1));
        tool.wait_for_line(text);
        let mut tool = Tool::start(program, &["--version"]);
        assert_eq!(tool.wait_for_exit().code(), Some(0));
        let version = format!("{program} v1.3.0");
        assert!(tool.output().wait_for(&version, PATIENCE).is_some());
    }
}
