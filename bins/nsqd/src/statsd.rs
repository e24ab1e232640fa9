//! Sends figures to a statsd by UDP, every `--statsd-interval`.
//!
//! Whatever is wrong with the address is logged and tried again at the next interval; nothing waits for it.

mod address;
mod packets;
mod report;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use nsq_daemon::process::Memory;
use nsq_server::Server;
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

use self::address::Address;
use self::packets::Packets;
use self::report::Report;
use crate::clock;
use crate::settings::Settings;
use crate::view::View;

/// How long the address may take to be resolved.
const RESOLVING: Duration = Duration::from_secs(1);
/// How long the last packets may take at shutdown.
const LEAVING: Duration = Duration::from_secs(1);
/// A push is spread over the interval less this.
const PAUSE: Duration = Duration::from_secs(1);

/// The task that sends; until [`Statsd::close`].
pub(crate) struct Statsd {
    stop: watch::Sender<()>,
    task: JoinHandle<()>,
}

impl Statsd {
    /// Begins, if there is a statsd to send to. The first push comes after the first interval.
    pub(crate) fn start(settings: &Arc<Settings>, server: &Arc<Server>) -> Option<Statsd> {
        if settings.statsd_address.is_empty() {
            return None;
        }
        let (stop, stopped) = watch::channel(());
        let task = tokio::spawn(push_for_ever(
            Arc::clone(settings),
            Arc::clone(server),
            Stop(stopped),
        ));
        Some(Statsd { stop, task })
    }

    /// Sends what is left of the last push, without pauses, and ends.
    pub(crate) async fn close(self) {
        drop(self.stop);
        // It is the network's to be slow; the rest is lost then.
        let _ = timeout(LEAVING, self.task).await;
        tracing::info!("STATSD: closing");
    }
}

/// Tells that nsqd is about to end.
struct Stop(watch::Receiver<()>);

impl Stop {
    async fn wait(&mut self) {
        // The sender never sends: its end is the sign.
        while self.0.changed().await.is_ok() {}
    }
}

async fn push_for_ever(settings: Arc<Settings>, server: Arc<Server>, mut stop: Stop) {
    let name = settings.statsd_address.as_str();
    let interval = settings.statsd_interval;
    let span = interval.saturating_sub(PAUSE);
    let mut address = Address::new(name);
    let mut report = Report::new(&settings);
    let mut ticks = interval_at(Instant::now() + interval, interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = stop.wait() => return,
        }
        let connected = tokio::select! {
            connected = timeout(RESOLVING, address.connect()) => connected,
            () = stop.wait() => return,
        };
        let socket = match connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(socket) => socket,
            Err(error) => {
                tracing::error!("failed to create UDP socket to statsd({name}) - {error}");
                continue;
            }
        };
        tracing::info!("STATSD: pushing stats to {name}");
        let (view, has_memory) = (View::of(&server), settings.statsd_mem_stats);
        // With many topics this takes a while.
        let gathered = tokio::task::spawn_blocking(move || {
            let packets = gather(&view, has_memory, &mut report);
            (packets, report)
        });
        let Ok((packets, report_back)) = gathered.await else {
            return;
        };
        report = report_back;
        send(&socket, name, packets, span, &mut stop).await;
    }
}

fn gather(view: &View, has_memory: bool, report: &mut Report) -> Packets {
    let topics = view.topics();
    let stats = topics
        .iter()
        .map(|topic| topic.stats_with_percentiles(clock::now()));
    let heap_in_use = has_memory.then(|| Memory::now().anonymous_bytes);
    report.next(stats, heap_in_use)
}

/// Sends packet after packet, evenly over `span`, and what is left at once when nsqd is about to end.
async fn send(socket: &UdpSocket, name: &str, packets: Packets, span: Duration, stop: &mut Stop) {
    let packets = packets.into_vec();
    let count = packets.len();
    let mut failures = 0;
    let mut last_error = None;
    let pause = span / u32::try_from(count.max(1)).unwrap_or(u32::MAX);
    let started = Instant::now();
    let mut is_leaving = false;
    for (sent, packet) in (1..).zip(packets) {
        if let Err(error) = send_one(socket, &packet).await {
            failures += 1;
            last_error = Some(error);
        }
        if !is_leaving {
            tokio::select! {
                () = tokio::time::sleep_until(started + pause * sent) => {}
                () = stop.wait() => is_leaving = true,
            }
        }
    }
    if let Some(error) = last_error {
        tracing::error!(
            "STATSD: {failures} of {count} packets to {name} could not be sent: {error}"
        );
    }
}

/// An error that comes back is about a packet before, so this one is tried again.
async fn send_one(socket: &UdpSocket, packet: &[u8]) -> io::Result<()> {
    match socket.send(packet).await {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            let _ = socket.send(packet).await;
            Err(error)
        }
        sent => sent.map(|_| ()),
    }
}
