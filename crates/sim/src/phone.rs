//! A client that changes its account, and holds the server to every word.

mod changes;
mod questions;

use std::sync::Arc;
use std::time::Duration;

use model::AccountId;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::history::{Folder, Moment, Window};
use crate::net::FRONT_ENDS;
use crate::plan::Trouble;
use crate::view::{Point, Rows, View, any, same};
use crate::wire::{Answer, Lost, Wire};
use crate::world::{Phase, World};

/// Folders every account has.
pub const FOLDERS: [&str; 3] = ["INBOX", "Default", "RCSMessageStore"];
/// Folders that come and go; the last goes with the one before it.
pub const FLEETING: [&str; 3] = ["Alpha", "RCSMessageStore/Beta", "RCSMessageStore/Beta/Gamma"];
/// Keywords in use.
pub const WORDS: [&str; 2] = ["one", "two"];
/// Points of return that a client remembers.
const POINTS_MAX: usize = 12;
/// Commands of each client after the troubles.
const LAST_STEPS: u32 = 5;
/// Longest pause between two commands, milliseconds.
const PAUSE_MS_MAX: u64 = 400;

/// One client.
pub struct Phone {
    pub number: usize,
    pub account: AccountId,
    pub user: String,
    pub world: Arc<World>,
    pub chance: SmallRng,
    pub wire: Option<Wire>,
    pub view: Option<View>,
    points: Vec<Point>,
    /// Messages it has appended, for names of their own.
    appended: u64,
}

/// A command that was answered.
pub struct Done {
    pub answer: Answer,
    pub window: Window,
}

impl Phone {
    pub fn new(world: &Arc<World>, number: usize, account: AccountId, user: &str) -> Self {
        Self {
            number,
            account,
            user: user.to_owned(),
            world: world.clone(),
            chance: SmallRng::seed_from_u64(world.plan.seed ^ (number as u64 + 1).wrapping_mul(0x9E37_79B9)),
            wire: None,
            view: None,
            points: Vec::new(),
            appended: 0,
        }
    }

    /// Says that the server broke a promise.
    pub fn broken(&self, promise: std::fmt::Arguments<'_>) -> ! {
        self.world.trace.broken(format_args!("phone {}: {promise}", self.number))
    }

    /// Gives commands until all are given and the troubles are over, then looks at every folder once more.
    pub async fn work(mut self) {
        while self.world.take_step() {
            if self.world.plan.has(Trouble::Connections) && self.chance.random_bool(0.01) {
                self.hang_up("drops the connection");
            }
            // In bursts: most commands meet those of others.
            if self.chance.random_bool(0.3) {
                let pause = Duration::from_millis(self.chance.random_range(0..PAUSE_MS_MAX));
                tokio::time::sleep(pause).await;
            }
            if self.step().await.is_err() {
                self.hang_up("has lost the connection");
            }
        }
        self.world.reached(Phase::Healed).await;
        // News for those in IDLE, now that nothing keeps it from them.
        for _ in 0..LAST_STEPS {
            if self.step().await.is_err() {
                self.hang_up("has lost the connection");
            }
        }
        let mut folders: Vec<String> = self.world.names_now(self.account).into_iter().collect();
        while let Some(folder) = folders.last().cloned() {
            match self.look_once_more(&folder).await {
                Ok(()) => drop(folders.pop()),
                Err(Lost) => self.hang_up("has lost the connection"),
            }
        }
    }

    pub fn hang_up(&mut self, why: &str) {
        if self.wire.take().is_some() {
            self.world.trace.say(format_args!("phone {}", self.number), format_args!("{why}"));
        }
        self.view = None;
    }

    pub fn picks<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.chance.random_range(0..of.len())]
    }

    async fn step(&mut self) -> Result<(), Lost> {
        if self.wire.is_none() {
            self.connect().await?;
        }
        if self.view.is_none() {
            return self.select_some().await;
        }
        match self.chance.random_range(0..100) {
            0..22 => self.append().await,
            22..40 => self.store_flags().await,
            40..52 => self.copy().await,
            52..58 => self.expunge().await,
            58..64 => self.search().await,
            64..69 => self.status().await,
            69..73 => self.list().await,
            73..78 => self.read_body().await,
            78..83 => self.change_folders().await,
            83..86 => self.trespass().await,
            86..92 => self.select_some().await,
            _ => Ok(()),
        }?;
        self.settle().await
    }

    pub async fn connect(&mut self) -> Result<(), Lost> {
        let front_end = self.chance.random_range(0..FRONT_ENDS);
        let Some(stream) = self.world.net.connect(front_end) else {
            tokio::time::sleep(Duration::from_millis(300)).await;
            return Err(Lost);
        };
        let name = format!("phone {}@{front_end}", self.number);
        let mut wire = Wire::open(stream, name, self.world.trace.clone()).await?;
        if !wire.command(&format!("LOGIN {} {}", self.user, crate::world::PASSWORD)).await?.ok() {
            tokio::time::sleep(Duration::from_secs(1)).await;
            return Err(Lost);
        }
        wire.command("ENABLE QRESYNC").await?;
        self.wire = Some(wire);
        Ok(())
    }

    /// Gives a command, and believes what is told with it.
    pub async fn command(&mut self, command: &str) -> Result<Done, Lost> {
        let from = self.world.history.now();
        let Some(wire) = &mut self.wire else { return Err(Lost) };
        let answer = wire.command(command).await?;
        // The selected folder is gone, or the front end stops.
        if answer.untagged.iter().any(|line| line.starts_with("BYE ")) {
            return Err(Lost);
        }
        let window = (from, self.world.history.now());
        self.believe(&answer.untagged);
        // Its own DELETE.
        if answer.untagged.iter().any(|line| line.starts_with("OK [CLOSED]")) {
            self.view = None;
        }
        Ok(Done { answer, window })
    }

    pub fn believe(&mut self, untagged: &[String]) {
        let Some(view) = &mut self.view else { return };
        for line in untagged {
            if let Err(wrong) = view.believe(line) {
                let view = view.clone();
                self.broken(format_args!("{wrong}: {line} to {view:?}"));
            }
        }
    }

    /// What the selected folder was within a window.
    pub fn states(&self, window: Window) -> Vec<Option<Arc<Folder>>> {
        let Some(view) = &self.view else { return Vec::new() };
        self.world.history.folder(self.account, view.mailbox, window)
    }

    /// The states of the folder of that name within a window, whichever it was.
    pub fn states_of(&self, name: &str, window: Window) -> Vec<Option<Arc<Folder>>> {
        let history = &self.world.history;
        let mut mailboxes: Vec<_> =
            history.names(self.account, window).iter().filter_map(|names| names.get(name).copied()).collect();
        mailboxes.dedup();
        mailboxes.into_iter().flat_map(|mailbox| history.folder(self.account, mailbox, window)).collect()
    }

    // --- looking -----------------------------------------------------------------------------------------------

    /// Asks for news until it knows all, then what it knows must be a state of the folder as of that asking.
    async fn settle(&mut self) -> Result<(), Lost> {
        for _ in 0..8 {
            if self.view.is_none() {
                return Ok(());
            }
            let done = self.command("NOOP").await?;
            if !done.answer.ok() {
                return Ok(());
            }
            let Some(view) = &self.view else { return Ok(()) };
            if view.is_whole() {
                let states = self.states(done.window);
                if !any(&states, |folder| view.is(folder)) {
                    self.broken(format_args!(
                        "after NOOP it knows {:?} of {}, which was none of {states:?}",
                        view.rows, view.name
                    ));
                }
                return Ok(());
            }
            let command = format!("UID FETCH {}:* (FLAGS MODSEQ)", view.next());
            if !self.command(&command).await?.answer.ok() {
                return Ok(());
            }
        }
        Ok(())
    }

    fn some_name(&mut self) -> &'static str {
        let (lasting, fleeting) = (self.picks(&FOLDERS), self.picks(&FLEETING));
        self.picks(&[lasting, fleeting])
    }

    async fn select_some(&mut self) -> Result<(), Lost> {
        let name = self.some_name();
        self.select(name).await.map(drop)
    }

    /// Selects a folder, from a point of return if it has one; whether it could.
    pub async fn select(&mut self, name: &str) -> Result<bool, Lost> {
        if self.view.is_some() {
            self.command("UNSELECT").await?;
            self.view = None;
        }
        let points: Vec<&Point> = self.points.iter().filter(|point| point.name == name).collect();
        let point = match points.len() {
            0 => None,
            count => Some(points[self.chance.random_range(0..count)].clone()),
        };
        let command = match &point {
            Some(point) => format!("SELECT {name} (QRESYNC ({} {}))", point.uid_validity, point.highest),
            None => format!("SELECT {name}"),
        };
        self.view = Some(View::new(name, point.as_ref().map(|point| point.rows.clone()).unwrap_or_default()));
        let done = self.command(&command).await?;
        if !done.answer.ok() {
            self.view = None;
            self.refused(name, &done);
            return Ok(false);
        }
        let told = |code: &str| {
            let number = done.answer.told(code).and_then(|number| number.parse::<u64>().ok());
            number.unwrap_or_else(|| self.broken(format_args!("SELECT {name} without {code}")))
        };
        let (uid_validity, uid_next, highest) = (told("UIDVALIDITY"), told("UIDNEXT"), told("HIGHESTMODSEQ"));
        let mailbox = self.mailbox_told(name, &done);
        let Some(view) = &mut self.view else { return Ok(false) };
        view.mailbox = mailbox;
        let same_folder = point.as_ref().is_some_and(|point| u64::from(point.uid_validity) == uid_validity);
        if !same_folder {
            *view = View { mailbox, exists: view.exists, ..View::new(name, Rows::new()) };
        }
        let view = view.clone();
        let states = self.states(done.window);
        let is_it = |folder: &Folder| {
            u64::from(folder.uid_validity) == uid_validity
                && folder.uid_next == uid_next
                && folder.highest == highest
                && folder.rows.len() == view.exists
        };
        if !any(&states, is_it) {
            let told = format!("{uid_validity} {uid_next} {highest} {}", view.exists);
            self.broken(format_args!("SELECT {name} told {told}, which was none of {states:?}"));
        }
        if let Some(point) = point.filter(|_| same_folder) {
            if !any(&states, |folder| is_it(folder) && same(&view.rows, folder)) {
                let from = point.highest;
                self.broken(format_args!(
                    "a sync of {name} from {from} gave {:?}, not the state of {states:?}",
                    view.rows
                ));
            }
        } else if view.exists > 0 && !self.command("UID FETCH 1:* (FLAGS MODSEQ)").await?.answer.ok() {
            return Ok(true);
        }
        self.remember(name, uid_validity as u32, highest);
        Ok(true)
    }

    /// The folder that SELECT says it selected.
    fn mailbox_told(&self, name: &str, done: &Done) -> model::MailboxId {
        let id = done.answer.told("MAILBOXID").and_then(|id| id.strip_prefix('(')?.strip_suffix(')'));
        let names = self.world.history.names(self.account, done.window);
        let named = names.iter().filter_map(|names| names.get(name).copied());
        let found = named.into_iter().find(|mailbox| Some(mailbox.to_string().as_str()) == id);
        found.unwrap_or_else(|| {
            self.broken(format_args!("SELECT {name} gave {id:?}, which had not that name"))
        })
    }

    /// A folder was refused: then it was not there, or nobody could tell.
    pub fn refused(&self, name: &str, done: &Done) {
        if done.answer.code == "NONEXISTENT" || done.answer.code == "TRYCREATE" {
            let names = self.world.history.names(self.account, done.window);
            if names.iter().all(|names| names.contains_key(name)) {
                self.broken(format_args!("{name} was there, and was said not to be: {:?}", done.answer));
            }
        }
    }

    fn remember(&mut self, name: &str, uid_validity: u32, highest: u64) {
        let rows: Rows = match &self.view {
            Some(view) if view.is_whole() => view.rows.clone(),
            _ => return,
        };
        if self.points.len() == POINTS_MAX {
            let at = self.chance.random_range(0..POINTS_MAX);
            self.points.swap_remove(at);
        }
        self.points.push(Point { name: name.to_owned(), uid_validity, highest, rows });
    }

    async fn look_once_more(&mut self, name: &str) -> Result<(), Lost> {
        if self.wire.is_none() {
            self.connect().await?;
        }
        if !self.select(name).await? {
            // Others still change folders; what there is at the end is looked at by the last.
            return Ok(());
        }
        self.settle().await
    }

    /// The moment of now.
    pub fn now(&self) -> Moment {
        self.world.history.now()
    }
}
