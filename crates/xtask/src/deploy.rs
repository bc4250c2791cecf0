//! Checks of `deploy/` by tools that no one here wrote. What fits together with the binary is checked by the tests of
//! `conformance` (`--test deploy`); what wants a container engine or a cluster is not run here.

use std::process::Command;

use anyhow::Context as _;

use crate::checks::{on_path, run};
use crate::metadata::root;

/// Alerts and their cases, units; manifests and the composition where their tools are.
pub fn check() -> anyhow::Result<()> {
    run("promtool", &["check", "rules", "deploy/prometheus/mss.rules.yml"], &[])?;
    run("promtool", &["test", "rules", "deploy/prometheus/mss.rules.test.yml"], &[])?;
    units()?;
    if on_path("kubectl") {
        let output = Command::new("kubectl")
            .args(["kustomize", "deploy/kubernetes/overlays/production"])
            .current_dir(root())
            .output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        anyhow::ensure!(output.status.success() && said.is_empty(), "kubectl kustomize: {said}");
        println!("deploy/kubernetes: kustomize builds it");
    } else {
        println!("deploy/kubernetes: not built, there is no kubectl");
    }
    if Command::new("docker").args(["compose", "version"]).output().is_ok_and(|o| o.status.success()) {
        run("docker", &["compose", "--file", "deploy/compose/compose.yml", "config", "--quiet"], &[])?;
    } else {
        println!("deploy/compose: not parsed by docker compose, which is not here");
    }
    Ok(())
}

/// Lets systemd read the units, with a binary in the place of the installed one.
fn units() -> anyhow::Result<()> {
    let copies = root().join("target/units");
    std::fs::create_dir_all(&copies)?;
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(root().join("deploy/systemd"))? {
        let path = entry?.path();
        let copy = copies.join(path.file_name().context("a unit has a name")?);
        let text = std::fs::read_to_string(&path)?;
        anyhow::ensure!(text.contains("ExecStart=/usr/bin/mss "), "{} does not start mss", path.display());
        std::fs::write(&copy, text.replace("ExecStart=/usr/bin/mss ", "ExecStart=/bin/true "))?;
        paths.push(copy);
    }
    anyhow::ensure!(!paths.is_empty(), "there are no units");
    let output = Command::new("systemd-analyze").args(["verify", "--man=no"]).args(&paths).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success() && said.trim().is_empty(), "systemd-analyze verify: {said}");
    println!("deploy/systemd: {} units verified", paths.len());
    Ok(())
}
