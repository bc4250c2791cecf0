//! What one run will do: a profile, a target and a folder size, with the commands ready to be written.

use crate::message::Messages;
use crate::profile::{Action, Fill, Profile, Work};
use crate::target::Target;
use crate::template::{BadTemplate, Template};

/// Messages that are appended before the rest is copied.
const COPY_FROM_MESSAGES: u32 = 1_000;
/// Seed of the messages' texts: the same for every run, so that kept folders fit.
const MESSAGES_SEED: u64 = 0x4350_4d31;

/// Fixed before the run and shared by all its connections.
#[derive(Debug)]
pub struct Plan {
    /// Whom.
    pub target: Target,
    /// What.
    pub profile: Profile,
    /// Messages in each folder before the measurement.
    pub messages: u32,
    /// Part of the names of folders that grow.
    pub run_id: String,
    /// Decides which messages are chosen.
    pub seed: u64,
    /// The messages to append.
    pub contents: Messages,
    /// After each login.
    pub session: Vec<Template>,
    /// Once a connection.
    pub setup: Vec<Template>,
    /// One for each work of the profile.
    pub tasks: Vec<Task>,
    weights: u64,
}

/// One kind of operation, ready to run.
#[derive(Debug)]
pub struct Task {
    /// As the profile has it.
    pub work: Work,
    /// The command to time; empty for other actions.
    pub command: Template,
    /// Before each.
    pub before: Vec<Template>,
    /// Which series its latencies go to.
    pub series: usize,
}

impl Plan {
    /// For one target, profile and folder size.
    ///
    /// # Errors
    /// When a command of the profile is no template.
    pub fn new(
        target: Target,
        profile: Profile,
        messages: u32,
        run_id: String,
        seed: u64,
    ) -> Result<Self, BadTemplate> {
        let parse =
            |texts: &[String]| texts.iter().map(|text| Template::parse(text)).collect::<Result<Vec<_>, _>>();
        let mut series = 0;
        let mut tasks = Vec::new();
        for work in &profile.work {
            tasks.push(Task {
                command: Template::parse(&work.command)?,
                before: parse(&work.before)?,
                work: work.clone(),
                series,
            });
            series += work.series().len();
        }
        Ok(Self {
            contents: Messages::new(MESSAGES_SEED, profile.folder.bytes),
            session: parse(&profile.load.session)?,
            setup: parse(&profile.load.setup)?,
            weights: profile.work.iter().map(|work| u64::from(work.weight)).sum(),
            tasks,
            target,
            profile,
            messages,
            run_id,
            seed,
        })
    }

    /// The account (from 0) of connection `index` and which of the account's folders it uses.
    pub fn owner(&self, index: u32) -> (u32, u32) {
        if self.profile.folder.shared {
            (0, 0)
        } else {
            (index % self.target.count, index / self.target.count)
        }
    }

    /// Number of the first message that an account's folder is filled with; no operation of a run uses it or one after
    /// it.
    pub fn first_message(account: u32) -> u64 {
        u64::MAX / 2 + (u64::from(account) << 32)
    }

    /// How many messages a folder is filled with by APPEND; the others are copies.
    pub fn appended(&self) -> u32 {
        match self.profile.folder.fill {
            Fill::Append => self.messages,
            Fill::Copy => self.messages.min(COPY_FROM_MESSAGES),
        }
    }

    /// The name of an account's folder.
    pub fn folder_name(&self, slot: u32) -> String {
        let folder = &self.profile.folder;
        let mut name = if folder.grows {
            format!("lt-run-{}-{}-{}", self.run_id, self.profile.name, self.messages)
        } else {
            let fill = match folder.fill {
                Fill::Append => "appended",
                Fill::Copy => "copied",
            };
            format!("lt-{}x{}-{fill}", self.messages, self.contents.bytes())
        };
        if folder.children > 0 {
            name.push_str(&format!("-above-{}", folder.children));
        }
        if slot > 0 {
            name.push_str(&format!("-{slot}"));
        }
        name
    }

    /// Does a command name messages by UID?
    pub fn needs_uids(&self) -> bool {
        let of_tasks = self.tasks.iter().flat_map(|task| task.before.iter().chain([&task.command]));
        self.session.iter().chain(&self.setup).chain(of_tasks).any(Template::needs_uids)
    }

    /// The task that a random number stands for.
    pub fn choose(&self, random: u64) -> usize {
        if self.tasks.len() == 1 {
            return 0;
        }
        let mut at = random % self.weights.max(1);
        for (which, task) in self.tasks.iter().enumerate() {
            let weight = u64::from(task.work.weight);
            if at < weight {
                return which;
            }
            at -= weight;
        }
        0
    }

    /// Have operations parts that are not measured?
    pub fn has_gaps(&self) -> bool {
        self.profile.load.pause_ms > 0
            || self
                .tasks
                .iter()
                .any(|task| task.work.has_gaps() || matches!(task.work.action, Action::Notify | Action::Push))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(name: &str, count: u32) -> Plan {
        let target = Target::parse(&format!("h:1,count={count}")).unwrap();
        let profile = Profile::load(name).unwrap();
        Plan::new(target, profile, 500, "r".into(), 1).unwrap()
    }

    #[test]
    fn connections_have_their_own_account_and_folder_while_there_are_accounts() {
        let own = plan("append-64", 10);
        assert_eq!((own.owner(3), own.owner(13), own.owner(23)), ((3, 0), (3, 1), (3, 2)));
        assert_ne!(own.folder_name(0), own.folder_name(1));
        assert_eq!(plan("append-shared-16", 10).owner(7), (0, 0));
    }

    #[test]
    fn work_is_chosen_by_weight() {
        let plan = plan("mixed-phones", 10);
        let mut chosen = vec![0u32; plan.tasks.len()];
        (0..100).for_each(|at| chosen[plan.choose(at)] += 1);
        let weights: Vec<u32> = plan.tasks.iter().map(|task| task.work.weight).collect();
        assert_eq!(chosen, weights);
    }
}
