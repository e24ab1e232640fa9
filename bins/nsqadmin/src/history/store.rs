//! All series, and the bound on what they take.

use std::collections::HashMap;
use std::time::Duration;

use crate::cluster::Overview;

use super::counters::Counters;
use super::record::sum_up;
use super::series::{COARSE_STEP_SECONDS, Layout, Series};
use super::{Key, Metric, Point, Range};

#[derive(Debug)]
pub(super) struct Store {
    layout: Layout,
    entries: HashMap<Key, Entry>,
    counters: Counters,
    limit_bytes: usize,
    used_bytes: usize,
    retention_millis: i64,
    /// Of the newest recording.
    newest_millis: i64,
    /// Whether it was said that some series are not kept.
    complained: bool,
}

#[derive(Debug)]
struct Entry {
    series: Series,
    seen_millis: i64,
    bytes: usize,
}

impl Store {
    pub(super) fn new(interval: Duration, retention: Duration, limit_bytes: usize) -> Self {
        let millis = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        let slots = |count: i64| usize::try_from(count.max(1)).unwrap_or(1);
        let fine_step_millis = millis(interval).max(1);
        let retention_millis = millis(retention);
        let layout = Layout {
            fine_step_millis,
            fine_slots: slots(millis(FINE_SPAN) / fine_step_millis),
            coarse_slots: slots(retention_millis / (COARSE_STEP_SECONDS * 1000)),
        };
        Self {
            layout,
            entries: HashMap::new(),
            counters: Counters::default(),
            limit_bytes,
            used_bytes: 0,
            retention_millis: retention_millis.max(millis(FINE_SPAN)),
            newest_millis: 0,
            complained: false,
        }
    }

    pub(super) fn record(&mut self, overview: &Overview) {
        let millis = overview.taken_at.as_millisecond();
        if millis == self.newest_millis {
            // The very same look: it would put "no rates yet" over the rates it brought.
            return;
        }
        self.newest_millis = millis;
        let horizon = millis.saturating_sub(self.retention_millis);
        self.drop_seen_before(horizon);
        self.counters.forget_before(horizon);
        let layout = self.layout;
        let mut refused_count = 0;
        for (key, sums) in sum_up(overview, &mut self.counters) {
            if key.begins_with_a_message()
                && !sums.has_waiting()
                && !self.entries.contains_key(&key)
            {
                continue;
            }
            let values = sums.values(key.metrics());
            match self.entry(&key, millis) {
                Some(entry) => {
                    entry.seen_millis = millis;
                    entry.series.record(&layout, millis, &values);
                }
                None => refused_count += 1,
            }
        }
        if refused_count > 0 && !self.complained {
            self.complained = true;
            tracing::warn!(
                "HISTORY: --history-memory is used up; {refused_count} series are not kept"
            );
        }
    }

    /// The entry of a key, made if there is room or something older than `now` can go for it.
    fn entry(&mut self, key: &Key, now: i64) -> Option<&mut Entry> {
        if !self.entries.contains_key(key) {
            let bytes = Series::bytes(key, &self.layout) + ENTRY_BYTES;
            if self.used_bytes + self.counters.bytes() + bytes > self.limit_bytes {
                self.make_room(bytes, now);
            }
            if self.used_bytes + self.counters.bytes() + bytes > self.limit_bytes {
                return None;
            }
            self.used_bytes += bytes;
            let entry = Entry {
                series: Series::new(key, &self.layout),
                seen_millis: now,
                bytes,
            };
            self.entries.insert(key.clone(), entry);
        }
        self.entries.get_mut(key)
    }

    /// Drops series that the recording before this one did not see any more, the oldest first, until there is room
    /// for `bytes`.
    fn make_room(&mut self, bytes: usize, now: i64) {
        let recent = now.saturating_sub(2 * self.layout.fine_step_millis);
        let mut gone: Vec<(i64, Key)> = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.seen_millis < recent)
            .map(|(key, entry)| (entry.seen_millis, key.clone()))
            .collect();
        gone.sort();
        for (_, key) in gone {
            if self.used_bytes + self.counters.bytes() + bytes <= self.limit_bytes {
                return;
            }
            if let Some(entry) = self.entries.remove(&key) {
                self.used_bytes -= entry.bytes;
            }
        }
    }

    fn drop_seen_before(&mut self, millis: i64) {
        let used_bytes = &mut self.used_bytes;
        self.entries.retain(|_, entry| {
            let keep = entry.seen_millis >= millis;
            if !keep {
                *used_bytes -= entry.bytes;
            }
            keep
        });
    }

    pub(super) fn size(&self) -> (usize, usize) {
        (self.entries.len(), self.used_bytes + self.counters.bytes())
    }

    pub(super) fn sparkline(&self, key: &Key, metric: Metric, count: usize) -> Vec<Option<f32>> {
        let Some((series, column)) = self.column(key, metric) else {
            return Vec::new();
        };
        let count = i64::try_from(count.min(self.layout.fine_slots)).unwrap_or(0);
        let newest = self.layout.fine_slot(self.newest_millis);
        (newest - count + 1..=newest)
            .map(|slot| series.fine(column, slot))
            .collect()
    }

    pub(super) fn series(&self, key: &Key, metric: Metric, range: Range) -> Vec<Point> {
        let Some((series, column)) = self.column(key, metric) else {
            return Vec::new();
        };
        let newest = self.newest_millis.div_euclid(1000);
        let oldest = newest - self.retention_millis / 1000 - COARSE_STEP_SECONDS;
        let until = range.until.min(newest + 1);
        let from = range.from.max(oldest);
        if from >= until {
            return Vec::new();
        }
        let fine_step = (self.layout.fine_step_millis + 999) / 1000;
        let step = i64::from(range.step)
            .max(fine_step)
            .max((until - from) / Range::MOST_POINTS + 1);
        let first = from.div_euclid(step);
        let last = (until - 1).div_euclid(step);
        (first..=last)
            .map(|position| {
                let time = position * step;
                (time, self.mean(series, column, time, time + step))
            })
            .collect()
    }

    /// The mean over some seconds: of coarse values where a whole one fits in, of fine ones else.
    fn mean(&self, series: &Series, column: usize, from: i64, until: i64) -> Option<f64> {
        let fine = || {
            let first = self.layout.fine_slot(from * 1000);
            let last = self.layout.fine_slot(until * 1000 - 1);
            mean((first..=last).filter_map(|slot| series.fine(column, slot)))
        };
        let coarse = || {
            let first = Layout::coarse_slot(from * 1000);
            let last = Layout::coarse_slot(until * 1000 - 1);
            mean((first..=last).filter_map(|slot| series.coarse(column, slot)))
        };
        let newest = self.layout.fine_slot(self.newest_millis);
        let reach = i64::try_from(self.layout.fine_slots).unwrap_or(i64::MAX);
        if until - from >= COARSE_STEP_SECONDS {
            coarse().or_else(fine)
        } else if self.layout.fine_slot(from * 1000) > newest - reach {
            // A gap here is a gap: the minute's mean would paint it over.
            fine()
        } else {
            coarse()
        }
    }

    fn column(&self, key: &Key, metric: Metric) -> Option<(&Series, usize)> {
        let entry = self.entries.get(key)?;
        Some((&entry.series, Series::column(key, metric)?))
    }
}

fn mean(values: impl Iterator<Item = f32>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0.0), |(sum, count), value| {
        (sum + f64::from(value), count + 1.0)
    });
    (count > 0.0).then(|| sum / count)
}

/// How far back the fine values go.
const FINE_SPAN: Duration = Duration::from_mins(15);

/// A key with its names and its place in the table, about.
const ENTRY_BYTES: usize = 256;
