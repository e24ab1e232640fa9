use std::time::Duration;

use super::*;

#[track_caller]
fn text_of(write: impl FnOnce(&mut Exposition)) -> String {
    let mut out = Exposition::default();
    write(&mut out);
    out.text
}

#[test]
fn a_family_is_told_of_and_then_its_samples() {
    let text = text_of(|out| {
        let mut family = out.gauge("depth_messages", "Messages.");
        family.sample(&[("topic", "t"), ("channel", "c")], 5_u64);
        family.sample(&[], 0.25);
        out.counter("errors_total", "Errors.").sample(&[], true);
    });
    assert_eq!(
        text,
        "# HELP depth_messages Messages.\n# TYPE depth_messages gauge\n\
         depth_messages{topic=\"t\",channel=\"c\"} 5\ndepth_messages 0.25\n\
         # HELP errors_total Errors.\n# TYPE errors_total counter\nerrors_total 1\n"
    );
}

#[test]
fn a_labels_value_may_hold_anything() {
    let text = text_of(|out| {
        out.gauge("x", "X.").sample(&[("a", "\\ \"é\"\n")], 1_u64);
    });
    assert!(text.ends_with("x{a=\"\\\\ \\\"é\\\"\\n\"} 1\n"), "{text}");
}

#[test]
fn a_histogram_is_cumulative_and_in_seconds() {
    let text = text_of(|out| {
        out.histogram("wait_seconds", "Waits.").sample(
            &[("of", "x")],
            &[500_000, 2_500_000_000],
            &[1, 2, 3],
            4_000_000_001,
        );
    });
    let samples = text.split_once("histogram\n").unwrap().1;
    assert_eq!(
        samples,
        "wait_seconds_bucket{of=\"x\",le=\"0.0005\"} 1\n\
         wait_seconds_bucket{of=\"x\",le=\"2.5\"} 3\n\
         wait_seconds_bucket{of=\"x\",le=\"+Inf\"} 6\n\
         wait_seconds_sum{of=\"x\"} 4.000000001\n\
         wait_seconds_count{of=\"x\"} 6\n"
    );
}

#[test]
fn durations_fall_into_the_bucket_that_holds_them() {
    let durations = Durations::default();
    for micros in [0, 100, 101, 10_000_000, 10_000_001] {
        durations.record(Duration::from_micros(micros));
    }
    let text = text_of(|out| durations.write(&mut out.histogram("x_seconds", "X."), &[]));
    for line in [
        "x_seconds_bucket{le=\"0.0001\"} 2\n",
        "x_seconds_bucket{le=\"0.00025\"} 3\n",
        "x_seconds_bucket{le=\"5\"} 3\n",
        "x_seconds_bucket{le=\"10\"} 4\n",
        "x_seconds_bucket{le=\"+Inf\"} 5\n",
        "x_seconds_sum 20.000202\n",
        "x_seconds_count 5\n",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
}

#[test]
#[should_panic(expected = "x is there already")]
fn a_name_used_twice_is_our_mistake() {
    text_of(|out| {
        out.gauge("x", "X.");
        out.gauge("x", "X.");
    });
}

#[cfg(target_os = "linux")]
#[test]
fn this_process_has_all_its_figures() {
    let text = text_of(write_process);
    assert_eq!(text.matches("# TYPE process_").count(), 7, "{text}");
}
