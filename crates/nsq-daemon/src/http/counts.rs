//! How many requests were answered, by route and kind of answer.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use hyper::StatusCode;

use crate::metrics::Family;

/// The counts of one or several routers. There is one for each route, so that no one makes them many by asking for many
/// paths.
#[derive(Debug, Default)]
pub struct RequestCounts(Mutex<Vec<Arc<Count>>>);

/// The requests of one route.
#[derive(Debug)]
pub(super) struct Count {
    method: String,
    pattern: String,
    by_class: [AtomicU64; CLASSES.len()],
}

/// Kinds of answers, by the status's first digit, of which 1 never ends a request.
const CLASSES: [&str; 4] = ["2xx", "3xx", "4xx", "5xx"];

impl RequestCounts {
    /// The count of a route, made if it is new.
    pub(super) fn of(&self, method: &str, pattern: &str) -> Arc<Count> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = counts
            .iter()
            .find(|count| count.method == method && count.pattern == pattern);
        if let Some(known) = known {
            return Arc::clone(known);
        }
        let count = Arc::new(Count {
            method: method.to_owned(),
            pattern: pattern.to_owned(),
            by_class: Default::default(),
        });
        counts.push(Arc::clone(&count));
        count
    }

    /// Writes what is not zero, labelled by method, path and code. What no route answered has `other` for the first two.
    pub fn write(&self, family: &mut Family<'_>) {
        let counts = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        for count in counts {
            for (class, requests) in CLASSES.iter().zip(&count.by_class) {
                let requests = requests.load(Ordering::Relaxed);
                if requests > 0 {
                    let labels = [
                        ("method", count.method.as_str()),
                        ("path", count.pattern.as_str()),
                        ("code", class),
                    ];
                    family.sample(&labels, requests);
                }
            }
        }
    }
}

impl Count {
    pub(super) fn add(&self, status: StatusCode) {
        let class = usize::from(status.as_u16() / 100).saturating_sub(2);
        if let Some(requests) = self.by_class.get(class) {
            requests.fetch_add(1, Ordering::Relaxed);
        }
    }
}
