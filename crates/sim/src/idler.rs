//! A client that does nothing but wait for news.

use std::sync::Arc;
use std::time::Duration;

use model::AccountId;
use rand::Rng;

use crate::phone::{FOLDERS, Phone};
use crate::view::{View, any};
use crate::wire::Lost;
use crate::world::{Phase, World};

/// A client in IDLE.
pub struct Idler {
    phone: Phone,
    folder: &'static str,
}

impl Idler {
    pub fn new(world: &Arc<World>, number: usize, account: AccountId, user: &str) -> Self {
        Self { phone: Phone::new(world, number, account, user), folder: FOLDERS[number % FOLDERS.len()] }
    }

    /// Waits, through every trouble; when all is quiet it must know all, without having asked.
    pub async fn wait(mut self) {
        loop {
            match self.session().await {
                Ok(()) => return,
                Err(Lost) => {
                    self.phone.hang_up("has lost the connection");
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            }
        }
    }

    async fn session(&mut self) -> Result<(), Lost> {
        self.phone.connect().await?;
        while !self.phone.select(self.folder).await? {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        loop {
            // What came since is learnt before it waits again.
            while let Some(next) = self.phone.view.as_ref().filter(|view| !view.is_whole()).map(View::next) {
                let fetch = format!("UID FETCH {next}:* (FLAGS MODSEQ)");
                if !self.phone.command(&fetch).await?.answer.ok() {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
            if self.idle().await? {
                return Ok(());
            }
        }
    }

    /// One IDLE; whether it was the last.
    async fn idle(&mut self) -> Result<bool, Lost> {
        let world = self.phone.world.clone();
        let Some(mut wire) = self.phone.wire.take() else { return Err(Lost) };
        let tag = wire.begin("IDLE").await?;
        let length = Duration::from_millis(self.phone.chance.random_range(1_000..120_000));
        let until = tokio::time::Instant::now() + length;
        let quiet = loop {
            tokio::select! {
                biased;
                line = wire.line() => {
                    let line = line?;
                    if let Some(untagged) = line.strip_prefix("* ") {
                        self.phone.believe(&[untagged.to_owned()]);
                    }
                }
                () = world.reached(Phase::Quiet) => break true,
                () = tokio::time::sleep_until(until), if !world.is(Phase::Healed) => break false,
            }
        };
        if quiet {
            let now = self.phone.now();
            let states = self.phone.states((now, now));
            let Some(view) = &self.phone.view else { return Err(Lost) };
            if !any(&states, |folder| view.agrees(folder)) {
                self.phone.broken(format_args!("in IDLE it was told {view:?}, and there is {states:?}"));
            }
        }
        wire.send("DONE\r\n").await?;
        let answer = wire.end(&tag).await?;
        self.phone.believe(&answer.untagged);
        self.phone.wire = Some(wire);
        Ok(quiet)
    }
}
