//! Command lines and settings in units, compositions and manifests are those of the binary.

use std::collections::BTreeSet;
use std::process::Command;

use conformance::server::binary;
use serde_json::Value;

use crate::files::{at, items, list, settings, text, yaml};

/// The help of a command of the binary; a word that is no command has none.
fn help(words: &[&str]) -> String {
    let output =
        Command::new(binary().expect("the binary")).args(words).arg("--help").output().expect("mss runs");
    assert!(
        output.status.success(),
        "mss {} --help: {}",
        words.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Checks that the binary has these commands and flags.
fn check(place: &str, words: &[String]) {
    let commands: Vec<&str> = words
        .iter()
        .map(String::as_str)
        .take_while(|word| !word.starts_with('-') && !word.contains('+'))
        .collect();
    let help = help(&commands);
    for flag in words.iter().filter(|word| word.starts_with("--")) {
        let known = help.split_whitespace().any(|word| word.trim_end_matches(',') == flag);
        assert!(known, "{place}: mss {} has no {flag}", commands.join(" "));
    }
}

fn words(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// Checks that `MSS_SECTION__KEY` is a setting.
fn check_variable(place: &str, name: &str) {
    if let Some(path) = name.strip_prefix("MSS_") {
        let key = path.to_lowercase().replacen("__", ".", 1);
        assert!(settings().contains(&key), "{place}: {name} is no setting");
    }
}

#[test]
fn units() {
    let units = list("systemd", ".service");
    assert_eq!(units.len(), 4, "{units:?}");
    for unit in units {
        let text = text(&unit);
        let line =
            text.lines().find_map(|line| line.strip_prefix("ExecStart=/usr/bin/mss ")).expect("ExecStart");
        check(&unit, &line.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
        for needed in
            ["Type=notify", "WatchdogSec=", "LimitNOFILE=", "ProtectSystem=strict", "DynamicUser=yes"]
        {
            assert!(text.lines().any(|line| line.starts_with(needed)), "{unit} has no {needed}");
        }
    }
}

#[test]
fn composition() {
    let file = yaml("compose/compose.yml").remove(0);
    let services = file["services"].as_object().expect("services");
    let names: BTreeSet<&String> = services.keys().collect();
    for (name, service) in services {
        if at(service, "/image").starts_with("mss:") {
            check(name, &words(&service["command"]));
            assert_eq!(service["read_only"], true, "{name}");
            for variable in service["environment"].as_object().into_iter().flat_map(|all| all.keys()) {
                check_variable(name, variable);
            }
        }
        let needs = match &service["depends_on"] {
            Value::Array(list) => list.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            Value::Object(map) => map.keys().cloned().collect(),
            _ => Vec::new(),
        };
        assert!(needs.iter().all(|need| names.contains(need)), "{name} needs {needs:?}");
        for volume in items(service, "/volumes").iter().filter_map(Value::as_str) {
            let source = volume.split(':').next().unwrap_or_default();
            if let Some(path) = source.strip_prefix('.') {
                let made_by_hand = ["/tls.pem", "/tls-key.pem"].contains(&path);
                let there = crate::files::deploy().join("compose").join(source).exists();
                assert!(there || made_by_hand, "{name} mounts {source}");
            } else {
                assert!(
                    file["volumes"].get(source).is_some(),
                    "{name} mounts {source}, which is not declared"
                );
            }
        }
        for config in items(service, "/configs") {
            assert!(file["configs"].get(at(config, "/source")).is_some(), "{name}: {config}");
        }
    }
    // Prometheus scrapes what is there, by names that the alerts know.
    let scrapes = yaml("compose/prometheus.yml").remove(0);
    for job in items(&scrapes, "/scrape_configs") {
        assert!(at(job, "/job_name").starts_with("mss-"), "{job}");
        for target in items(job, "/static_configs/0/targets").iter().filter_map(Value::as_str) {
            let (host, port) = target.split_once(':').expect("host and port");
            let command = words(&services[host]["command"]);
            let admin = command.iter().skip_while(|word| *word != "--admin").nth(1).expect("--admin");
            assert!(admin.ends_with(&format!(":{port}")), "{target} against {admin}");
        }
        for host in items(job, "/dns_sd_configs/0/names").iter().filter_map(Value::as_str) {
            let command = words(&services[host]["command"]);
            let admin = command.iter().skip_while(|word| *word != "--admin").nth(1).expect("--admin");
            let port = &job["dns_sd_configs"][0]["port"];
            assert!(admin.ends_with(&format!(":{port}")), "{host} against {admin}");
        }
    }
}

#[test]
fn manifests() {
    let mut seen = 0;
    for file in ["kubernetes/base/store.yaml", "kubernetes/base/imap.yaml", "kubernetes/base/push.yaml"] {
        for document in yaml(file) {
            for container in items(&document, "/spec/template/spec/containers") {
                check(file, &words(&container["args"]));
                seen += 1;
                for variable in items(container, "/env") {
                    check_variable(file, at(variable, "/name"));
                }
            }
        }
    }
    assert_eq!(seen, 3);
}

/// The files of settings that manifests carry are read by the binary, and each key is one it knows.
#[test]
fn settings_of_manifests() {
    for file in list("kubernetes", ".toml") {
        let mut section = String::new();
        for line in text(&file).lines() {
            if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                name.clone_into(&mut section);
            } else if let Some((key, _)) = line.split_once(" = ") {
                let key = format!("{section}.{key}");
                assert!(settings().contains(&key), "{file}: {key} is no setting");
            }
        }
    }
}
