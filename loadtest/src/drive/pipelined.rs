//! The fast path: operations that are one command each, up to `depth` of them under way.

use std::cell::RefCell;
use std::sync::atomic::Ordering;
use std::time::Instant;

use crate::connection::Fault;
use crate::pace::Next;
use crate::record::Record;
use crate::scan::{Kind, Status};

use super::session::Session;
use super::timer::Timer;
use super::{Shared, begin};

struct UnderWay {
    tag: u32,
    which: usize,
    due: Instant,
}

pub async fn run(
    shared: &Shared,
    index: u32,
    mut session: Session,
    record: &RefCell<Record>,
) -> Result<(), Fault> {
    let window = begin(shared).await?;
    let plan = &shared.plan;
    let depth = plan.profile.load.depth as usize;
    let open = shared.open_loop();
    let timer = if open { Some(Timer::new()?) } else { None };
    let mut pace = shared.pace(window, index);
    let mut under_way: Vec<UnderWay> = Vec::with_capacity(depth);
    let mut untagged = 0;
    loop {
        let mut wait = None;
        while under_way.len() < depth {
            match pace.next(Instant::now()) {
                Next::Start(due) => {
                    let which = plan.choose(session.facts.random.next_u64());
                    let tag = session.write(shared, which).await?;
                    under_way.push(UnderWay { tag, which, due });
                }
                Next::Wait(at) => {
                    wait = Some(at);
                    break;
                }
                Next::Over => break,
            }
        }
        if under_way.is_empty() {
            match (wait, &timer) {
                (Some(at), Some(timer)) => timer.until(at).await?,
                _ => return Ok(()),
            }
            continue;
        }
        let exchange = session.connection.exchange(|response| match response.kind {
            Kind::Tagged(tag, status) => {
                let now = Instant::now();
                let Some(at) = under_way.iter().position(|command| command.tag == tag) else { return false };
                let command = under_way.swap_remove(at);
                let task = &plan.tasks[command.which];
                let mut record = record.borrow_mut();
                // With one command under way all that came before its answer is its own.
                let thin = depth == 1 && untagged < task.work.untagged_min;
                untagged = 0;
                match status {
                    Status::Ok if thin => {
                        record.errors.thin += 1;
                        record.errors.sample(String::from_utf8_lossy(response.text));
                    }
                    Status::Ok => {
                        record.operation(task.series, &window, open, command.due, now, task.work.messages);
                        shared.done.fetch_add(1, Ordering::Relaxed);
                    }
                    Status::No | Status::Bad => {
                        if status == Status::No {
                            record.errors.no += 1;
                        } else {
                            record.errors.bad += 1;
                        }
                        record.errors.sample(String::from_utf8_lossy(response.text));
                    }
                }
                true
            }
            _ => {
                untagged += 1;
                false
            }
        });
        match (wait, &timer) {
            (Some(at), Some(timer)) => tokio::select! {
                biased;
                exchanged = exchange => exchanged?,
                waited = timer.until(at) => waited?,
            },
            _ => exchange.await?,
        }
    }
}
