//! The Helm chart: what Helm says of it, whether Kubernetes has each field, and whether the programs have each flag.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nsq_tests::say_loudly;

/// The ways to install it.
const SETTINGS: [&[&str]; 3] = [
    &[],
    &["--set", "cluster.enabled=true"],
    &[
        "--set",
        "cluster.enabled=true,cluster.nodes=5,cluster.existingSecret=mine,serviceMonitor.enabled=true",
        "--set",
        "nsqd.storage.className=fast,nsqd.extraArgs={--sync-publish},nsqadmin.extraArgs={--history-interval=10s}",
    ],
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn is_there(program: &str, argument: &str) -> bool {
    let found = Command::new(program).arg(argument).output();
    found.is_ok_and(|output| output.status.success())
}

/// Runs Helm on the chart, which must succeed; returns what it prints. `None` where there is no Helm.
fn helm(command: &[&str], settings: &[&str]) -> Option<String> {
    if !is_there("helm", "version") {
        say_loudly("SKIPPED: no helm is on this machine, the chart was not tried");
        return None;
    }
    let output = Command::new("helm")
        .args(command)
        .arg(root().join("config/helm/nsq"))
        .args(settings)
        .output();
    let output = output.expect("helm was there a moment ago");
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "helm {command:?} {settings:?}\n{printed}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Some(printed)
}

#[test]
fn helm_finds_nothing_wrong_with_the_chart() {
    for settings in SETTINGS {
        helm(&["lint", "--strict"], settings);
    }
}

#[test]
fn kubernetes_knows_every_field_of_the_manifests() {
    if !is_there("go", "version") {
        say_loudly("SKIPPED: no Go is on this machine, the manifests were not checked");
        return;
    }
    for settings in SETTINGS {
        let Some(manifests) = helm(&["template", "nsq"], settings) else {
            return;
        };
        let mut check = Command::new("go")
            .args(["run", "-mod=readonly", "."])
            .current_dir(root().join("tests/kubernetes"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("go was there a moment ago");
        let mut input = check.stdin.take().expect("its stdin is piped");
        input
            .write_all(manifests.as_bytes())
            .expect("it reads its input");
        drop(input);
        let output = check.wait_with_output().expect("it ends");
        assert!(output.status.success(), "{settings:?}\n{manifests}");
        let kinds = String::from_utf8_lossy(&output.stdout);
        let mut counts = BTreeMap::new();
        for kind in kinds.lines() {
            *counts.entry(kind).or_insert(0) += 1;
        }
        let count = |kind| counts.get(kind).copied().unwrap_or_default();
        assert_eq!(
            (
                count("StatefulSet"),
                count("Deployment"),
                count("PodDisruptionBudget"),
                count("Service")
            ),
            (2, 1, 2, 4),
            "{settings:?}: {counts:?}"
        );
        let is_monitored = settings
            .iter()
            .any(|value| value.contains("serviceMonitor"));
        assert_eq!(count("ServiceMonitor"), if is_monitored { 3 } else { 0 });
    }
}

#[test]
fn the_programs_have_every_flag_of_the_manifests() {
    let reference = fs::read_to_string(root().join("docs/REFERENCE.md")).expect("it is there");
    for settings in SETTINGS {
        let Some(manifests) = helm(&["template", "nsq"], settings) else {
            return;
        };
        let mut program = "";
        let mut flags = 0;
        for line in manifests.lines().map(str::trim) {
            if let Some(named) = line.strip_prefix("command: [") {
                program = named.trim_end_matches(']');
            } else if let Some(flag) = line.strip_prefix("- --") {
                let flag = flag.split('=').next().unwrap_or_default();
                let (_, section) = reference
                    .split_once(&format!("\n## {program}\n"))
                    .expect("every program has a section");
                let section = section.split("\n## ").next().unwrap_or_default();
                assert!(
                    section.contains(&format!("`--{flag} "))
                        || section.contains(&format!("`--{flag}`")),
                    "{program} has no --{flag}"
                );
                flags += 1;
            }
        }
        assert!(flags > 5, "{settings:?}: {flags} flags");
    }
}
