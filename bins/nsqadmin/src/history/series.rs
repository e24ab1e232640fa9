//! Everything kept of one key: a fine ring for each metric, and perhaps a coarse one.

use super::ring::{Advance, Rings, Slot};
use super::{Key, Metric};

/// How rings are laid out; one for the whole history.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    /// Milliseconds from one fine value to the next.
    pub(super) fine_step_millis: i64,
    pub(super) fine_slots: usize,
    pub(super) coarse_slots: usize,
}

/// Seconds from one coarse value to the next.
pub(super) const COARSE_STEP_SECONDS: i64 = 60;

impl Layout {
    pub(super) fn fine_slot(&self, millis: i64) -> Slot {
        millis.div_euclid(self.fine_step_millis)
    }

    pub(super) fn coarse_slot(millis: i64) -> Slot {
        millis.div_euclid(COARSE_STEP_SECONDS * 1000)
    }
}

#[derive(Debug)]
pub(super) struct Series {
    fine: Rings,
    coarse: Option<Coarse>,
}

/// A ring whose newest value is the mean of what has come since its slot began.
#[derive(Debug)]
struct Coarse {
    rings: Rings,
    /// How many fine values are in each newest one.
    counts: Box<[u16]>,
}

impl Series {
    pub(super) fn new(key: &Key, layout: &Layout) -> Self {
        let columns = key.metrics().len();
        Self {
            fine: Rings::new(columns, layout.fine_slots),
            coarse: key.is_kept_long().then(|| Coarse {
                rings: Rings::new(columns, layout.coarse_slots),
                counts: vec![0; columns].into_boxed_slice(),
            }),
        }
    }

    /// What [`Series::new`] takes for this key, in bytes.
    pub(super) fn bytes(key: &Key, layout: &Layout) -> usize {
        let columns = key.metrics().len();
        let coarse_slots = if key.is_kept_long() {
            layout.coarse_slots
        } else {
            0
        };
        size_of::<Self>() + Rings::bytes(columns, layout.fine_slots + coarse_slots) + 2 * columns
    }

    /// Records the values of one moment, in the order of [`Key::metrics`]; NaN is unknown.
    pub(super) fn record(&mut self, layout: &Layout, millis: i64, values: &[f32]) {
        if self.fine.advance(layout.fine_slot(millis)) == Advance::Past {
            return;
        }
        for (column, value) in values.iter().enumerate() {
            self.fine.set(column, *value);
        }
        if let Some(coarse) = &mut self.coarse {
            coarse.record(Layout::coarse_slot(millis), values);
        }
    }

    pub(super) fn fine(&self, column: usize, slot: Slot) -> Option<f32> {
        self.fine.value(column, slot)
    }

    pub(super) fn coarse(&self, column: usize, slot: Slot) -> Option<f32> {
        self.coarse.as_ref()?.rings.value(column, slot)
    }

    /// Where a key of this kind keeps a metric.
    pub(super) fn column(key: &Key, metric: Metric) -> Option<usize> {
        // A channel and a node have but one depth: their backlog is that.
        let stored = match (key, metric) {
            (Key::Channel(..), Metric::Backlog) => Metric::Depth,
            (_, metric) => metric,
        };
        key.metrics().iter().position(|kept| *kept == stored)
    }
}

impl Coarse {
    fn record(&mut self, slot: Slot, values: &[f32]) {
        match self.rings.advance(slot) {
            Advance::Past => return,
            Advance::New => self.counts.fill(0),
            Advance::Same => {}
        }
        for (column, value) in values.iter().enumerate() {
            if value.is_nan() {
                continue;
            }
            let count = &mut self.counts[column];
            *count = count.saturating_add(1);
            let before = self.rings.value(column, slot).unwrap_or_default();
            let mean = before + (value - before) / f32::from(*count);
            self.rings.set(column, mean);
        }
    }
}
