//! Sessions that only come and go.

use std::cell::RefCell;
use std::sync::atomic::Ordering;
use std::time::Instant;

use crate::connection::Fault;
use crate::pace::Next;
use crate::record::Record;

use super::session::log_in;
use super::timer::Timer;
use super::{Shared, begin, ready};

pub async fn run(shared: &Shared, index: u32, record: &RefCell<Record>) -> Result<(), Fault> {
    let connections = shared.plan.profile.load.connections;
    let timer = Timer::new().map_err(Fault::from);
    let timer = ready(shared, timer)?;
    let window = begin(shared).await?;
    let mut pace = shared.pace(window, index);
    let mut account = index;
    loop {
        let due = match pace.next(Instant::now()) {
            Next::Start(due) => due,
            Next::Wait(at) => {
                timer.until(at).await?;
                continue;
            }
            Next::Over => return Ok(()),
        };
        let session = async {
            let connection = log_in(&shared.plan, account % shared.plan.target.count).await?;
            connection.logout().await
        };
        let ended = session.await;
        let mut record = record.borrow_mut();
        match ended {
            Ok(()) => {
                record.operation(0, &window, shared.open_loop(), due, Instant::now(), 1);
                shared.done.fetch_add(1, Ordering::Relaxed);
            }
            Err(Fault::Refused { answer, .. }) => {
                record.errors.no += 1;
                record.errors.sample(answer);
            }
            Err(fault) => {
                record.errors.lost += 1;
                record.errors.sample(fault.to_string());
            }
        }
        account = account.wrapping_add(connections);
    }
}
