//! Connections that log in, select their folder, idle, and stay.

use std::cell::RefCell;
use std::sync::atomic::Ordering;
use std::time::Instant;

use crate::connection::Fault;
use crate::record::Record;

use super::session::Session;
use super::{Shared, begin, ready};

pub async fn run(shared: &Shared, index: u32, record: &RefCell<Record>) -> Result<(), Fault> {
    let opened = async {
        let _turn = shared.turn().await;
        let from = Instant::now();
        let mut session = Session::open(shared, index).await?;
        let folder = session.facts.folder.clone();
        session.connection.command(&format!("SELECT \"{folder}\""), |_| {}).await?;
        session.connection.begin();
        session.connection.out().extend_from_slice(b"IDLE");
        session.connection.end();
        session.connection.until_continued().await?;
        session.connection.shrink();
        Ok((session, from.elapsed()))
    };
    let (mut session, took) = ready(shared, opened.await)?;
    {
        let mut record = record.borrow_mut();
        record.series[0].latencies.record(took);
        record.series[0].units += 1;
    }
    shared.done.fetch_add(1, Ordering::Relaxed);
    let window = begin(shared).await?;
    tokio::select! {
        ended = session.connection.exchange(|_| false) => ended,
        () = tokio::time::sleep_until(window.to.into()) => Ok(()),
    }
}
