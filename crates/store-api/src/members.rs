//! Which storage nodes there are, and which of them a partition is warm on.
//!
//! Each partition has an owner among the nodes that serve, by rendezvous hashing: every node scores every partition,
//! and the highest score owns it. Whoever knows the same nodes so finds the same owner without asking anybody; a node
//! that comes or goes moves only its own partitions; and the order of the scores says whom to ask next.
//!
//! Ownership says where caches are warm, never who answers right: any node serves any account.

use std::cmp::Reverse;
use std::fmt;
use std::hash::Hasher;
use std::sync::Arc;

use model::{PARTITIONS, Partition};
use siphasher::sip::SipHasher24;
use tokio::sync::watch;

/// The key of the scores. Part of the contract between front ends and storage nodes: another key would move every
/// partition.
const SCORE_KEY: [u8; 16] = *b"mss/rendezvous/1";

/// A storage node for the life of its process: a random number, never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u64);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// What a node may be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NodeState {
    /// It has made itself known and does not answer yet.
    Joining,
    /// It answers, and owns partitions.
    Serving,
    /// It ends what it has begun and begins nothing.
    Draining,
}

impl NodeState {
    /// Every state.
    pub const ALL: [Self; 3] = [Self::Joining, Self::Serving, Self::Draining];

    /// Its name in metrics and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Joining => "joining",
            Self::Serving => "serving",
            Self::Draining => "draining",
        }
    }
}

/// A storage node, as others know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its identity.
    pub id: NodeId,
    /// Its name, the same after a restart, so that it gets the same partitions again. 1 to 255 bytes.
    pub name: String,
    /// Where it answers: `http://HOST:PORT`, `https://HOST:PORT` or `unix:/PATH`. At most 255 bytes.
    pub address: String,
    /// What it may be asked.
    pub state: NodeState,
    /// The version of its program.
    pub version: String,
    /// How long the node that tells has not seen its heart beat, milliseconds. As of the telling.
    pub silent_ms: u64,
}

/// All nodes at one epoch, with the owner of each partition.
#[derive(Clone, Debug)]
pub struct Members {
    /// Which installation this is: a random number made with its data. 0 before anything is known.
    pub installation: u64,
    /// Ascends with each join, leave and change of state.
    pub epoch: u64,
    members: Vec<Member>,
    /// Indexes into `members`, by partition; empty when nobody serves.
    owners: Vec<u32>,
}

impl Default for Members {
    fn default() -> Self {
        Self::new(0, 0, Vec::new())
    }
}

impl PartialEq for Members {
    fn eq(&self, other: &Self) -> bool {
        (self.installation, self.epoch, &self.members) == (other.installation, other.epoch, &other.members)
    }
}

impl Members {
    /// These nodes, in any order. Costs a hash for each partition and serving node: 4096 take about 0.1 ms.
    pub fn new(installation: u64, epoch: u64, mut members: Vec<Member>) -> Self {
        members.sort_by_key(|member| member.id);
        let serving: Vec<(u32, &Member)> =
            (0..).zip(&members).filter(|(_, member)| member.state == NodeState::Serving).collect();
        let owner = |partition| {
            serving
                .iter()
                .max_by_key(|(_, member)| rank(member, Partition(partition)))
                .map(|(index, _)| *index)
        };
        let owners = (0..PARTITIONS).map_while(owner).collect();
        Self { installation, epoch, members, owners }
    }

    /// Every node, by id.
    pub fn all(&self) -> &[Member] {
        &self.members
    }

    /// The node of that id.
    pub fn get(&self, id: NodeId) -> Option<&Member> {
        self.members.binary_search_by_key(&id, |member| member.id).ok().map(|at| &self.members[at])
    }

    /// The nodes that answer.
    pub fn serving(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(|member| member.state == NodeState::Serving)
    }

    /// Where the accounts of a partition are warm; none when nobody serves.
    pub fn owner(&self, partition: Partition) -> Option<&Member> {
        self.owners.get(usize::from(partition.0)).map(|at| &self.members[*at as usize])
    }

    /// How many partitions a node owns.
    pub fn owned(&self, id: NodeId) -> usize {
        self.owners.iter().filter(|at| self.members[**at as usize].id == id).count()
    }

    /// The nodes that answer, in the order in which to ask them for accounts of a partition; the owner is first.
    pub fn ranking(&self, partition: Partition) -> Vec<&Member> {
        let mut ranking: Vec<&Member> = self.serving().collect();
        ranking.sort_by_cached_key(|member| Reverse(rank(member, partition)));
        ranking
    }
}

/// By the name, so that a node that starts again gets its partitions back; two of one name are told apart by their id.
fn rank(member: &Member, partition: Partition) -> (u64, NodeId) {
    (score(&member.name, partition), member.id)
}

/// SipHash-2-4 with [`SCORE_KEY`] over the partition, two bytes big-endian, and the node's name.
fn score(name: &str, partition: Partition) -> u64 {
    let mut hasher = SipHasher24::new_with_key(&SCORE_KEY);
    hasher.write(&partition.0.to_be_bytes());
    hasher.write(name.as_bytes());
    hasher.finish()
}

/// Who knows the nodes and hears when they change.
pub trait Membership: Send + Sync + 'static {
    /// The nodes as known now and from now on.
    fn watch(&self) -> watch::Receiver<Arc<Members>>;

    /// The nodes, with [`Member::silent_ms`] as of now.
    fn now(&self) -> Arc<Members> {
        self.watch().borrow().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(number: u64, state: NodeState) -> Member {
        Member {
            id: NodeId(number * 7919 % 1009 + 1),
            name: format!("node-{number}"),
            address: format!("http://127.0.0.1:{number}"),
            state,
            version: "1".to_owned(),
            silent_ms: 0,
        }
    }

    fn members(numbers: impl IntoIterator<Item = u64>) -> Members {
        Members::new(1, 1, numbers.into_iter().map(|n| node(n, NodeState::Serving)).collect())
    }

    fn owners(members: &Members) -> Vec<Option<String>> {
        (0..PARTITIONS).map(|p| members.owner(Partition(p)).map(|m| m.name.clone())).collect()
    }

    /// Front ends and nodes of different releases must agree.
    #[test]
    fn scores_stay_as_they_are() {
        assert_eq!(score("node-1", Partition(0)), 0x44c680c0dc275c77);
        assert_eq!(score("10.0.0.1:7143", Partition(4095)), 0xfa4a9c1bc56787ac);
    }

    #[test]
    fn only_the_partitions_of_who_comes_or_goes_move() {
        for count in 1..8 {
            let (before, after) = (owners(&members(0..count)), owners(&members(0..=count)));
            let new = Some(format!("node-{count}"));
            let mut moved = 0;
            for (before, after) in before.iter().zip(&after) {
                if before != after {
                    assert_eq!(*after, new, "only to the one that came");
                    moved += 1;
                }
            }
            let fair = usize::from(PARTITIONS) / (count as usize + 1);
            assert!((fair * 3 / 4..fair * 5 / 4).contains(&moved), "{moved} moved of {fair}");
        }
    }

    #[test]
    fn a_restart_gives_the_same_partitions() {
        let mut again: Vec<Member> = members(0..4).all().to_vec();
        again[2].id = NodeId(55_555);
        let again = Members::new(1, 9, again);
        assert_eq!(owners(&members(0..4)), owners(&again));
    }

    #[test]
    fn shares_are_even_and_whole() {
        let five = members(0..5);
        let shares: Vec<usize> = five.all().iter().map(|member| five.owned(member.id)).collect();
        assert_eq!(shares.iter().sum::<usize>(), usize::from(PARTITIONS));
        assert!(shares.iter().all(|share| (700..940).contains(share)), "{shares:?}");
    }

    #[test]
    fn the_ranking_begins_with_the_owner_and_falls_to_the_next() {
        let four = members(0..4);
        for p in (0..PARTITIONS).step_by(97).map(Partition) {
            let ranking = four.ranking(p);
            assert_eq!(ranking.len(), 4);
            assert_eq!(Some(ranking[0]), four.owner(p));
            let gone: Vec<Member> = four.all().iter().filter(|m| *m != ranking[0]).cloned().collect();
            assert_eq!(Members::new(1, 2, gone).owner(p), Some(ranking[1]));
        }
    }

    #[test]
    fn only_who_serves_owns() {
        let nobody = Members::new(1, 1, vec![node(1, NodeState::Joining), node(2, NodeState::Draining)]);
        assert_eq!((nobody.owner(Partition(7)), nobody.ranking(Partition(7)).len()), (None, 0));
        let one = Members::new(
            1,
            1,
            vec![node(1, NodeState::Joining), node(2, NodeState::Draining), node(3, NodeState::Serving)],
        );
        assert_eq!(one.owned(node(3, NodeState::Serving).id), usize::from(PARTITIONS));
        assert_eq!(one.get(node(1, NodeState::Joining).id).map(|m| m.state), Some(NodeState::Joining));
    }

    /// Two nodes of one name, by mistake: one of them owns nothing, and everybody agrees on which.
    #[test]
    fn one_name_twice() {
        let twin = |id| Member { id: NodeId(id), ..node(1, NodeState::Serving) };
        let twins = Members::new(1, 1, vec![twin(9), twin(4)]);
        assert_eq!((twins.owned(NodeId(4)), twins.owned(NodeId(9))), (0, usize::from(PARTITIONS)));
    }
}
