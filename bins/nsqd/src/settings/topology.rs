//! Which clients are near: those of nsqd's own zone or region, as far as nsqd was told to prefer them.

use nsq_server::Topology;

use super::table::NsqdOptions;

/// What `--enable-experiment` has to name.
const EXPERIMENT: &str = "topology-aware-consumption";

/// Where this nsqd runs, for preferring clients that are near: nowhere, without the experiment.
pub(super) fn of(options: &NsqdOptions) -> Topology {
    if is_on(options) {
        Topology {
            region: options.topology_region.clone(),
            zone: options.topology_zone.clone(),
        }
    } else {
        Topology::default()
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

    use nsq_core::Locality;

    use super::*;
    use crate::settings::Settings;

    fn load(args: &[&str]) -> Settings {
        Settings::load(args.iter().map(OsString::from)).unwrap()
    }

    #[test]
    fn a_client_is_near_by_its_zone_or_its_region() {
        let check = |args: &[&str], region: &str, zone: &str, wanted: Locality| {
            let locality = of(&load(args)).locality(region, zone);
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
