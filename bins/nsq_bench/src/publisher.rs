//! One publishing connection and its thread.

use std::{collections::VecDeque, io, num::NonZeroU64, sync::Arc, time::Duration};

use nsq_protocol::{Frame, TopicName};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    thread::set_current_timer_slack,
};

use crate::{
    clock::{Clock, nanos},
    command_block::CommandBlock,
    connection::{HEARTBEAT, NOP, OK, Socket},
    error::BenchError,
    inbox::Inbox,
    latency::Latencies,
    options::Publishing,
    progress::Progress,
    schedule::{Schedule, Share},
};

/// A connection that publishes its share of a run.
#[derive(Debug)]
pub(crate) struct Publisher {
    socket: Arc<Socket>,
    inbox: Inbox,
    block: CommandBlock,
    window: usize,
    batch: u64,
    share: Share,
    clock: Clock,
    sent_count: u64,
    answered_count: u64,
    /// When the commands without an answer were sent, or were due. Answers come in their order.
    unanswered: VecDeque<u64>,
    answers: Latencies,
}

/// When a publisher sends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timetable {
    /// `None`: as soon as the window has room.
    pub(crate) schedule: Option<Schedule>,
    /// Nothing is sent from this time on.
    pub(crate) end_nanos: u64,
}

/// What one publisher has done.
#[derive(Debug)]
pub(crate) struct Published {
    pub(crate) messages: u64,
    pub(crate) answers: Latencies,
}

impl Publisher {
    pub(crate) fn new(
        socket: Arc<Socket>,
        inbox: Inbox,
        topic: &TopicName,
        publishing: &Publishing,
        share: Share,
        clock: Clock,
    ) -> Self {
        let window = publishing.window as usize;
        Self {
            socket,
            inbox,
            block: CommandBlock::new(topic, publishing),
            window,
            batch: u64::from(publishing.batch),
            share,
            clock,
            sent_count: 0,
            answered_count: 0,
            unanswered: VecDeque::with_capacity(window),
            answers: Latencies::default(),
        }
    }

    /// Publishes until the share or the time is up and everything is answered.
    ///
    /// # Errors
    /// The connection is lost or a command refused.
    pub(crate) fn run(
        mut self,
        timetable: Timetable,
        progress: &Progress,
    ) -> Result<Published, BenchError> {
        if timetable.schedule.is_some() {
            // The kernel lets sleeps end 50 µs late by default, to save wake-ups.
            set_current_timer_slack(NonZeroU64::new(1))
                .map_err(|error| self.socket.failed("set the timer slack", error.into()))?;
        }
        loop {
            while self.send_due(timetable)? > 0 {}
            let next = self.next_due(timetable, self.clock.now());
            if self.unanswered.is_empty() && next.is_none() {
                return Ok(Published {
                    messages: self.answered_count * self.batch,
                    answers: self.answers,
                });
            }
            match next {
                Some(due) if self.unanswered.len() < self.window => self.receive_until(due)?,
                _ => self.inbox.receive(&self.socket)?,
            }
            self.take_answers(progress)?;
        }
    }

    /// Sends the commands that are due and have room in the window, in one write.
    fn send_due(&mut self, timetable: Timetable) -> Result<usize, BenchError> {
        let room = (self.window - self.unanswered.len()).min(self.block.capacity());
        if room == 0 {
            return Ok(0);
        }
        let now = self.clock.now();
        let mut count = 0;
        while count < room
            && let Some(due) = self.next_due(timetable, now)
            && due <= now
        {
            self.block.stamp(count, due);
            self.unanswered.push_back(due);
            self.sent_count += 1;
            count += 1;
        }
        if count > 0 {
            self.socket
                .write(self.block.first(count))
                .map_err(|error| self.inbox.explain(&self.socket, error))?;
        }
        Ok(count)
    }

    /// When the next command is due: `now` without a schedule. `None` when none is left to send.
    fn next_due(&self, timetable: Timetable, now: u64) -> Option<u64> {
        if self.sent_count >= self.share.count() {
            return None;
        }
        let due = timetable.schedule.map_or(now, |schedule| {
            schedule.due(self.share.index(self.sent_count) * self.batch)
        });
        (due < timetable.end_nanos).then_some(due)
    }

    /// Waits for bytes, but not past `due`. The last stretch is spent awake: a timer's wake-up
    /// takes tens of microseconds, which would all be counted as the server's latency.
    fn receive_until(&mut self, due: u64) -> Result<(), BenchError> {
        let sleep_nanos = due
            .saturating_sub(self.clock.now())
            .saturating_sub(nanos(AWAKE));
        if sleep_nanos > 0 && self.wait_readable(sleep_nanos)? {
            return self.inbox.receive(&self.socket);
        }
        while self.clock.now() < due {
            if !self.unanswered.is_empty() && self.inbox.receive_now(&self.socket)? {
                break;
            }
        }
        Ok(())
    }

    fn wait_readable(&self, nanos: u64) -> Result<bool, BenchError> {
        let timeout = Timespec::try_from(Duration::from_nanos(nanos))
            .expect("584 years of nanoseconds fit a timespec's seconds");
        let mut sockets = [PollFd::new(self.socket.stream(), PollFlags::IN)];
        match poll(&mut sockets, Some(&timeout)) {
            Ok(ready_count) => Ok(ready_count > 0),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(false),
            Err(error) => Err(self.socket.failed("wait", error.into())),
        }
    }

    fn take_answers(&mut self, progress: &Progress) -> Result<(), BenchError> {
        let now = self.clock.now();
        let answered_before = self.answered_count;
        while let Some(frame) = self.inbox.next_frame(&self.socket)? {
            match frame {
                Frame::Response(OK) => {
                    let Some(sent) = self.unanswered.pop_front() else {
                        return Err(self.socket.unexpected(Frame::Response(OK)));
                    };
                    self.answers.record(now.saturating_sub(sent));
                    self.answered_count += 1;
                }
                Frame::Response(HEARTBEAT) => self.socket.write(NOP)?,
                Frame::Error(text) => return Err(self.socket.refused(text)),
                frame @ (Frame::Response(_) | Frame::Message(_)) => {
                    return Err(self.socket.unexpected(frame));
                }
            }
        }
        let answered = self.answered_count - answered_before;
        if answered > 0 {
            progress.add_published(answered * self.batch);
        }
        Ok(())
    }
}

/// How long before a due time a publisher stops sleeping.
const AWAKE: Duration = Duration::from_micros(60);
