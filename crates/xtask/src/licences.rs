//! Licences and duplicate versions: `crates/xtask/licences.toml` says what is allowed, and why.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use serde::Deserialize;

use crate::metadata::{Metadata, root};

#[derive(Deserialize)]
struct Rules {
    /// SPDX ids that may be used.
    allow: Vec<String>,
    /// Crates that may be there in several versions, with the reason.
    duplicates: BTreeMap<String, String>,
}

/// Fails on a licence that is not allowed, a package without one, a duplicate without a reason, and a reason without a
/// duplicate.
pub fn check() -> anyhow::Result<()> {
    let text = std::fs::read_to_string(root().join("crates/xtask/licences.toml"))?;
    let rules: Rules = toml::from_str(&text).context("licences.toml")?;
    let metadata = Metadata::read()?;
    let mut wrong = Vec::new();
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for package in &metadata.packages {
        versions.entry(&package.name).or_default().insert(&package.version);
        let Some(licence) = &package.license else {
            wrong.push(format!("{} {} names no licence", package.name, package.version));
            continue;
        };
        let parsed = spdx::Expression::parse_mode(licence, spdx::ParseMode::LAX)
            .map_err(|e| anyhow::anyhow!("{}: {licence}: {}", package.name, e.reason))?;
        let allowed = parsed.evaluate(|requirement| {
            requirement.license.id().is_some_and(|id| rules.allow.iter().any(|name| name == id.name))
        });
        if !allowed {
            wrong.push(format!("{} {} has the licence {licence}", package.name, package.version));
        }
    }
    for (name, versions) in &versions {
        if versions.len() > 1 && !rules.duplicates.contains_key(*name) {
            let list: Vec<_> = versions.iter().copied().collect();
            wrong.push(format!("{name} is there {} times: {}", versions.len(), list.join(", ")));
        }
    }
    for name in rules.duplicates.keys() {
        if versions.get(name.as_str()).is_none_or(|v| v.len() < 2) {
            wrong.push(format!("licences.toml excuses {name}, which is no duplicate any more"));
        }
    }
    anyhow::ensure!(wrong.is_empty(), "{}", wrong.join("; "));
    println!("licences: {} packages are fine", metadata.packages.len());
    Ok(())
}
