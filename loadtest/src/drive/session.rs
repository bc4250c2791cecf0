//! A logged-in connection and what it knows of its folder.

use crate::connection::{Connection, Fault};
use crate::plan::Plan;
use crate::scan::Kind;
use crate::template::{Facts, Template, Uids};

use super::Shared;

/// Ready for work.
pub struct Session {
    pub connection: Connection,
    pub facts: Facts,
    /// Number of the next message this connection appends.
    next_message: u64,
}

impl Session {
    /// Opens connection `index`, when it is its turn ([`Shared::turn`]), with the profile's commands for a session and for the setup.
    pub async fn open(shared: &Shared, index: u32) -> Result<Self, Fault> {
        let plan = &shared.plan;
        let (account, slot) = plan.owner(index);
        let folder = plan.folder_name(slot);
        let mut connection = log_in(plan, account).await?;
        let uids =
            if plan.needs_uids() { all_uids(&mut connection, &folder).await? } else { Uids::new(Vec::new()) };
        let mut facts = Facts::new(folder, uids, plan.seed.wrapping_add(u64::from(index)));
        facts.user = plan.target.user(account);
        facts.first_message = Plan::first_message(account);
        facts.appended = u64::from(plan.appended());
        run_all(&mut connection, &mut facts, &plan.session).await?;
        run_all(&mut connection, &mut facts, &plan.setup).await?;
        Ok(Self { connection, facts, next_message: u64::from(index) << 40 })
    }

    /// Replaces the connection by a new one of the same account, with the profile's commands for a session.
    pub async fn reopen(&mut self, shared: &Shared, index: u32) -> Result<(), Fault> {
        let (account, _) = shared.plan.owner(index);
        let mut connection = log_in(&shared.plan, account).await?;
        run_all(&mut connection, &mut self.facts, &shared.plan.session).await?;
        std::mem::replace(&mut self.connection, connection).logout().await
    }

    /// Runs commands that are not measured.
    pub async fn run(&mut self, commands: &[Template]) -> Result<(), Fault> {
        run_all(&mut self.connection, &mut self.facts, commands).await
    }

    /// Writes the command of one operation, or an APPEND, and returns its tag.
    pub async fn write(&mut self, shared: &Shared, which: usize) -> Result<u32, Fault> {
        let task = &shared.plan.tasks[which];
        if !task.work.command.is_empty() {
            let tag = self.connection.begin();
            task.command.write(&mut self.facts, self.connection.out());
            self.connection.end();
            return Ok(tag);
        }
        self.append(shared, which).await
    }

    /// Writes an APPEND of as many messages as the work says, and returns its tag.
    pub async fn append(&mut self, shared: &Shared, which: usize) -> Result<u32, Fault> {
        let task = &shared.plan.tasks[which];
        let (first, count) = (self.next_message, task.work.messages);
        self.next_message += u64::from(count);
        self.connection
            .append(shared.capabilities, &self.facts.folder, &shared.plan.contents, first, count)
            .await
    }
}

/// Opens a connection and logs in.
pub async fn log_in(plan: &Plan, account: u32) -> Result<Connection, Fault> {
    let mut connection = Connection::open(&plan.target).await?;
    connection.login(&plan.target.user(account), &plan.target.password).await?;
    Ok(connection)
}

async fn run_all(connection: &mut Connection, facts: &mut Facts, commands: &[Template]) -> Result<(), Fault> {
    for command in commands {
        let mut text = Vec::new();
        command.write(facts, &mut text);
        connection.command(&String::from_utf8_lossy(&text), |response| facts.note(response)).await?;
    }
    Ok(())
}

async fn all_uids(connection: &mut Connection, folder: &str) -> Result<Uids, Fault> {
    connection.command(&format!("EXAMINE \"{folder}\""), |_| {}).await?;
    let mut uids = Vec::new();
    connection
        .command("UID SEARCH ALL", |response| {
            if response.kind == Kind::Untagged
                && let Some(numbers) = response.rest().strip_prefix(b"SEARCH")
            {
                let words = numbers.split(|&b| b == b' ').filter_map(|word| std::str::from_utf8(word).ok());
                uids.extend(words.filter_map(|word| word.parse::<u32>().ok()));
            }
        })
        .await?;
    Ok(Uids::new(uids))
}
