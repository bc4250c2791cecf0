//! REFERENCES: messages are linked by the ids they name, then by their subjects. Source: RFC 5256 §3, whose steps
//! the functions below are.

use std::collections::HashMap;

use super::forest::{Forest, Message, Node};

/// A message, or a dummy for an id that is only named, while links are made.
#[derive(Clone, Debug, Default)]
struct Link {
    message: Option<u32>,
    parent: Option<u32>,
    /// How many nodes have this one for their parent, while links are made; who they are is noted once all are.
    child_count: u32,
    children: Vec<u32>,
}

struct Threads<'a> {
    messages: &'a [Message],
    links: Vec<Link>,
    /// The node of each id, by the id's number.
    ids: Vec<Option<u32>>,
}

/// Threads `messages`, which are in the order of their numbers and name ids below `ids`. Cost: about n log n, and a walk to the top of its
/// thread for a message that already had replies when it was linked.
pub(super) fn threads(messages: &[Message], ids: usize) -> Forest {
    let mut threads = Threads { messages, links: Vec::with_capacity(messages.len()), ids: vec![None; ids] };
    threads.link();
    let mut roots = threads.prune();
    threads.sort_top(&mut roots);
    threads.merge_subjects(&mut roots);
    threads.sort_all(&mut roots);
    let nodes =
        threads.links.into_iter().map(|l| Node { message: l.message, children: l.children }).collect();
    Forest { nodes, roots }
}

impl<'a> Threads<'a> {
    /// Step 1: a node per message, linked to those it refers to.
    fn link(&mut self) {
        let messages = self.messages;
        // "If two or more messages have the same Message ID, then only use that Message ID in the first":
        // messages are numbered before any reference is looked at, so that the first is the lowest.
        for (at, message) in messages.iter().enumerate() {
            let node = self.add(Some(at as u32));
            if let Some(id) = message.message_id {
                self.ids[id as usize].get_or_insert(node);
            }
        }
        for (at, message) in messages.iter().enumerate() {
            let node = at as u32;
            // 1.A: each reference is the parent of the next, unless that has a parent already.
            let mut last = None;
            for id in &message.references {
                let named = self.named(*id);
                if let Some(parent) = last
                    && self.links[named as usize].parent.is_none()
                {
                    self.adopt(parent, named);
                }
                last = Some(named);
            }
            // 1.B: the last reference is the parent, whatever was guessed before.
            match last {
                None => self.orphan(node),
                Some(parent) if self.links[node as usize].parent == Some(parent) => {}
                Some(parent) => {
                    self.orphan(node);
                    self.adopt(parent, node);
                }
            }
        }
        for node in 0..self.links.len() {
            if let Some(parent) = self.links[node].parent {
                self.links[parent as usize].children.push(node as u32);
            }
        }
    }

    fn add(&mut self, message: Option<u32>) -> u32 {
        self.links.push(Link { message, ..Link::default() });
        self.links.len() as u32 - 1
    }

    fn named(&mut self, id: u32) -> u32 {
        if let Some(node) = self.ids[id as usize] {
            return node;
        }
        let node = self.add(None);
        self.ids[id as usize] = Some(node);
        node
    }

    /// Makes `child`, which has no parent, a child of `parent`, unless that closes a loop.
    fn adopt(&mut self, parent: u32, child: u32) {
        let mut above = Some(parent);
        // A node without children is above nothing.
        if self.links[child as usize].child_count == 0 {
            above = None;
        }
        while let Some(node) = above {
            if node == child {
                return;
            }
            above = self.links[node as usize].parent;
        }
        if parent != child {
            self.links[child as usize].parent = Some(parent);
            self.links[parent as usize].child_count += 1;
        }
    }

    fn orphan(&mut self, node: u32) {
        if let Some(parent) = self.links[node as usize].parent.take() {
            self.links[parent as usize].child_count -= 1;
        }
    }

    /// Steps 2 and 3: the nodes without parents, in order, with no dummy below them, nor a dummy with fewer than two
    /// children among them.
    fn prune(&mut self) -> Vec<u32> {
        let roots: Vec<u32> =
            (0..self.links.len() as u32).filter(|node| self.links[*node as usize].parent.is_none()).collect();
        // Parents before children; read backwards, each node's children are done before it.
        let mut order = roots.clone();
        let mut at = 0;
        while let Some(node) = order.get(at).copied() {
            order.extend_from_slice(&self.links[node as usize].children);
            at += 1;
        }
        for &node in order.iter().rev() {
            let children = std::mem::take(&mut self.links[node as usize].children);
            let kept = self.without_dummies(children);
            self.links[node as usize].children = kept;
        }
        roots
            .into_iter()
            .filter_map(|root| {
                let link = &self.links[root as usize];
                match (link.message, link.children.as_slice()) {
                    (None, []) => None,
                    (None, [only]) => Some(*only),
                    _ => Some(root),
                }
            })
            .collect()
    }

    /// `children` with each dummy replaced by its own children, which has none among them.
    fn without_dummies(&mut self, children: Vec<u32>) -> Vec<u32> {
        if children.iter().all(|child| self.links[*child as usize].message.is_some()) {
            return children;
        }
        let mut kept = Vec::with_capacity(children.len());
        for child in children {
            if self.links[child as usize].message.is_some() {
                kept.push(child);
            } else {
                kept.append(&mut self.links[child as usize].children);
            }
        }
        kept
    }

    /// The message that a node is sorted and named by: its own, or a dummy's first child's.
    fn face(&self, node: u32) -> Option<&'a Message> {
        let link = &self.links[node as usize];
        let message = link.message.or_else(|| self.links[*link.children.first()? as usize].message)?;
        Some(&self.messages[message as usize])
    }

    fn sort(&self, nodes: &mut [u32]) {
        nodes.sort_by_cached_key(|node| self.face(*node).map(|m| (m.sent, m.number)));
    }

    fn sort_children(&mut self, node: u32) {
        let mut children = std::mem::take(&mut self.links[node as usize].children);
        self.sort(&mut children);
        self.links[node as usize].children = children;
    }

    /// Step 4.
    fn sort_top(&mut self, roots: &mut [u32]) {
        for &root in &*roots {
            if self.links[root as usize].message.is_none() {
                self.sort_children(root);
            }
        }
        self.sort(roots);
    }

    /// Step 5: roots of one base subject become one thread.
    fn merge_subjects(&mut self, roots: &mut Vec<u32>) {
        let subject = |threads: &Self, node: u32| {
            threads.face(node).map(|m| &*m.subject).filter(|subject| !subject.is_empty())
        };
        let is_dummy = |threads: &Self, node: u32| threads.links[node as usize].message.is_none();
        let is_reply = |threads: &Self, node: u32| {
            threads.links[node as usize].message.is_some_and(|m| threads.messages[m as usize].is_reply)
        };
        // 5.B: which thread stands for its subject.
        let mut table: HashMap<&[u8], u32> = HashMap::new();
        for &root in &*roots {
            let Some(subject) = subject(self, root) else { continue };
            let held = table.entry(subject).or_insert(root);
            let better = is_dummy(self, root) || (is_reply(self, *held) && !is_reply(self, root));
            if *held != root && !is_dummy(self, *held) && better {
                *held = root;
            }
        }
        // 5.C: the others join it. Where a thread that joins is put at another's place, `roots` is mended below.
        let mut joined = vec![false; self.links.len()];
        let mut replaced: HashMap<u32, u32> = HashMap::new();
        for &root in &*roots {
            let Some(subject) = subject(self, root) else { continue };
            let Some(held) = table.get_mut(subject) else { continue };
            let into = *held;
            if into == root || replaced.get(&root) == Some(&into) {
                continue;
            }
            match (is_dummy(self, into), is_dummy(self, root)) {
                (true, true) => {
                    let mut children = std::mem::take(&mut self.links[root as usize].children);
                    self.links[into as usize].children.append(&mut children);
                    joined[root as usize] = true;
                }
                (true, false) => {
                    self.links[into as usize].children.push(root);
                    joined[root as usize] = true;
                }
                (false, _) if is_reply(self, root) && !is_reply(self, into) => {
                    self.links[into as usize].children.push(root);
                    joined[root as usize] = true;
                }
                (false, _) => {
                    let dummy = self.add(None);
                    joined.push(false);
                    self.links[dummy as usize].children = vec![into, root];
                    joined[root as usize] = true;
                    replaced.insert(into, dummy);
                    *held = dummy;
                }
            }
        }
        for root in roots.iter_mut() {
            if let Some(dummy) = replaced.get(root) {
                *root = *dummy;
            }
        }
        roots.retain(|root| !joined[*root as usize]);
    }

    /// Step 6. Below the top no node is a dummy, so that no order depends on that of its children.
    fn sort_all(&mut self, roots: &mut [u32]) {
        for node in 0..self.links.len() as u32 {
            self.sort_children(node);
        }
        self.sort(roots);
    }
}

#[cfg(test)]
mod tests {
    use super::super::forest::{Ids, shown};
    use super::*;

    fn threaded(text: &str) -> String {
        let (messages, ids) = messages(text);
        shown(&threads(&messages, ids), &messages)
    }

    /// Messages and the number of their ids. Messages as `number date "subject" id < reference reference`, a subject of a reply with `Re: ` before it.
    fn messages(text: &str) -> (Vec<Message>, usize) {
        let mut ids = Ids::default();
        let messages = text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .map(|line| {
                let (head, references) = line.split_once('<').unwrap_or((line, ""));
                let parts: Vec<&str> = head.split('"').collect();
                let numbers: Vec<i64> =
                    parts[0].split_whitespace().map(|n| n.parse().expect("a number")).collect();
                Message {
                    number: numbers[0] as u32,
                    sent: numbers[1],
                    subject: parts[1].trim_start_matches("Re: ").as_bytes().into(),
                    is_reply: parts[1].starts_with("Re: "),
                    message_id: Some(parts[2].trim())
                        .filter(|id| !id.is_empty())
                        .map(|id| ids.number(id.as_bytes())),
                    references: references.split_whitespace().map(|id| ids.number(id.as_bytes())).collect(),
                }
            })
            .collect();
        (messages, ids.len())
    }

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(threaded(text), expected);
    }

    #[test]
    fn links_by_reference() {
        check("", "");
        check("1 1 \"a\" A", "(1)");
        check(
            "1 1 \"a\" A
             2 2 \"b\" B < A
             3 3 \"c\" C < A B
             4 4 \"d\" D < A",
            "(1 (2 3)(4))",
        );
        // The example of RFC 5256 §4: 2; 3 6 with branches (4 23) and (44 7 96).
        check(
            "2 2 \"x\" T
             3 3 \"a\" A
             4 10 \"b\" D < A B
             6 4 \"c\" B < A
             7 12 \"d\" F < A B E
             23 13 \"e\" G < D
             44 11 \"f\" E < A B
             96 14 \"g\" H < A B E F",
            "(2)(3 6 (4 23)(44 7 96))",
        );
    }

    #[test]
    fn links_when_the_reply_comes_first() {
        check("1 5 \"a\" B < A\n2 1 \"b\" A", "(2 1)");
        // B names no parent, whatever 1 says of it; A, which is nowhere, leaves nothing.
        check("1 5 \"a\" C < A B\n2 6 \"b\" B", "(2 1)");
    }

    #[test]
    fn dummies_are_pruned() {
        // A is nowhere; its only child takes its place, its two children stay under the dummy.
        check("1 5 \"a\" B < A", "(1)");
        check("1 5 \"a\" B < A\n2 6 \"b\" C < A", "((1)(2))");
        // Of A - B - (1, 2), all of A and B missing: B is promoted, then A has the two.
        check("1 5 \"a\" C < A B\n2 6 \"b\" D < A B", "((1)(2))");
        // A dummy below a message goes even with several children.
        check("1 1 \"a\" A\n2 2 \"b\" C < A B\n3 3 \"c\" D < A B", "(1 (2)(3))");
        // The dummy sorts by its first child.
        check("1 7 \"a\" X < A\n2 1 \"b\" Y < A\n3 3 \"c\" Z", "((2)(1))(3)");
    }

    #[test]
    fn a_reference_corrects_a_guess() {
        // 1 says that B comes right after A; B itself says after C.
        check(
            "1 1 \"a\" X < A B
             2 2 \"b\" B < C
             3 3 \"c\" A
             4 4 \"d\" C",
            "(3)(4 2 1)",
        );
        // B itself says that it answers nothing.
        check("1 1 \"a\" X < A B\n2 2 \"b\" B\n3 3 \"c\" A", "(2 1)(3)");
    }

    #[test]
    fn loops_are_not_made() {
        check("1 1 \"a\" A < B\n2 2 \"b\" B < A", "(2 1)");
        check("1 1 \"a\" A < A", "(1)");
        // 1: B above C above A. 2: B cannot go below C, and loses no parent. 3: C cannot go below A, which it is
        // above, and is left alone, as its parent B was only guessed.
        check("1 1 \"a\" A < B C\n2 2 \"b\" B < C\n3 3 \"c\" C < A", "(2)(3 1)");
    }

    #[test]
    fn message_ids_that_cannot_be_used() {
        // The second A is another message; who refers to A means the first.
        check("1 1 \"a\" A\n2 2 \"b\" A\n3 3 \"c\" C < A", "(1 3)(2)");
        check("1 1 \"a\"\n2 2 \"b\" < A\n3 3 \"c\" A", "(1)(3 2)");
    }

    #[test]
    fn subjects_join_threads() {
        // 5.C, a reply joins what is none; whichever comes first.
        check("1 1 \"s\" A\n2 2 \"Re: s\" B", "(1 2)");
        check("1 1 \"Re: s\" A\n2 2 \"s\" B", "(2 1)");
        // Two of the same standing get a dummy above them.
        check("1 1 \"s\" A\n2 2 \"s\" B", "((1)(2))");
        check("1 1 \"Re: s\" A\n2 2 \"Re: s\" B\n3 3 \"Re: s\" C", "((1)(2)(3))");
        // A message joins a dummy's children, a dummy another's.
        check("1 1 \"s\" A < X\n2 2 \"t\" B < X\n3 3 \"s\" C", "((1)(2)(3))");
        check("1 1 \"s\" A < X\n2 2 \"t\" B < X\n3 3 \"s\" C < Y\n4 4 \"u\" D < Y", "((1)(2)(3)(4))");
        // No subject joins nothing.
        check("1 1 \"\" A\n2 2 \"\" B", "(1)(2)");
        // The joined thread stays in the place of its first message.
        check("1 5 \"s\" A\n2 1 \"s\" B\n3 3 \"t\" C", "((2)(1))(3)");
    }

    #[test]
    fn a_dummy_takes_the_table() {
        // The dummy comes second, and still is what the message joins.
        check("1 1 \"s\" A\n2 2 \"s\" B < X\n3 3 \"t\" C < X", "((1)(2)(3))");
    }

    #[test]
    fn equal_dates_fall_to_the_number() {
        check("4 1 \"a\" A\n5 1 \"b\" B\n6 0 \"c\" C", "(6)(4)(5)");
    }

    #[test]
    fn deep_threads_need_no_stack() {
        let lines: Vec<String> =
            (0..30_000).map(|n| format!("{} {n} \"s{n}\" I{n} < I{}", n + 1, n - 1)).collect();
        let chain: Vec<String> = (1..=30_000).map(|n| n.to_string()).collect();
        assert_eq!(threaded(&lines.join("\n")), format!("({})", chain.join(" ")));
    }

    /// Messages that many others first guess to be children of one, and then turn out not to be.
    #[test]
    fn guesses_that_are_all_wrong() {
        let count = 40_000;
        let guesses = (0..count).map(|n| format!("{} {n} \"g{n}\" G{n} < P I{n}", n + 1));
        let truths = (0..count).map(|n| format!("{} {} \"t{n}\" I{n}", count + n + 1, count + n));
        let lines: Vec<String> = guesses.chain(truths).collect();
        let pairs: Vec<String> = (1..=count).map(|n| format!("({} {n})", count + n)).collect();
        assert_eq!(threaded(&lines.join("\n")), pairs.concat());
    }

    /// Messages that each refer to the next, the worst order for the walk that looks for loops.
    #[test]
    fn a_chain_from_its_end_to_its_beginning() {
        let count = 20_000;
        let lines: Vec<String> =
            (0..count).map(|n| format!("{} {n} \"s{n}\" I{n} < I{}", n + 1, n + 1)).collect();
        let chain: Vec<String> = (1..=count).rev().map(|n| n.to_string()).collect();
        assert_eq!(threaded(&lines.join("\n")), format!("({})", chain.join(" ")));
    }
}
