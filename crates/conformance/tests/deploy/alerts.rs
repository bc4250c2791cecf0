//! Each alert has a runbook, and cases in which it fires and is quiet. (`cargo xtask deploy` runs the cases.)

use std::collections::BTreeSet;

use serde_json::Value;

use crate::files::{at, items, list, text, yaml};

fn rules() -> Vec<Value> {
    let groups = yaml("prometheus/mss.rules.yml").remove(0);
    items(&groups, "/groups").iter().flat_map(|group| items(group, "/rules").to_vec()).collect()
}

#[test]
fn runbooks_and_alerts_are_the_same() {
    let alerts: BTreeSet<String> = rules().iter().map(|rule| at(rule, "/alert").to_owned()).collect();
    let runbooks: BTreeSet<String> = list("runbooks", ".md")
        .iter()
        .map(|path| path.trim_start_matches("runbooks/").trim_end_matches(".md").to_owned())
        .collect();
    assert_eq!(alerts, runbooks);
    for rule in rules() {
        let name = at(&rule, "/alert");
        assert_eq!(at(&rule, "/annotations/runbook"), format!("deploy/runbooks/{name}.md"));
        let runbook = text(&format!("runbooks/{name}.md"));
        for part in [&format!("# {name}\n"), "\n## Look here\n", "\n## Do this\n"] {
            assert!(runbook.contains(part), "{name}.md has no {part:?}");
        }
    }
}

#[test]
fn each_alert_has_a_case_that_fires_and_one_that_is_quiet() {
    let tests = yaml("prometheus/mss.rules.test.yml").remove(0);
    let (mut fires, mut quiet) = (BTreeSet::new(), BTreeSet::new());
    for case in items(&tests, "/tests").iter().flat_map(|test| items(test, "/alert_rule_test")) {
        let kind = if items(case, "/exp_alerts").is_empty() { &mut quiet } else { &mut fires };
        kind.insert(at(case, "/alertname").to_owned());
    }
    let alerts: BTreeSet<String> = rules().iter().map(|rule| at(rule, "/alert").to_owned()).collect();
    assert_eq!((&fires, &quiet), (&alerts, &alerts));
}
