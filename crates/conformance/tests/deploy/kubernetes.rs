//! The manifests refer to things that are there.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::files::{at, deploy, items, yaml};

fn all() -> Vec<Value> {
    let base = yaml("kubernetes/base/kustomization.yaml").remove(0);
    let files = items(&base, "/resources").iter().filter_map(Value::as_str);
    files.flat_map(|file| yaml(&format!("kubernetes/base/{file}"))).collect()
}

fn workloads(all: &[Value]) -> Vec<&Value> {
    all.iter().filter(|one| one.pointer("/spec/template").is_some()).collect()
}

/// Whether all of `wanted`'s labels are on the pods of `workload`.
fn selects(wanted: &Value, workload: &Value) -> bool {
    let labels = &workload["spec"]["template"]["metadata"]["labels"];
    wanted.as_object().is_some_and(|wanted| wanted.iter().all(|(key, value)| labels.get(key) == Some(value)))
}

fn port_names(workload: &Value) -> BTreeSet<&str> {
    items(workload, "/spec/template/spec/containers/0/ports").iter().map(|port| at(port, "/name")).collect()
}

#[test]
fn overlays_build_on_what_is_there() {
    let overlay = yaml("kubernetes/overlays/production/kustomization.yaml").remove(0);
    for resource in items(&overlay, "/resources").iter().filter_map(Value::as_str) {
        let path = deploy().join("kubernetes/overlays/production").join(resource);
        assert!(path.join("kustomization.yaml").is_file(), "{resource}");
    }
    let all = all();
    for patch in items(&overlay, "/patches") {
        let (kind, name) = (at(patch, "/target/kind"), at(patch, "/target/name"));
        assert!(
            all.iter().any(|one| at(one, "/kind") == kind && at(one, "/metadata/name") == name),
            "{kind} {name}"
        );
    }
}

#[test]
fn pods_are_careful() {
    let all = all();
    let workloads = workloads(&all);
    assert_eq!(workloads.len(), 3);
    for workload in workloads {
        let name = at(workload, "/metadata/name");
        let pod = &workload["spec"]["template"]["spec"];
        let container = &pod["containers"][0];
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true, "{name}");
        assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true, "{name}");
        assert_eq!(container["securityContext"]["allowPrivilegeEscalation"], false, "{name}");
        assert_eq!(pod["automountServiceAccountToken"], false, "{name}");
        let apart = items(pod, "/affinity/podAntiAffinity/requiredDuringSchedulingIgnoredDuringExecution");
        assert!(apart.iter().all(|term| selects(&term["labelSelector"]["matchLabels"], workload)), "{name}");
        assert!(!apart.is_empty(), "{name}");
        for (probe, path) in
            [("startupProbe", "/healthz"), ("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")]
        {
            assert_eq!(container[probe]["httpGet"]["path"], path, "{name} {probe}");
            assert!(
                port_names(workload).contains(at(container, &format!("/{probe}/httpGet/port"))),
                "{name} {probe}"
            );
        }
        let volumes: BTreeSet<&str> =
            items(pod, "/volumes").iter().map(|volume| at(volume, "/name")).collect();
        let mounts: BTreeSet<&str> =
            items(container, "/volumeMounts").iter().map(|mount| at(mount, "/name")).collect();
        assert_eq!(volumes, mounts, "{name}");
        assert!(
            all.iter().any(|one| at(one, "/kind") == "PodDisruptionBudget"
                && selects(&one["spec"]["selector"]["matchLabels"], workload)),
            "{name} has no disruption budget"
        );
    }
}

#[test]
fn services_policies_and_scalers_find_their_pods() {
    let all = all();
    let workloads = workloads(&all);
    for one in &all {
        let (kind, name) = (at(one, "/kind"), at(one, "/metadata/name"));
        match kind {
            "Service" => {
                let pods: Vec<_> =
                    workloads.iter().filter(|pods| selects(&one["spec"]["selector"], pods)).collect();
                assert_eq!(pods.len(), 1, "{name}");
                for port in items(one, "/spec/ports") {
                    assert!(port_names(pods[0]).contains(at(port, "/targetPort")), "{name}: {port}");
                }
            }
            "NetworkPolicy"
                if !at(one, "/spec/podSelector/matchLabels/app.kubernetes.io~1name").is_empty() =>
            {
                let wanted = &one["spec"]["podSelector"]["matchLabels"];
                let pods = workloads.iter().find(|pods| selects(wanted, pods));
                let pods = pods.unwrap_or_else(|| panic!("{name} selects nothing"));
                for port in items(one, "/spec/ingress").iter().flat_map(|rule| items(rule, "/ports")) {
                    assert!(port_names(pods).contains(at(port, "/port")), "{name}: {port}");
                }
            }
            "HorizontalPodAutoscaler" => {
                let (kind, target) =
                    (at(one, "/spec/scaleTargetRef/kind"), at(one, "/spec/scaleTargetRef/name"));
                let found =
                    workloads.iter().any(|w| at(w, "/kind") == kind && at(w, "/metadata/name") == target);
                assert!(found, "{name} scales {kind} {target}");
            }
            _ => {}
        }
    }
}
