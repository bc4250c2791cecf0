//! The engine suite on a real cluster, when `MSS_FDB_CLUSTER_FILE` names one (and `MSS_FDB_LIBRARY` the client library,
//! if the dynamic loader does not find it). Every case works under random keys of its own and removes them.
//!
//! `MSS_FDB_DISTURBED=ROUNDS` runs only the cases that hold under faults, so many times: for whoever kills the cluster's
//! processes meanwhile.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use kv::suite;
use kv_fdb::{FdbEngine, NetworkGuard, Options};

fn cluster() -> Option<Options> {
    let Some(cluster_file) = std::env::var_os("MSS_FDB_CLUSTER_FILE") else {
        // Past what the test harness captures: whoever reads the output is to see it.
        let _ = writeln!(
            std::io::stderr(),
            "==== NOT RUN: MSS_FDB_CLUSTER_FILE names no FoundationDB cluster ===="
        );
        return None;
    };
    Some(Options {
        cluster_file: Some(cluster_file.into()),
        library: std::env::var_os("MSS_FDB_LIBRARY").map(PathBuf::from),
        ..Options::default()
    })
}

/// One test, so that one guard spans all that uses the client.
#[test]
fn on_foundationdb() {
    let Some(options) = cluster() else { return };
    let _network = NetworkGuard::new();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        if let Ok(rounds) = std::env::var("MSS_FDB_DISTURBED") {
            let engine = FdbEngine::open(options).await.unwrap();
            for round in 1..=rounds.parse().unwrap() {
                println!("round {round}");
                let cases = |case: &suite::Case| case.needs == suite::Needs::Nothing;
                suite::report(&suite::run_selected(|| engine.clone(), cases).await);
            }
            return;
        }
        // At the root of the key space, and under the longest prefix that an installation may have.
        for prefix in [Vec::new(), b"kv-fdb tests, 32 bytes long ...!".to_vec()] {
            println!("under {:?}", String::from_utf8_lossy(&prefix));
            let engine = FdbEngine::open(Options { prefix, ..options.clone() }).await.unwrap();
            suite::report(&suite::run_all(|| engine.clone()).await);
            engine.close();
        }
    });
    runtime.shutdown_timeout(Duration::from_secs(5));
}
