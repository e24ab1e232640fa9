//! Which clients are near: those of nsqd's own zone or region, as far as nsqd was told to prefer them.

use nsq_core::Locality;

use super::{NsqdOptions, Settings};

/// What `--enable-experiment` has to name.
const EXPERIMENT: &str = "topology-aware-consumption";

impl Settings {
    /// Where a client is that says this of itself. Without the experiment all clients are elsewhere.
    ///
    /// A zone counts by its name alone, as upstream's does; nobody is near an nsqd that does not say where it is.
    pub fn locality(&self, region: &str, zone: &str) -> Locality {
        let is_same = |ours: &str, theirs: &str| !ours.is_empty() && ours == theirs;
        if !is_on(self) {
            Locality::Elsewhere
        } else if is_same(&self.topology_zone, zone) {
            Locality::Zone
        } else if is_same(&self.topology_region, region) {
            Locality::Region
        } else {
            Locality::Elsewhere
        }
    }
}

fn is_on(options: &NsqdOptions) -> bool {
    let mut experiments = options.enable_experiment.iter();
    experiments.any(|name| name == EXPERIMENT)
}

/// What to log of experiments that do nothing.
pub(super) fn notices(options: &NsqdOptions) -> Vec<String> {
    let unknown = options
        .enable_experiment
        .iter()
        .filter(|name| *name != EXPERIMENT);
    let mut notices: Vec<_> = unknown
        .map(|name| {
            format!("--enable-experiment={name} has no effect: the only experiment is {EXPERIMENT}")
        })
        .collect();
    if is_on(options) && options.topology_zone.is_empty() && options.topology_region.is_empty() {
        notices.push(format!(
            "{EXPERIMENT} has no effect without --topology-zone or --topology-region"
        ));
    }
    notices
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;

    fn load(args: &[&str]) -> Settings {
        Settings::load(args.iter().map(OsString::from)).unwrap()
    }

    #[test]
    fn a_client_is_near_by_its_zone_or_its_region() {
        let check = |args: &[&str], region: &str, zone: &str, wanted: Locality| {
            let locality = load(args).locality(region, zone);
            assert_eq!(locality, wanted, "{args:?}: {region:?} {zone:?}");
        };
        let place = ["--topology-region=r", "--topology-zone=z"];
        let aware = [
            "--enable-experiment=topology-aware-consumption",
            place[0],
            place[1],
        ];
        check(&aware, "r", "z", Locality::Zone);
        check(&aware, "other", "z", Locality::Zone);
        check(&aware, "r", "other", Locality::Region);
        check(&aware, "r", "", Locality::Region);
        check(&aware, "other", "other", Locality::Elsewhere);
        check(&aware, "", "", Locality::Elsewhere);
        check(&aware[..2], "r", "", Locality::Region);
        check(&aware[..1], "", "", Locality::Elsewhere);
        check(&place, "r", "z", Locality::Elsewhere);
    }

    #[test]
    fn experiments_that_do_nothing_are_told() {
        let check = |args: &[&str], count: usize| {
            let notices = notices(&load(args));
            assert_eq!(notices.len(), count, "{notices:?}");
        };
        check(&[], 0);
        check(&["--enable-experiment=x"], 1);
        check(&["--enable-experiment=topology-aware-consumption"], 1);
        check(
            &[
                "--enable-experiment=topology-aware-consumption",
                "--topology-zone=z",
            ],
            0,
        );
    }
}
