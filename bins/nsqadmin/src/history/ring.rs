//! The newest values of one quantity at a fixed step.

/// Where a time falls in a ring: Unix time over the step. All rings of one step advance together.
pub(super) type Slot = i64;

/// Columns of values, all with the same slots. A value that is not known is NaN.
#[derive(Debug)]
pub(super) struct Rings {
    values: Box<[f32]>,
    columns: usize,
    /// The newest slot written, `None` before the first.
    newest: Option<Slot>,
}

impl Rings {
    pub(super) fn new(columns: usize, slots: usize) -> Self {
        Self {
            values: vec![f32::NAN; columns * slots].into_boxed_slice(),
            columns,
            newest: None,
        }
    }

    pub(super) fn bytes(columns: usize, slots: usize) -> usize {
        columns * slots * size_of::<f32>()
    }

    fn slots(&self) -> usize {
        self.values.len() / self.columns.max(1)
    }

    fn position(&self, column: usize, slot: Slot) -> usize {
        let slots = i64::try_from(self.slots()).expect("a ring is far shorter");
        let within = usize::try_from(slot.rem_euclid(slots)).expect("a remainder is not negative");
        column * self.slots() + within
    }

    /// Makes `slot` the newest; those skipped are unknown. Says whether it was not so already; a slot older than the
    /// newest is left alone, as when the clock was set back.
    pub(super) fn advance(&mut self, slot: Slot) -> Advance {
        let newest = match self.newest {
            Some(newest) if slot < newest => return Advance::Past,
            Some(newest) if slot == newest => return Advance::Same,
            Some(newest) => newest,
            None => slot - 1,
        };
        let slots = i64::try_from(self.slots()).expect("a ring is far shorter");
        let first = (newest + 1).max(slot.saturating_sub(slots - 1));
        for slot in first..=slot {
            for column in 0..self.columns {
                let position = self.position(column, slot);
                self.values[position] = f32::NAN;
            }
        }
        self.newest = Some(slot);
        Advance::New
    }

    /// Writes into the newest slot.
    pub(super) fn set(&mut self, column: usize, value: f32) {
        if let Some(newest) = self.newest {
            let position = self.position(column, newest);
            self.values[position] = value;
        }
    }

    /// The value of a slot; `None` when it is unknown, too old or yet to come.
    pub(super) fn value(&self, column: usize, slot: Slot) -> Option<f32> {
        let newest = self.newest?;
        let slots = i64::try_from(self.slots()).ok()?;
        if slot > newest || newest.saturating_sub(slot) >= slots {
            return None;
        }
        let value = self.values[self.position(column, slot)];
        (!value.is_nan()).then_some(value)
    }
}

/// What [`Rings::advance`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Advance {
    New,
    Same,
    Past,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_keeps_its_newest_values_and_knows_gaps() {
        let mut rings = Rings::new(2, 4);
        for (slot, value) in [(10, 1.0), (11, 2.0), (13, 4.0)] {
            assert_eq!(rings.advance(slot), Advance::New);
            rings.set(0, value);
        }
        let column = |rings: &Rings, of: usize| -> Vec<Option<f32>> {
            (9..15).map(|slot| rings.value(of, slot)).collect()
        };
        let known = [None, Some(1.0), Some(2.0), None, Some(4.0), None];
        assert_eq!(column(&rings, 0), known);
        assert_eq!(column(&rings, 1), [None; 6]);

        assert_eq!(rings.advance(14), Advance::New);
        rings.set(1, 9.0);
        assert_eq!(rings.value(0, 10), None, "overwritten");
        assert_eq!(rings.value(0, 11), Some(2.0));
        assert_eq!(rings.value(1, 14), Some(9.0));

        assert_eq!(rings.advance(1000), Advance::New);
        assert!((9..=1000).all(|slot| rings.value(0, slot).is_none()));
        assert_eq!(rings.advance(999), Advance::Past);
        assert_eq!(rings.advance(1000), Advance::Same);
    }
}
