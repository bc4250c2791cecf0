//! The processes themselves: how they are confined, and what happens when one is killed. One test, which looks at all
//! children of this process.

use std::time::Duration;

use bytes::Bytes;
use convert::{Converter, Key, Options, Planned, Source, Target, plan};
use model::{AccountId, BodyId};
use rustix::process::{Pid, Signal, kill_process};

fn children() -> Vec<i32> {
    let tasks = std::fs::read_dir("/proc/self/task").expect("tasks");
    let of_tasks = tasks.map(|task| {
        std::fs::read_to_string(task.expect("a task").path().join("children")).unwrap_or_default()
    });
    of_tasks
        .flat_map(|pids| {
            pids.split_ascii_whitespace().map(|pid| pid.parse().expect("a pid")).collect::<Vec<_>>()
        })
        .collect()
}

#[tokio::test]
async fn workers_are_confined_and_replaced() {
    let converter = Converter::new(Options {
        program: (env!("CARGO_BIN_EXE_convert-worker").into(), Vec::new()),
        workers: 1,
        memory_bytes_max: 64 << 20,
        cpu_seconds_max: 5,
        time_max: Duration::from_secs(120),
        source_bytes_max: 1 << 20,
        cache_bytes: 0,
    });
    let convert = async |body| {
        let Planned::Job(job) = plan(Source::Plain, "", Target::Plain, &[]) else { panic!("a job") };
        let key = Key { account: AccountId(1), body: BodyId(body), part: vec![1], job };
        let done = converter.convert(key, 1, async { Ok(Bytes::from_static(b"x")) }).await;
        done.expect("an answer").expect("text").octets.clone()
    };
    assert_eq!(convert(1).await, "x");
    let first = children();
    assert_eq!(first.len(), 1, "one worker: {first:?}");

    let proc = |name: &str| std::fs::read_to_string(format!("/proc/{}/{name}", first[0])).expect(name);
    let limits = proc("limits");
    let limit = |name: &str| {
        let line = limits.lines().find_map(|line| line.strip_prefix(name)).expect(name);
        line.split_ascii_whitespace().nth(1).and_then(|hard| hard.parse::<u64>().ok())
    };
    for name in ["Max open files", "Max processes", "Max file size", "Max core file size"] {
        assert_eq!(limit(name), Some(0), "{limits}");
    }
    assert!(limit("Max address space").is_some_and(|bytes| bytes < 1 << 30), "{limits}");
    assert!(limit("Max data size").is_some_and(|bytes| bytes < 1 << 27), "{limits}");
    assert_eq!(
        proc("environ").split('\0').filter(|variable| !variable.is_empty()).count(),
        1,
        "the allocator's"
    );
    let files = std::fs::read_dir(format!("/proc/{}/fd", first[0])).expect("files").count();
    assert_eq!(files, 3, "standard ones");

    assert_eq!(convert(2).await, "x");
    assert_eq!(children(), first, "the same worker");
    kill_process(Pid::from_raw(first[0]).expect("a pid"), Signal::KILL).expect("killed");
    assert_eq!(convert(3).await, "x", "another takes its place");
    let second = children();
    assert!(!second.contains(&first[0]), "{second:?}");

    converter.rest();
    for _ in 0..600 {
        if children().is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("workers at rest end: {:?}", children());
}
