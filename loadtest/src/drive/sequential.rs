//! One operation after the other, each with parts that are not measured: commands before it, a new session, caches
//! dropped.

use std::cell::RefCell;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::connection::Fault;
use crate::eviction::evict;
use crate::pace::Next;
use crate::record::Record;
use crate::scan::{Kind, Status};

use super::session::Session;
use super::timer::Timer;
use super::{Shared, begin};

pub async fn run(
    shared: &Shared,
    index: u32,
    mut session: Session,
    record: &RefCell<Record>,
) -> Result<(), Fault> {
    let window = begin(shared).await?;
    let plan = &shared.plan;
    let open = shared.open_loop();
    let mut pace = shared.pace(window, index);
    let timer = Timer::new()?;
    loop {
        let mut due = match pace.next(Instant::now()) {
            Next::Start(due) => due,
            Next::Wait(at) => {
                timer.until(at).await?;
                continue;
            }
            Next::Over => return Ok(()),
        };
        if plan.profile.load.pause_ms > 0 {
            let pause = plan.profile.load.pause_ms * 1_000;
            let pause = pause + session.facts.random.below(pause);
            tokio::time::sleep(Duration::from_micros(pause)).await;
        }
        let which = plan.choose(session.facts.random.next_u64());
        let task = &plan.tasks[which];
        session.run(&task.before).await?;
        if task.work.fresh_session {
            session.reopen(shared, index).await?;
        }
        if task.work.evict
            && let Some(folder) = &plan.target.data
        {
            evict(folder)?;
        }
        if !open || task.work.has_gaps() {
            due = Instant::now();
        }
        let tag = session.write(shared, which).await?;
        let mut untagged = 0;
        let mut answer = Vec::new();
        let status = session
            .connection
            .finish(tag, |response| match response.kind {
                Kind::Tagged(_, Status::Ok) => {}
                Kind::Tagged(..) => answer.extend_from_slice(response.text),
                _ => untagged += 1,
            })
            .await?;
        let end = Instant::now();
        let mut record = record.borrow_mut();
        match status {
            Status::Ok if untagged < task.work.untagged_min => {
                record.errors.thin += 1;
                record.errors.sample(format!("{}: {untagged} untagged responses", task.work.name));
            }
            Status::Ok => {
                record.operation(
                    task.series,
                    &window,
                    open && !task.work.has_gaps(),
                    due,
                    end,
                    task.work.messages,
                );
                shared.done.fetch_add(1, Ordering::Relaxed);
            }
            Status::No => record.errors.no += 1,
            Status::Bad => record.errors.bad += 1,
        }
        if !answer.is_empty() {
            record.errors.sample(String::from_utf8_lossy(&answer));
        }
    }
}
