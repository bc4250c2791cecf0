//! Runs a plan: opens the connections, starts the load at one moment, stops it, and puts the counts together.
//!
//! Each worker is a thread with a single-threaded runtime and its share of the connections; what it counts it
//! shares with nobody until the end. One worker is the default, for the client usually shares the processors with
//! the server it measures.

mod idle;
mod login;
mod notify;
mod pipelined;
mod push;
mod sequential;
mod session;
mod timer;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tokio::sync::{Semaphore, SemaphorePermit, mpsc, watch};
use tokio::task::LocalSet;

use crate::connection::{Capabilities, Fault};
use crate::enabler::Enabler;
use crate::pace::{Pace, Window};
use crate::plan::Plan;
use crate::processes::{Memory, ProcessSet, own_cpu_seconds};
use crate::profile::Action;
use crate::progress::Progress;
use crate::record::Record;

/// Logins under way at the same time while connections are opened.
const LOGINS_AT_ONCE: usize = 32;
/// How long after the end of the load an answer is waited for.
const GRACE: Duration = Duration::from_secs(60);
/// Longest run of a fixed number of operations.
const OPERATIONS_TIME_MAX: Duration = Duration::from_secs(3_600);
/// How long all connections together may take to open.
const OPEN_TIME_MAX: Duration = Duration::from_secs(1_800);
/// The server's memory is looked at this long after connections came or went.
const SETTLE: Duration = Duration::from_secs(2);
/// Between two updates of the progress line.
const PROGRESS_EVERY: Duration = Duration::from_millis(250);

/// What came out of a run, before it is made readable.
#[derive(Debug)]
pub struct Outcome {
    /// All workers' counts.
    pub record: Record,
    /// From the start of counting to its end.
    pub counted: Duration,
    /// CPU seconds of the server's processes in that time.
    pub server_cpu: Option<f64>,
    /// CPU seconds of this process in that time.
    pub client_cpu: f64,
    /// The server's memory before the first connection and with all of them open.
    pub memory: Option<(Memory, Memory)>,
    /// Connections that were open.
    pub connections: u32,
    /// How long it took to open them.
    pub opening: Duration,
}

/// What all connections of a run see.
struct Shared {
    plan: Arc<Plan>,
    capabilities: Capabilities,
    /// Set when all connections are ready.
    window: watch::Receiver<Option<Window>>,
    /// Told once by each connection.
    ready: mpsc::UnboundedSender<Result<(), Fault>>,
    logins: Semaphore,
    /// Where notices come, when that is what is measured.
    enabler: Option<Enabler>,
    /// Operations still to start, when their number is fixed.
    left: Option<AtomicU64>,
    /// Operations done, for the progress line.
    done: AtomicU64,
}

impl Shared {
    fn pace(&self, window: Window, index: u32) -> Pace<'_> {
        let load = &self.plan.profile.load;
        Pace::new(window, load.rate, self.left.as_ref(), index, load.connections)
    }

    /// Waits until this connection may log in; dropping the turn lets the next one.
    async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        // An error means that the semaphore was closed, which nothing does.
        self.logins.acquire().await.ok()
    }

    fn open_loop(&self) -> bool {
        self.plan.profile.load.rate.is_some()
    }
}

/// Runs `plan` on `threads` workers.
///
/// # Errors
/// When no connection could be opened, or a thread could not be started.
pub async fn drive(
    plan: &Arc<Plan>,
    capabilities: Capabilities,
    threads: u32,
    progress: &Progress,
) -> anyhow::Result<Outcome> {
    let load = &plan.profile.load;
    let processes =
        ProcessSet::find(&plan.target.pid, plan.target.host_and_port().map_or(0, |(_, port)| port));
    let idle = plan.tasks.iter().any(|task| task.work.action == Action::Idle);
    let mut memory_before = None;
    if idle {
        // What the preparation left behind goes away first.
        tokio::time::sleep(SETTLE).await;
        memory_before = Some(processes.memory());
    }

    let mut enabler = None;
    if plan.tasks.iter().any(|task| task.work.action == Action::Push) {
        anyhow::ensure!(
            !plan.target.push.is_empty(),
            "this profile plays the PUSH enabler: say push=HOST:PORT in the target, where the server's push.url points"
        );
        enabler = Some(Enabler::start(&plan.target.push).await?);
    }
    let (window_sender, window) = watch::channel(None);
    let (ready, mut readiness) = mpsc::unbounded_channel();
    let shared = Arc::new(Shared {
        plan: Arc::clone(plan),
        capabilities,
        window,
        ready,
        logins: Semaphore::new(LOGINS_AT_ONCE),
        enabler,
        left: load.operations.map(AtomicU64::new),
        done: AtomicU64::new(0),
    });
    let (stop, stopped) = watch::channel(false);
    let (records, recorded) = mpsc::unbounded_channel();
    let threads = threads.clamp(1, load.connections);
    for worker in 0..threads {
        let (shared, stopped, records) = (Arc::clone(&shared), stopped.clone(), records.clone());
        std::thread::Builder::new()
            .name(format!("load-{worker}"))
            .spawn(move || {
                // The receiver is gone only when the run was given up.
                let _ = records.send(work(&shared, worker, threads, stopped));
            })
            .context("cannot start a thread")?;
    }
    drop(records);

    let (connections, opening) = opened(&mut readiness, load.connections, progress).await?;
    let mut memory = None;
    if let Some(before) = memory_before {
        tokio::time::sleep(SETTLE).await;
        memory = (!processes.is_empty()).then(|| (before, processes.memory()));
    }

    let fixed = load.operations.is_some();
    let load_from = Instant::now() + Duration::from_millis(5);
    let from = load_from + if fixed { Duration::ZERO } else { Duration::from_secs_f64(load.warmup_s) };
    let to = from + if fixed { OPERATIONS_TIME_MAX } else { Duration::from_secs_f64(load.duration_s) };
    let window = Window { load_from, from, to };
    window_sender.send_replace(Some(window));
    progress.begin("measuring", load.operations.unwrap_or((to - load_from).as_millis() as u64));
    let mut collected =
        Collected { records: recorded, sum: Record::new(plan.profile.series().len()), missing: threads };
    collected.watch_until(from, &shared, load_from, progress).await?;
    let (server_before, client_before) = (processes.cpu_seconds(), own_cpu_seconds());
    collected.watch_until(to, &shared, load_from, progress).await?;
    let mut after = (processes.cpu_seconds(), own_cpu_seconds());
    let mut counted = Instant::now().min(to).saturating_duration_since(from);
    // Workers whose server stopped answering are told to give up.
    match tokio::time::timeout(GRACE, collected.rest()).await {
        Ok(all) => all?,
        Err(_elapsed) => {
            stop.send_replace(true);
            collected.rest().await?;
        }
    }
    let mut record = collected.sum;
    if let Some(rate) = load.rate
        && record.errors.unanswered + record.errors.lost > 0
        && !plan.has_gaps()
    {
        let due = due_between(rate, from - load_from, to - load_from);
        let answered: u64 = plan.tasks.iter().map(|task| record.series[task.series].latencies.count()).sum();
        let refused = record.errors.no + record.errors.bad + record.errors.thin;
        record.errors.unsent = due.saturating_sub(answered + refused + record.errors.unanswered);
    }
    progress.end();
    // Operations of an open loop may end late; of a fixed number, the last one ends it.
    if let Some(end) = record.last_end
        && (fixed || end > to)
    {
        counted = end.saturating_duration_since(from);
        after = (processes.cpu_seconds(), own_cpu_seconds());
    }
    Ok(Outcome {
        record,
        counted,
        // Less than before means that a root process ended.
        server_cpu: Some(after.0 - server_before).filter(|cpu| !processes.is_empty() && *cpu >= 0.0),
        client_cpu: after.1 - client_before,
        memory,
        connections,
        opening,
    })
}

/// Waits until every connection is ready or failed: how many are ready, and how long that took.
async fn opened(
    readiness: &mut mpsc::UnboundedReceiver<Result<(), Fault>>,
    wanted: u32,
    progress: &Progress,
) -> anyhow::Result<(u32, Duration)> {
    progress.begin("opening connections", u64::from(wanted));
    let from = Instant::now();
    let mut connections = 0;
    let mut failure = None;
    for _ in 0..wanted {
        let left = OPEN_TIME_MAX.saturating_sub(from.elapsed());
        match tokio::time::timeout(left, readiness.recv()).await {
            Ok(Some(Ok(()))) => connections += 1,
            Ok(Some(Err(fault))) => {
                failure.get_or_insert(fault);
            }
            Ok(None) | Err(_) => break,
        }
        progress.advance(1);
    }
    match failure {
        _ if connections > 0 => Ok((connections, from.elapsed())),
        Some(fault) => Err(anyhow::Error::new(fault).context("no connection could be opened")),
        None => bail!("no connection was ready in time"),
    }
}

/// How many operations of a schedule of `rate` a second are due from `from` on and before `to`.
fn due_between(rate: f64, from: Duration, to: Duration) -> u64 {
    let before = |time: Duration| (time.as_secs_f64() * rate).ceil() as u64;
    before(to) - before(from)
}

/// The counts of the workers that are done.
struct Collected {
    records: mpsc::UnboundedReceiver<std::io::Result<Record>>,
    sum: Record,
    /// Workers that are not done.
    missing: u32,
}

impl Collected {
    /// Shows progress until `until`, or until the last worker is done.
    async fn watch_until(
        &mut self,
        until: Instant,
        shared: &Shared,
        from: Instant,
        progress: &Progress,
    ) -> anyhow::Result<()> {
        let mut before = shared.done.load(Ordering::Relaxed);
        while self.missing > 0 && Instant::now() < until {
            let step = PROGRESS_EVERY.min(until.saturating_duration_since(Instant::now()));
            if let Ok(next) = tokio::time::timeout(step, self.next()).await {
                next?;
                continue;
            }
            let done = shared.done.load(Ordering::Relaxed);
            let position = if shared.left.is_some() { done } else { from.elapsed().as_millis() as u64 };
            progress.measured(position, done, done - before, step);
            before = done;
        }
        Ok(())
    }

    /// Waits for all that are missing.
    async fn rest(&mut self) -> anyhow::Result<()> {
        while self.missing > 0 {
            self.next().await?;
        }
        Ok(())
    }

    async fn next(&mut self) -> anyhow::Result<()> {
        let record = self.records.recv().await.context("a worker ended without its counts")?;
        self.missing -= 1;
        self.sum.add(&record.context("a worker failed")?);
        Ok(())
    }
}

/// One worker thread: every `threads`th connection from `worker` on.
fn work(
    shared: &Arc<Shared>,
    worker: u32,
    threads: u32,
    mut stopped: watch::Receiver<bool>,
) -> std::io::Result<Record> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let record = Rc::new(RefCell::new(Record::new(shared.plan.profile.series().len())));
    let local = LocalSet::new();
    let mut tasks = tokio::task::JoinSet::new();
    for index in (worker..shared.plan.profile.load.connections).step_by(threads as usize) {
        let (shared, record) = (Arc::clone(shared), Rc::clone(&record));
        tasks.spawn_local_on(
            async move {
                if let Err(fault) = connection(&shared, index, &record).await {
                    let mut record = record.borrow_mut();
                    record.errors.lost += 1;
                    record.errors.sample(fault.to_string());
                }
            },
            &local,
        );
    }
    runtime.block_on(local.run_until(async {
        loop {
            tokio::select! {
                ended = tasks.join_next() => if ended.is_none() { break },
                _ = stopped.wait_for(|stop| *stop) => {
                    record.borrow_mut().errors.unanswered += tasks.len() as u64;
                    break;
                }
            }
        }
    }));
    drop(tasks);
    drop(local);
    let record = record.borrow().clone();
    Ok(record)
}

/// One connection from its opening to its end.
async fn connection(shared: &Shared, index: u32, record: &RefCell<Record>) -> Result<(), Fault> {
    match shared.plan.tasks[0].work.action {
        Action::Login => login::run(shared, index, record).await,
        Action::Notify => notify::run(shared, index, record).await,
        Action::Idle => idle::run(shared, index, record).await,
        Action::Push => push::run(shared, index, record).await,
        Action::Append | Action::Command => {
            let opened = async {
                let _turn = shared.turn().await;
                session::Session::open(shared, index).await
            };
            let session = ready(shared, opened.await)?;
            let at_once = shared.capabilities.sends_at_once(shared.plan.contents.bytes());
            let waits = shared.plan.tasks.iter().any(|task| task.work.action == Action::Append) && !at_once;
            if shared.plan.has_gaps() || waits {
                sequential::run(shared, index, session, record).await
            } else {
                pipelined::run(shared, index, session, record).await
            }
        }
    }
}

/// Tells that a connection is ready or failed; a failure ends it.
fn ready<T>(shared: &Shared, opened: Result<T, Fault>) -> Result<T, Fault> {
    match opened {
        Ok(opened) => {
            // The receiver is gone only when the run was given up.
            let _ = shared.ready.send(Ok(()));
            Ok(opened)
        }
        Err(fault) => {
            let text = fault.to_string();
            let _ = shared.ready.send(Err(fault));
            Err(Fault::Io(std::io::Error::other(text)))
        }
    }
}

/// Waits for all connections to be ready and for the load to begin.
async fn begin(shared: &Shared) -> Result<Window, Fault> {
    let mut receiver = shared.window.clone();
    let window = receiver.wait_for(Option::is_some).await.ok().and_then(|window| *window);
    let window = window.ok_or(Fault::Late("the start of the load"))?;
    tokio::time::sleep_until(window.load_from.into()).await;
    Ok(window)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_due_in_a_window_are_counted() {
        let s = Duration::from_secs;
        assert_eq!(due_between(100.0, s(1), s(3)), 200);
        assert_eq!(due_between(0.5, s(0), s(3)), 2);
    }
}
