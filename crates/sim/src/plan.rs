//! What a simulation is told: its seed, its length, and which troubles it may meet.

use clap::{Args, ValueEnum};

/// A kind of trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Trouble {
    /// Transactions conflict without reason, end unknown, grow too old, are slow.
    Engine,
    /// Watches are lost, late, or fire for nothing.
    Watches,
    /// Storage nodes die in the middle of what they do, and others start.
    Nodes,
    /// Front ends die.
    FrontEnds,
    /// Front ends do not reach storage nodes, or do not hear their answers.
    Links,
    /// Front ends disagree about which nodes there are.
    Members,
    /// The wall clocks of nodes jump.
    Clocks,
    /// Clients lose their connection.
    Connections,
}

/// A defect put in on purpose: the simulation must find it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Sabotage {
    /// The engine overlooks conflicts.
    LostConflict,
    /// The engine answers a commit that it has not made.
    EarlyAnswer,
    /// No watch ever fires, and the feed does not look by itself.
    Deaf,
    /// Front ends answer reads from what they read before.
    StaleReads,
}

/// One simulation.
#[derive(Args, Clone, Debug)]
pub struct Plan {
    /// All chance follows from it.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Commands that clients give, in all.
    #[arg(long, default_value_t = 400)]
    pub steps: u64,
    /// Troubles that are left out.
    #[arg(long, value_enum, value_delimiter = ',')]
    pub without: Vec<Trouble>,
    /// Put in a defect, to see it found.
    #[arg(long, value_enum)]
    pub sabotage: Option<Sabotage>,
    /// Print every event.
    #[arg(long)]
    pub trace: bool,
}

impl Plan {
    /// Whether a kind of trouble may happen.
    pub fn has(&self, trouble: Trouble) -> bool {
        !self.without.contains(&trouble)
    }

    /// Its command line.
    pub fn arguments(&self) -> Vec<String> {
        let name = |value: &dyn std::fmt::Debug, of: Option<clap::builder::PossibleValue>| {
            of.map_or_else(|| format!("{value:?}"), |of| of.get_name().to_owned())
        };
        let mut arguments = vec![
            "one".to_owned(),
            "--seed".to_owned(),
            self.seed.to_string(),
            "--steps".to_owned(),
            self.steps.to_string(),
        ];
        if !self.without.is_empty() {
            let names: Vec<String> =
                self.without.iter().map(|trouble| name(trouble, trouble.to_possible_value())).collect();
            arguments.extend(["--without".to_owned(), names.join(",")]);
        }
        if let Some(sabotage) = self.sabotage {
            arguments.extend(["--sabotage".to_owned(), name(&sabotage, sabotage.to_possible_value())]);
        }
        arguments
    }
}
