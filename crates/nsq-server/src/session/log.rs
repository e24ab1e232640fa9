//! The log lines of a connection. They are upstream's to the byte, since people search for them and alert on them.
//!
//! Source: `Handle`, nsqd/tcp.go; `IOLoop` and `messagePump`, nsqd/protocol_v2.go; `Identify`, nsqd/client_v2.go.

use std::fmt::{self, Display};
use std::time::Duration;

use nsq_protocol::CommandError;
use nsq_protocol::frame::{Frame, decode_frame};
use nsq_protocol::identify::IdentifyRequest;
use tracing::Level;

/// Whether every command and every message is logged. Asked once a batch: most commands take less time than a line.
pub(super) fn is_debugging() -> bool {
    tracing::event_enabled!(Level::DEBUG)
}

/// The first four bytes of a connection.
pub(super) fn magic(client: &str, magic: [u8; 4]) {
    let magic = magic.escape_ascii();
    tracing::info!("CLIENT({client}): desired protocol magic '{magic}'");
}

/// A magic that is not ours, once the client has its answer.
pub(super) fn bad_magic(client: &str, magic: [u8; 4]) {
    let magic = magic.escape_ascii();
    tracing::error!("client({client}) bad protocol magic '{magic}'");
}

/// A connection that ended before its magic was whole.
fn no_magic(failure: &Failure) {
    let (Failure::Reading(cause)
    | Failure::Answering(cause)
    | Failure::Pump(cause)
    | Failure::Refusal(cause)) = failure;
    tracing::error!("failed to read protocol version - {cause}");
}

/// A command, before it is applied. `bytes` begins with its line.
pub(super) fn command(client: &str, bytes: &[u8]) {
    let line = bytes.split(|&byte| byte == b'\n').next().unwrap_or(bytes);
    let line = String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line));
    tracing::debug!("PROTOCOL(V2): [{client}] [{line}]");
}

/// The message frames that `frames` consists of.
pub(super) fn messages(client: &str, mut frames: &[u8]) {
    while let Ok(Some((Frame::Message(message), used))) = decode_frame(frames, u32::MAX) {
        let id = String::from_utf8_lossy(&message.id);
        let body = String::from_utf8_lossy(message.body);
        tracing::debug!("PROTOCOL(V2): writing msg({id}) to client({client}) - {body}");
        frames = &frames[used..];
    }
}

/// What a client said of itself.
pub(super) fn identify(client: &str, request: &IdentifyRequest) {
    tracing::debug!("PROTOCOL(V2): [{client}] {}", GoStruct(request));
    tracing::info!("[{client}] IDENTIFY: {}", GoStruct(request));
}

/// A command that was refused. `cause` is given where the error itself does not have it.
pub(super) fn refused(client: &str, error: &CommandError, cause: Option<&str>) {
    let cause = cause.map(str::to_owned).or_else(|| cause_of(error));
    let cause = cause.map(|cause| format!(" - {cause}")).unwrap_or_default();
    tracing::error!("[{client}] - {error}{cause}");
}

/// A REQ whose delay was out of range.
///
/// Compat: all three are nanoseconds, since Go prints a `time.Duration` by `%d` so (protocol_v2.go, REQ).
pub(super) fn clamped_delay(client: &str, millis: i64, max: Duration, delay: Duration) {
    let asked = millis.wrapping_mul(1_000_000);
    let (max, delay) = (max.as_nanos(), delay.as_nanos());
    tracing::info!(
        "PROTOCOL(V2): [{client}] REQ timeout {asked} out of range 0-{max}. Setting to {delay}"
    );
}

/// A RDY after CLS.
pub(super) fn ready_ignored(client: &str) {
    tracing::info!("PROTOCOL(V2): [{client}] ignoring RDY after CLS in state ClientStateV2Closing");
}

/// The end of a connection. One that was refused before its magic was whole is in the log already.
pub(super) fn end(client: &str, has_magic: bool, failure: Option<&Failure>) {
    match failure {
        failure if has_magic => exit(client, failure),
        Some(failure) => no_magic(failure),
        None => {}
    }
}

/// The end of a connection that had a magic.
fn exit(client: &str, failure: Option<&Failure>) {
    tracing::info!("PROTOCOL(V2): [{client}] exiting ioloop");
    tracing::info!("PROTOCOL(V2): [{client}] exiting messagePump");
    match failure {
        Some(Failure::Reading(cause)) => {
            tracing::error!("client({client}) - failed to read command - {cause}");
        }
        Some(Failure::Answering(cause)) => {
            tracing::error!("client({client}) - failed to send response - {cause}");
        }
        Some(Failure::Pump(cause)) => {
            tracing::error!("PROTOCOL(V2): [{client}] messagePump error - {cause}");
        }
        Some(Failure::Refusal(error)) => tracing::error!("client({client}) - {error}"),
        None => {}
    }
}

/// Why a connection ended, if not because the client left or nsqd closed it. Each with its cause.
pub(super) enum Failure {
    /// The client's bytes cannot be read.
    Reading(String),
    /// No answer can be sent to the client.
    Answering(String),
    /// No message can be sent to the client, and no heartbeat.
    Pump(String),
    /// A command was refused.
    Refusal(String),
}

/// A client that sends or takes nothing for too long.
pub(super) const TIMEOUT: &str = "i/o timeout";

/// What Go's `io.ReadFull` says at the end of the input, after `read` of the bytes it wants.
pub(super) fn end_of_input(read: usize) -> &'static str {
    if read == 0 { "EOF" } else { "unexpected EOF" }
}

/// As [`end_of_input`], within the command at the front of `inbox`, which ends in a number or a body.
pub(super) fn end_within_command(inbox: &[u8]) -> &'static str {
    let Some(end) = inbox.iter().position(|&byte| byte == b'\n') else {
        return end_of_input(inbox.len());
    };
    let mut rest = &inbox[end + 1..];
    if inbox.starts_with(b"MPUB ") {
        // The size of the whole, and the count.
        let Some(messages) = rest.get(8..) else {
            return end_of_input(rest.len() % 4);
        };
        rest = messages;
    }
    while let Some((size, body)) = rest.split_first_chunk::<4>() {
        let size = usize::try_from(u32::from_be_bytes(*size)).unwrap_or(usize::MAX);
        let Some(next) = body.get(size..) else {
            return end_of_input(body.len());
        };
        rest = next;
    }
    end_of_input(rest.len())
}

/// The error inside an error, which upstream logs and does not send.
fn cause_of(error: &CommandError) -> Option<String> {
    Some(match error {
        CommandError::FinishFailed { reason, .. }
        | CommandError::RequeueFailed { reason, .. }
        | CommandError::TouchFailed { reason, .. } => reason.to_string(),
        CommandError::SubscribeFailed { cause }
        | CommandError::PublishFailed { cause, .. }
        | CommandError::IdentifyFailed { cause }
        | CommandError::AuthError { cause } => cause.clone(),
        CommandError::SubscribeExiting => "exiting".to_owned(),
        CommandError::TooManyConsumers { .. } => {
            error
                .to_string()
                .replacen("E_SUB_FAILED SUB failed ", "", 1)
        }
        CommandError::HeartbeatInterval(_)
        | CommandError::OutputBufferTimeout(_)
        | CommandError::OutputBufferSize(_)
        | CommandError::SampleRate(_)
        | CommandError::MessageTimeout(_) => {
            error.to_string().replacen("E_BAD_BODY IDENTIFY ", "", 1)
        }
        CommandError::ReadyCountSyntax { .. } | CommandError::DelaySyntax { .. } => {
            BASE_10.to_owned()
        }
        _ => return None,
    })
}

/// Upstream's `errBase10`, internal/protocol/byte_base10.go.
const BASE_10: &str = "failed to convert to Base10";

/// An IDENTIFY as Go's `%+v` prints upstream's struct.
struct GoStruct<'a>(&'a IdentifyRequest);

impl Display for GoStruct<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let IdentifyRequest {
            client_id,
            hostname,
            user_agent,
            heartbeat_interval,
            output_buffer_size,
            output_buffer_timeout,
            sample_rate,
            msg_timeout,
            feature_negotiation,
            tls_v1,
            snappy,
            deflate,
            deflate_level,
            topology_region,
            topology_zone,
            // Not upstream's.
            cluster_nodes: _,
        } = self.0;
        write!(
            f,
            "{{ClientID:{client_id} Hostname:{hostname} HeartbeatInterval:{heartbeat_interval} \
             OutputBufferSize:{output_buffer_size} OutputBufferTimeout:{output_buffer_timeout} \
             FeatureNegotiation:{feature_negotiation} TLSv1:{tls_v1} Deflate:{deflate} \
             DeflateLevel:{deflate_level} Snappy:{snappy} SampleRate:{sample_rate} UserAgent:{user_agent} \
             MsgTimeout:{msg_timeout}"
        )?;
        // Compat: 1.3.0 does not have these two, its master has them always (nsqd/client_v2.go).
        if !topology_region.is_empty() || !topology_zone.is_empty() {
            write!(
                f,
                " TopologyRegion:{topology_region} TopologyZone:{topology_zone}"
            )?;
        }
        f.write_str("}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identify_is_shown_as_go_shows_a_struct() {
        let body = br#"{"client_id":"c","hostname":"h","user_agent":"u/1","feature_negotiation":true,"deflate_level":6}"#;
        let mut request = IdentifyRequest::parse(body).unwrap();
        assert_eq!(
            GoStruct(&request).to_string(),
            "{ClientID:c Hostname:h HeartbeatInterval:0 OutputBufferSize:0 OutputBufferTimeout:0 \
             FeatureNegotiation:true TLSv1:false Deflate:false DeflateLevel:6 Snappy:false SampleRate:0 UserAgent:u/1 \
             MsgTimeout:0}"
        );
        request.topology_zone = "z".to_owned();
        let text = GoStruct(&request).to_string();
        assert!(
            text.ends_with(" MsgTimeout:0 TopologyRegion: TopologyZone:z}"),
            "{text}"
        );
    }

    #[test]
    fn the_end_of_the_input_is_unexpected_only_within_a_number_or_a_body() {
        for (inbox, wanted) in [
            (&b"PUB t\n"[..], "EOF"),
            (b"PUB t\n\0\0", "unexpected EOF"),
            (b"PUB t\n\0\0\0\x05", "EOF"),
            (b"PUB t\n\0\0\0\x05ab", "unexpected EOF"),
            (b"MPUB t\n", "EOF"),
            (b"MPUB t\n\0\0\0\x20", "EOF"),
            (b"MPUB t\n\0\0\0\x20\0", "unexpected EOF"),
            (b"MPUB t\n\0\0\0\x20\0\0\0\x02", "EOF"),
            (b"MPUB t\n\0\0\0\x20\0\0\0\x02\0\0\0\x01x", "EOF"),
            (
                b"MPUB t\n\0\0\0\x20\0\0\0\x02\0\0\0\x01x\0",
                "unexpected EOF",
            ),
        ] {
            assert_eq!(
                end_within_command(inbox),
                wanted,
                "{}",
                inbox.escape_ascii()
            );
        }
    }
}
