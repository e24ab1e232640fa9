//! What the fuzzer calls, and the tests that call it again with what it found.

use std::ffi::OsString;
use std::io::Write as _;
use std::time::{Duration, Instant};

use nsq_daemon::go_duration::GoDuration;
use nsq_protocol::Limits;

use crate::auth::grants::{Action, read_answer};
use crate::auth::pattern::Patterns;
use crate::http::batch as mpub;
use crate::settings::Settings;

/// The command line and the config file: what is taken or refused is the same each time, each option's value can be
/// given back as a PUT takes it or is fixed, and a duration prints as what it was read from means.
pub fn config(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(duration) = text.parse::<GoDuration>() {
        assert_eq!(duration.to_string().parse(), Ok(duration));
    }
    let (args, file) = text.split_once("\n\n").unwrap_or((&text, ""));
    let mut on_disk = tempfile::NamedTempFile::new().expect("a temporary file");
    on_disk
        .write_all(file.as_bytes())
        .expect("a temporary file");
    let config = format!("--config={}", on_disk.path().display());
    let mut words = vec![OsString::from(config)];
    // No other file is to be read, and none to be found.
    let other_files = ["config", "tls-", "check", "export", "cert", "key"];
    let is_harmless = |arg: &&str| !other_files.iter().any(|word| arg.contains(word));
    words.extend(args.split('\n').filter(is_harmless).map(OsString::from));
    if other_files.iter().any(|word| file.contains(word)) {
        return;
    }
    match (Settings::load(words.clone()), Settings::load(words)) {
        (Ok(first), Ok(second)) => {
            for key in ["max_rdy_count", "msg_timeout", "log_level", "tls_required"] {
                let value = format!("{:?}", first.config_value(key));
                assert_eq!(value, format!("{:?}", second.config_value(key)));
            }
            assert!(first.max_msg_timeout >= Duration::ZERO);
        }
        (Err(first), Err(second)) => {
            assert_eq!(format!("{first:?}"), format!("{second:?}"));
        }
        (first, second) => panic!("once {first:?}, once {second:?}"),
    }
}

/// The body of an HTTP MPUB in both its forms: the messages are pieces of the body in its order, each within the
/// limits; and a binary body made of them means the same.
pub fn batch(bytes: &[u8]) {
    let limits = Limits {
        max_msg_size: 100,
        max_body_size: 1000,
        max_rdy_count: 2500,
        max_req_timeout: Duration::from_hours(1),
    };
    let Some((&[form], body)) = bytes.split_first_chunk() else {
        return;
    };
    let read = if form.is_multiple_of(2) {
        mpub::binary(body, &limits)
    } else {
        mpub::lines(body, &limits)
    };
    let Ok(messages) = read else {
        return;
    };
    assert!(
        messages
            .iter()
            .all(|message| (1..=100).contains(&message.len()))
    );
    let mut from = 0;
    for message in &messages {
        let place = message.as_ptr() as usize - body.as_ptr() as usize;
        assert!(place >= from && place + message.len() <= body.len());
        from = place + message.len();
    }
    if messages.is_empty() || messages.len() > 199 {
        return;
    }
    let length = |length: usize| u32::try_from(length).expect("short").to_be_bytes();
    let mut again = length(messages.len()).to_vec();
    for message in &messages {
        again.extend_from_slice(&length(message.len()));
        again.extend_from_slice(message);
    }
    assert_eq!(mpub::binary(&again, &limits).ok(), Some(messages));
}

/// An authorization server's answer: what it grants is found out in good time, and nothing is granted by an answer
/// without authorizations.
pub fn auth(bytes: &[u8]) {
    let Ok(answer) = serde_json::from_slice(bytes) else {
        return;
    };
    let Ok(grants) = read_answer(&answer, &Patterns::default()) else {
        return;
    };
    let allowed = [
        grants.allow("t", Action::Publish),
        grants.allow("topic#ephemeral", Action::Subscribe("c")),
    ];
    if grants.count() == 0 {
        assert_eq!(allowed, [false, false]);
    }
    assert!(!grants.are_expired(Instant::now()));
}

#[cfg(test)]
mod tests {
    use nsq_replay::replay;

    #[test]
    fn settings_of_the_corpus() {
        replay("config", super::config);
    }

    #[test]
    fn batches_of_the_corpus() {
        replay("batch", super::batch);
    }

    #[test]
    fn authorizations_of_the_corpus() {
        replay("auth", super::auth);
    }
}
