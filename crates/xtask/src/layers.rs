//! Which crate may depend on which: `crates/xtask/layers.toml` is the table.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;

use crate::metadata::{Metadata, root};

/// Fails on an edge between our crates that is not in the table, and on a row of the table without a crate.
/// Dependencies of tests are free.
pub fn check() -> anyhow::Result<()> {
    let text = std::fs::read_to_string(root().join("crates/xtask/layers.toml"))?;
    let table: BTreeMap<String, BTreeSet<String>> = toml::from_str(&text).context("layers.toml")?;
    let metadata = Metadata::read()?;
    let mut wrong = Vec::new();
    let mut seen = BTreeSet::new();
    for package in metadata.members() {
        seen.insert(package.name.as_str());
        let Some(allowed) = table.get(&package.name) else {
            wrong.push(format!("{} has no row", package.name));
            continue;
        };
        for dependency in &package.dependencies {
            let ours = dependency.path.is_some() && dependency.kind.as_deref() != Some("dev");
            if ours && !allowed.contains(&dependency.name) {
                wrong.push(format!("{} may not depend on {}", package.name, dependency.name));
            }
        }
    }
    wrong.extend(
        table.keys().filter(|name| !seen.contains(name.as_str())).map(|name| format!("{name} is no crate")),
    );
    anyhow::ensure!(wrong.is_empty(), "{}", wrong.join("; "));
    println!("layers: {} crates keep to the table", seen.len());
    Ok(())
}
