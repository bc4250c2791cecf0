//! The files of `deploy/`, read.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::Deserialize as _;
use serde_json::Value;

pub fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy")
}

pub fn text(path: &str) -> String {
    std::fs::read_to_string(deploy().join(path)).unwrap_or_else(|error| panic!("deploy/{path}: {error}"))
}

/// All documents of a YAML file, anchors and merges resolved.
pub fn yaml(path: &str) -> Vec<Value> {
    serde_norway::Deserializer::from_str(&text(path))
        .map(|document| {
            let mut value = serde_norway::Value::deserialize(document)
                .unwrap_or_else(|error| panic!("deploy/{path}: {error}"));
            value.apply_merge().unwrap_or_else(|error| panic!("deploy/{path}: {error}"));
            serde_json::to_value(value).unwrap_or_else(|error| panic!("deploy/{path}: {error}"))
        })
        .collect()
}

/// Files below `folder` whose names end so, as paths from `deploy/`.
pub fn list(folder: &str, end: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![deploy().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in
            std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.to_string_lossy().ends_with(end) {
                let path = path.strip_prefix(deploy()).expect("below deploy").to_string_lossy().into_owned();
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The text at a path of keys; "" if there is none.
pub fn at<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The items of a list at a path of keys.
pub fn items<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value.pointer(pointer).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// All keys of the settings file that operators start from.
pub fn settings() -> BTreeSet<String> {
    let (mut section, mut keys) = (String::new(), BTreeSet::new());
    for line in text("mss.toml").lines() {
        let line = line.strip_prefix("# ").unwrap_or(line);
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            name.clone_into(&mut section);
        } else if let Some((key, _)) = line.split_once(" = ") {
            keys.insert(format!("{section}.{key}"));
        }
    }
    keys
}

#[test]
fn every_yaml_file_is_yaml() {
    let files: Vec<String> = [list(".", ".yml"), list(".", ".yaml")].concat();
    assert!(files.len() >= 9, "{files:?}");
    for file in files {
        assert!(!yaml(&file).is_empty(), "{file}");
    }
}

/// Markdown links between files of `deploy/` lead somewhere.
#[test]
fn links_lead_somewhere() {
    for file in list(".", ".md") {
        let folder = deploy().join(&file).parent().expect("a folder").to_owned();
        for link in text(&file).split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let path = link.split('#').next().unwrap_or_default();
            if !path.is_empty() && !path.contains("://") {
                assert!(folder.join(path).exists(), "{file} links to {link}");
            }
        }
    }
}
