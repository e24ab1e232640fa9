//! Fuzz bodies of nsq-protocol: a client's commands, and the JSON of an IDENTIFY.

use std::time::Duration;

use crate::identify::{IdentifyLimits, IdentifyRequest, ServerFeatures};
use crate::{
    ChannelName, ClientState, Command, CommandError, Context, DecodeFailure, Decoder, Limits,
    MAX_LINE_BYTES, TopicName, encode,
};

/// How a stream of commands ended.
#[derive(Debug, PartialEq)]
enum End {
    Failed(DecodeFailure),
    Interrupted(Option<CommandError>),
}

/// A client's commands. However the stream is cut into pieces, the decoder finds the same commands and the same error;
/// the bytes it holds of a partial command are bounded; and every decoded command can be encoded and decoded again.
pub fn commands(bytes: &[u8]) {
    let Some((&[setting, cut], stream)) = bytes.split_first_chunk() else {
        return;
    };
    let whole = read_commands(setting, stream, stream.len().max(1));
    let cut = read_commands(setting, stream, usize::from(cut % 64) + 1);
    assert_eq!(whole, cut, "the pieces changed what was decoded");
}

fn read_commands(setting: u8, stream: &[u8], piece_bytes: usize) -> (Vec<String>, End) {
    let limits = limits();
    let mut context = Context {
        state: match setting & 3 {
            0 | 1 => ClientState::Init,
            2 => ClientState::Subscribed,
            _ => ClientState::Closing,
        },
        tls_missing: setting & 0b1100 == 0b0100,
        heartbeats_disabled: setting & 0b1100 == 0b1000,
        limits: &limits,
    };
    let mut decoder = Decoder::new();
    let mut held = Vec::new();
    let mut commands = Vec::new();
    for piece in stream.chunks(piece_bytes) {
        held.extend_from_slice(piece);
        let mut taken = 0;
        loop {
            let rest = &held[taken..];
            match decoder.decode(rest, &context) {
                Ok(Some((command, count))) => {
                    assert!(count > 0 && count <= rest.len());
                    check_round_trip(&command, &context);
                    commands.push(format!("{command:?}"));
                    match command {
                        Command::Subscribe { .. } => context.state = ClientState::Subscribed,
                        Command::Close => context.state = ClientState::Closing,
                        _ => {}
                    }
                    taken += count;
                }
                Ok(None) => break,
                Err(failure) => return (commands, End::Failed(failure)),
            }
        }
        held.drain(..taken);
        let _ = decoder.awaited_batch(&held);
        let most = MAX_LINE_BYTES + 8 + usize::try_from(limits.max_body_size).unwrap_or(0);
        assert!(held.len() <= most, "{} bytes of one command", held.len());
    }
    let end = End::Interrupted(decoder.interrupted(&held, &context));
    (commands, end)
}

/// Encodes a command as a client would, and decodes it again.
fn check_round_trip(command: &Command<'_>, context: &Context<'_>) {
    let topic_name = |name: &str| TopicName::parse(name).expect("the decoder checked it");
    let mut wire = Vec::new();
    match command {
        Command::Nop => encode::nop(&mut wire),
        Command::Identify { body } => encode::identify(&mut wire, body),
        Command::Auth { secret } => encode::auth(&mut wire, secret),
        Command::Subscribe { topic, channel } => {
            let channel = ChannelName::parse(channel).expect("the decoder checked it");
            encode::subscribe(&mut wire, &topic_name(topic), &channel);
        }
        Command::Publish { topic, body } => encode::publish(&mut wire, &topic_name(topic), body),
        // A delay that wrapped around need not be whole milliseconds.
        Command::PublishDeferred { topic, delay, body } if is_whole_millis(*delay) => {
            encode::publish_deferred(&mut wire, &topic_name(topic), *delay, body);
        }
        Command::PublishMany {
            topic,
            messages: Ok(messages),
        } => {
            let bodies: usize = messages.iter().map(<[u8]>::len).sum();
            assert_eq!(
                (messages.iter().count(), bodies),
                (messages.len(), messages.body_bytes())
            );
            encode::publish_many(&mut wire, &topic_name(topic), messages);
        }
        Command::Ready { count } => encode::ready(&mut wire, *count),
        // A carriage return at the end of an id looks like the line's own.
        Command::Finish { id } if id[15] != b'\r' => encode::finish(&mut wire, id),
        Command::Requeue {
            id,
            delay,
            clamped_from: None,
        } if is_whole_millis(*delay) => encode::requeue(&mut wire, id, *delay),
        Command::Touch { id } if id[15] != b'\r' => encode::touch(&mut wire, id),
        Command::Close => encode::close(&mut wire),
        Command::PublishDeferred { .. }
        | Command::PublishMany { .. }
        | Command::ReadyIgnored
        | Command::Finish { .. }
        | Command::Requeue { .. }
        | Command::Touch { .. } => return,
    }
    let again = Decoder::new().decode(&wire, context);
    match again {
        Ok(Some((again, count))) => {
            assert_eq!((&again, count), (command, wire.len()));
        }
        // The decoder does not compare an MPUB's size with its messages; it compares the size written here with the limit.
        other => panic!("{command:?} came back as {other:?}"),
    }
}

fn is_whole_millis(delay: Duration) -> bool {
    delay.subsec_nanos().is_multiple_of(1_000_000)
}

fn limits() -> Limits {
    Limits {
        max_msg_size: 512,
        max_body_size: 2048,
        max_rdy_count: 2500,
        max_req_timeout: Duration::from_hours(1),
    }
}

/// The JSON of an IDENTIFY. What is accepted is JSON for serde_json too, all settings stay within their limits, and the
/// answer is JSON.
pub fn identify(bytes: &[u8]) {
    let Ok(request) = IdentifyRequest::parse(bytes) else {
        return;
    };
    serde_json::from_slice::<serde::de::IgnoredAny>(bytes).expect("the parser accepted it as JSON");
    let limits = IdentifyLimits {
        max_heartbeat_interval: Duration::from_mins(1),
        min_output_buffer_timeout: Duration::from_millis(25),
        max_output_buffer_timeout: Duration::from_secs(30),
        max_output_buffer_size: 64 * 1024,
        max_msg_timeout: Duration::from_mins(15),
        default_output_buffer_timeout: Duration::from_millis(250),
        default_msg_timeout: Duration::from_mins(1),
    };
    let Ok(settings) = request.validate(&limits) else {
        return;
    };
    let heartbeats = settings
        .heartbeat_interval
        .unwrap_or(Duration::from_secs(1));
    assert!((Duration::from_secs(1)..=limits.max_heartbeat_interval).contains(&heartbeats));
    assert!((1..=64 * 1024).contains(&settings.output_buffer_size));
    assert!(settings.output_buffer_timeout <= Some(limits.max_output_buffer_timeout));
    assert!(settings.sample_rate <= 99);
    assert!((Duration::from_secs(1)..=limits.max_msg_timeout).contains(&settings.msg_timeout));
    let revised = request.revise(&settings, &limits);
    assert_eq!(revised.as_ref(), Ok(&settings), "asked for again");
    let server = ServerFeatures {
        version: "1.3.0".to_owned(),
        tls_available: true,
        deflate: true,
        snappy: true,
        max_deflate_level: 6,
        auth_required: false,
        topology_region: String::new(),
        topology_zone: String::new(),
    };
    let Ok(Some(agreed)) = request.negotiate(&server) else {
        return;
    };
    let nodes = ["127.0.0.1:4150".to_owned()];
    let answer = agreed.response(&settings, &server, &self::limits(), &limits, &nodes);
    let answer: serde_json::Value = serde_json::from_str(&answer).expect("nsqd writes JSON");
    assert_eq!(answer["sample_rate"], settings.sample_rate);
    assert!((1..=6).contains(&answer["deflate_level"].as_u64().unwrap_or(0)));
}

#[cfg(test)]
mod tests {
    use nsq_replay::replay;

    #[test]
    fn commands_of_the_corpus() {
        replay("commands", super::commands);
    }

    #[test]
    fn identifies_of_the_corpus() {
        replay("identify", super::identify);
    }
}
