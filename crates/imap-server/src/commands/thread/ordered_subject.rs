//! ORDEREDSUBJECT: messages of one base subject are one thread. Source: RFC 5256 §3.

use super::forest::{Forest, Message, Node};

/// Threads `messages`, which are in the order of their numbers.
pub(super) fn threads(messages: &[Message]) -> Forest {
    let mut order: Vec<u32> = (0..messages.len() as u32).collect();
    let of = |at: u32| &messages[at as usize];
    order.sort_by(|a, b| {
        let (a, b) = (of(*a), of(*b));
        a.subject.cmp(&b.subject).then(a.sent.cmp(&b.sent)).then(a.number.cmp(&b.number))
    });
    let mut forest = Forest::default();
    let mut previous: Option<u32> = None;
    for at in order {
        let node = forest.nodes.len() as u32;
        forest.nodes.push(Node { message: Some(at), children: Vec::new() });
        match (previous, forest.roots.last()) {
            (Some(p), Some(&root)) if of(p).subject == of(at).subject => {
                forest.nodes[root as usize].children.push(node);
            }
            _ => forest.roots.push(node),
        }
        previous = Some(at);
    }
    let first = |root: u32, nodes: &[Node]| {
        nodes[root as usize].message.map(|m| (of(m).sent, of(m).number)).unwrap_or_default()
    };
    let mut roots = std::mem::take(&mut forest.roots);
    roots.sort_by_key(|root| first(*root, &forest.nodes));
    forest.roots = roots;
    forest
}

#[cfg(test)]
mod tests {
    use super::super::forest::shown;
    use super::*;

    #[test]
    fn threads_by_subject() {
        let check = |messages: &[(u32, i64, &str)], expected: &str| {
            let messages: Vec<Message> = messages
                .iter()
                .map(|(number, sent, subject)| Message {
                    number: *number,
                    sent: *sent,
                    subject: subject.as_bytes().into(),
                    ..Message::default()
                })
                .collect();
            assert_eq!(shown(&threads(&messages), &messages), expected);
        };
        check(&[], "");
        check(&[(1, 30, "b"), (2, 10, "a"), (3, 20, "b")], "(2)(3 1)");
        // The children of one thread are siblings, by sent date, then by number.
        check(&[(1, 9, "a"), (2, 5, "a"), (3, 9, "a"), (4, 6, "b")], "(2 (1)(3))(4)");
        // No subject is a subject too.
        check(&[(7, 1, ""), (8, 2, "")], "(7 8)");
    }
}
