//! A connection's deadlines: heartbeats, a client that is silent, and one that never says anything.

use std::time::Duration;

use nsq_core::{Now, Tick};
use nsq_protocol::go_duration::GoDuration;
use nsq_protocol::{CommandError, frame};

use super::log::{self, Failure};
use super::{Next, Observer, Session};

/// From a deadline to the last look for what a client has sent.
const LAST_LOOK: Duration = Duration::from_millis(10);

/// When a session has to act by itself.
pub(super) struct Deadlines {
    next_heartbeat: Tick,
    /// When the last whole command had been read.
    last_command: Tick,
    /// When there must have been a first one; `None` once there was.
    first_command: Option<Tick>,
    /// When [`Session::handle_timeout`] is to be called next.
    next: Tick,
    /// Whether a deadline had passed when it was called last.
    is_overdue: bool,
}

impl Deadlines {
    /// Of a new connection. The first command must be there after `patience`, unless that is zero.
    pub(super) fn new(interval: Option<Duration>, patience: Duration, now: Tick) -> Deadlines {
        let next_heartbeat = heartbeat_after(interval, now);
        let first_command = (!patience.is_zero()).then(|| now.after(patience));
        Deadlines {
            next_heartbeat,
            last_command: now,
            first_command,
            next: first_command.map_or(next_heartbeat, |at| at.min(next_heartbeat)),
            is_overdue: false,
        }
    }

    /// A whole command was read.
    pub(super) fn note_command(&mut self, now: Tick) {
        self.last_command = now;
        self.first_command = None;
    }

    /// The client chose its heartbeats.
    pub(super) fn restart(&mut self, interval: Option<Duration>, now: Tick) {
        self.last_command = now;
        self.next_heartbeat = heartbeat_after(interval, now);
        self.next = self.next_heartbeat;
    }
}

impl<O: Observer> Session<O> {
    /// When [`handle_timeout`](Self::handle_timeout) is to be called; [`Tick::NEVER`] if there is no such time.
    pub fn next_deadline(&self) -> Tick {
        self.deadlines.next
    }

    /// [`next_deadline`](Self::next_deadline) has come: sends heartbeats, and gives up a client that is silent or does
    /// not read. The program around it must have looked for input and for room to send just before.
    pub fn handle_timeout(&mut self, now: Now) -> Next {
        let now = now.tick;
        if now < self.deadlines.next {
            return Next::Wait;
        }
        if self.is_first_time_overdue(now) {
            self.deadlines.next = now.after(LAST_LOOK);
            return Next::Wait;
        }
        if self.deadlines.first_command.is_some_and(|by| now >= by) {
            return self.refuse_silence();
        }
        let Some(interval) = self.settings.heartbeat_interval else {
            self.deadlines.next = Tick::NEVER;
            return Next::Wait;
        };
        if !self.is_listening() {
            // We stopped reading, so the client's silence means nothing.
            self.deadlines.last_command = now;
        }
        let silent_at = self.deadlines.last_command.after(2 * interval);
        if self.outbox.is_stuck(now, interval) {
            self.fail_sending(log::TIMEOUT.to_owned());
            return Next::Drop;
        }
        if now >= silent_at {
            self.failure = Some(Failure::Reading(log::TIMEOUT.to_owned()));
            return Next::Drop;
        }
        if now >= self.deadlines.next_heartbeat {
            self.send_heartbeat(now);
        }
        let next = silent_at.min(self.deadlines.next_heartbeat);
        let first_command = self.deadlines.first_command;
        self.deadlines.next = first_command.map_or(next, |by| by.min(next));
        Next::Wait
    }

    fn send_heartbeat(&mut self, now: Tick) {
        let settings = self.delivery_settings();
        let interval = settings
            .heartbeat_interval
            .or(self.settings.heartbeat_interval);
        self.deadlines.next_heartbeat = heartbeat_after(interval, now);
        self.outbox.shrink();
        self.inbox.shrink_to_fit();
        self.server.spare_inboxes().let_go();
        if self.has_magic() {
            self.outbox.bytes().extend_from_slice(frame::HEARTBEAT);
        }
    }

    /// Whether a deadline of the client has passed, and its socket has to be looked at once more. A process that was
    /// stopped, or had no processor for long, learns of its timers before its sockets: the client may have sent something
    /// long ago.
    fn is_first_time_overdue(&mut self, now: Tick) -> bool {
        let is_silent = self.settings.heartbeat_interval.is_some_and(|interval| {
            let silent_at = self.deadlines.last_command.after(2 * interval);
            (self.is_listening() && now >= silent_at) || self.outbox.is_stuck(now, interval)
        });
        let is_late = self.deadlines.first_command.is_some_and(|by| now >= by);
        let was_overdue = std::mem::replace(&mut self.deadlines.is_overdue, is_silent || is_late);
        self.deadlines.is_overdue && !was_overdue
    }

    /// The client sent no command in time.
    fn refuse_silence(&mut self) -> Next {
        let limit = GoDuration::from(self.server.settings().first_command_timeout);
        let cause = format!("no command within {limit} (--first-command-timeout)");
        let host = self.server.host();
        host.client_was_silent(self.client.remote_address(), &cause);
        self.answer(|out| frame::write_error(out, &CommandError::Silent { cause }));
        self.close_when_answered()
    }
}

fn heartbeat_after(interval: Option<Duration>, now: Tick) -> Tick {
    interval.map_or(Tick::NEVER, |interval| now.after(interval))
}
