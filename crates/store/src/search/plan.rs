//! A program made ready: needles folded, keywords looked up, indexes read.

use cpm_mime::search::{Needle, field_contains, index_contains};
use model::limits::{SEARCH_DEPTH_MAX, SEARCH_KEYS_MAX, SEARCH_TEXT_BYTES_MAX};
use model::{
    AccountId, AnnotationPattern, BodyId, EntryScope, Error, ErrorKind, Flags, FolderSnapshot, ModSeq, UidSet,
};
use store_api::{Ctx, DateField, HeaderField, SearchKey, thread_id};

use super::Known;
use super::headers::{self, value_of};
use crate::annotations;
use crate::failure::Failure;
use crate::identities::{IdentityHeader, messages_with};
use crate::keyspace::IndexedHeader;
use crate::shared::Shared;

/// Folders of at most so many messages have their facts looked at; of larger ones the headers are packed.
const FACTS_SEARCHED_MAX: u64 = 64;

/// What it takes to decide. The cheapest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Need {
    /// The facts of the message.
    Info,
    /// Its header block.
    Header,
    /// Whether a text is in its octets.
    Text(usize),
}

/// A text to look for in octets.
pub(super) struct Text {
    pub(super) needle: Needle,
    /// Headers too.
    pub(super) headers: bool,
}

enum Node {
    Known(bool),
    All(Vec<Node>),
    Any(Vec<Node>),
    Not(Box<Node>),
    Uids(UidSet),
    Flags(Flags),
    Larger(u64),
    Smaller(u64),
    Day(DateField, DayTest, i32),
    ReceivedBy(i64),
    ReceivedFrom(i64),
    Fact(IndexedHeader, Needle),
    Identity(IdentityHeader, Needle),
    Annotation(AnnotationPattern, Option<EntryScope>, Needle),
    Header(String, Needle),
    Text(usize),
    ModSeq(ModSeq),
    Body(BodyId),
    Thread(String),
}

#[derive(Clone, Copy)]
enum DayTest {
    Before,
    On,
    Since,
}

impl DayTest {
    fn holds(self, day: i64, bound: i32) -> bool {
        let bound = i64::from(bound);
        match self {
            Self::Before => day < bound,
            Self::On => day == bound,
            Self::Since => day >= bound,
        }
    }
}

/// A program made ready for one folder.
pub(super) struct Plan {
    root: Node,
    texts: Vec<Text>,
}

/// Answers `Limit` for a program that breaks a bound.
pub(super) fn check(key: &SearchKey) -> Result<(), Failure> {
    fn walk(key: &SearchKey, depth: usize, keys: &mut usize) -> bool {
        *keys += 1;
        if depth > SEARCH_DEPTH_MAX || *keys > SEARCH_KEYS_MAX {
            return false;
        }
        match key {
            SearchKey::And(parts) => parts.iter().all(|part| walk(part, depth + 1, keys)),
            SearchKey::Or(a, b) => walk(a, depth + 1, keys) && walk(b, depth + 1, keys),
            SearchKey::Not(part) => walk(part, depth + 1, keys),
            SearchKey::Header(HeaderField::Named(name), text) => {
                name.len() <= SEARCH_TEXT_BYTES_MAX && text.len() <= SEARCH_TEXT_BYTES_MAX
            }
            SearchKey::Body(text)
            | SearchKey::Text(text)
            | SearchKey::ThreadId(text)
            | SearchKey::Annotation(_, _, text) => text.len() <= SEARCH_TEXT_BYTES_MAX,
            _ => true,
        }
    }
    if walk(key, 0, &mut 0) {
        return Ok(());
    }
    let text = format!(
        "a search may have at most {SEARCH_KEYS_MAX} keys, nested {SEARCH_DEPTH_MAX} deep, with texts of \
         {SEARCH_TEXT_BYTES_MAX} bytes"
    );
    Err(Error::new(ErrorKind::Limit, text).into())
}

impl Plan {
    /// Makes `key` ready, which [`check`] has let pass.
    pub(super) async fn new(
        shared: &Shared,
        ctx: &Ctx,
        account: AccountId,
        folder: &FolderSnapshot,
        key: &SearchKey,
    ) -> Result<Self, Failure> {
        let mut texts = Vec::new();
        let mut root = Self::node(folder, key, &mut texts);
        if folder.state.messages > FACTS_SEARCHED_MAX {
            let mut facts = Vec::new();
            facts_of(&mut root, &mut facts);
            for fact in facts {
                let Node::Fact(header, needle) = &*fact else { continue };
                let uids = headers::messages_with(shared, ctx, account, folder, *header, needle).await?;
                *fact = Node::Uids(uids);
            }
        }
        let mut beside = Vec::new();
        beside_of(&mut root, &mut beside);
        for node in beside {
            let uids = match &*node {
                Node::Identity(header, needle) => {
                    messages_with(shared, account, folder, *header, needle).await?
                }
                Node::Annotation(pattern, scope, needle) => {
                    let of = (pattern, *scope);
                    annotations::messages_with(shared, ctx, account, folder, of, needle).await?
                }
                _ => continue,
            };
            *node = Node::Uids(uids);
        }
        Ok(Self { root, texts })
    }

    fn node(folder: &FolderSnapshot, key: &SearchKey, texts: &mut Vec<Text>) -> Node {
        let mut text = |text: &str, headers| {
            texts.push(Text { needle: Needle::new(text), headers });
            Node::Text(texts.len() - 1)
        };
        match key {
            SearchKey::All => Node::Known(true),
            SearchKey::And(parts) => {
                Node::All(parts.iter().map(|part| Self::node(folder, part, texts)).collect())
            }
            SearchKey::Or(a, b) => {
                Node::Any(vec![Self::node(folder, a, texts), Self::node(folder, b, texts)])
            }
            SearchKey::Not(part) => Node::Not(Box::new(Self::node(folder, part, texts))),
            SearchKey::Uids(uids) => Node::Uids(uids.clone()),
            SearchKey::Flags(flags) => Node::Flags(flags.system_only()),
            SearchKey::Keyword(keyword) => match folder.state.keywords.find(keyword) {
                Some(flag) => Node::Flags(flag),
                None => Node::Known(false),
            },
            SearchKey::Larger(octets) => Node::Larger(*octets),
            SearchKey::Smaller(octets) => Node::Smaller(*octets),
            SearchKey::Before(field, day) => Node::Day(*field, DayTest::Before, *day),
            SearchKey::On(field, day) => Node::Day(*field, DayTest::On, *day),
            SearchKey::Since(field, day) => Node::Day(*field, DayTest::Since, *day),
            SearchKey::ReceivedBy(moment) => Node::ReceivedBy(*moment),
            SearchKey::ReceivedFrom(moment) => Node::ReceivedFrom(*moment),
            SearchKey::Header(HeaderField::Named(name), value) => {
                if let Some(header) = IdentityHeader::named(name) {
                    return Node::Identity(header, Needle::new(value));
                }
                let indexed = IndexedHeader::ALL.iter().find(|(_, known)| known.eq_ignore_ascii_case(name));
                match indexed {
                    Some((header, _)) => Node::Fact(*header, Needle::new(value)),
                    None => Node::Header(name.clone(), Needle::new(value)),
                }
            }
            SearchKey::Body(value) => text(value, false),
            SearchKey::Text(value) => text(value, true),
            SearchKey::ModSeq(modseq) => Node::ModSeq(*modseq),
            SearchKey::EmailId(body) => Node::Body(*body),
            SearchKey::ThreadId(id) => Node::Thread(id.clone()),
            SearchKey::Annotation(pattern, scope, value) => {
                Node::Annotation(pattern.clone(), *scope, Needle::new(value))
            }
        }
    }

    /// The only messages that may match, where the program names them.
    pub(super) fn only(&self) -> Option<UidSet> {
        self.root.only()
    }

    /// How many texts are looked for in octets.
    pub(super) fn texts(&self) -> usize {
        self.texts.len()
    }

    /// The text of that number.
    pub(super) fn text(&self, number: usize) -> &Text {
        &self.texts[number]
    }

    /// Whether the message matches; or what it takes to tell.
    pub(super) fn decide(&self, known: &Known<'_>) -> Result<bool, Need> {
        self.root.decide(known)
    }
}

impl Node {
    fn only(&self) -> Option<UidSet> {
        match self {
            Self::Known(false) => Some(UidSet::new()),
            Self::Uids(uids) => Some(uids.clone()),
            Self::All(parts) => {
                parts.iter().filter_map(Self::only).reduce(|both, uids| both.intersection(&uids))
            }
            _ => None,
        }
    }

    fn decide(&self, known: &Known<'_>) -> Result<bool, Need> {
        let row = known.row;
        match self {
            Self::Known(answer) => Ok(*answer),
            Self::All(parts) => unless(false, parts, known),
            Self::Any(parts) => unless(true, parts, known),
            Self::Not(part) => part.decide(known).map(|answer| !answer),
            Self::Uids(uids) => Ok(uids.contains(row.uid)),
            Self::Flags(flags) => Ok(row.flags.contains(*flags)),
            Self::Larger(octets) => Ok(u64::from(row.size) > *octets),
            Self::Smaller(octets) => Ok(u64::from(row.size) < *octets),
            Self::Day(DateField::Internal, test, bound) => {
                Ok(test.holds(day(row.internal_date, i64::from(row.zone_minutes)), *bound))
            }
            Self::Day(DateField::Saved, test, bound) => Ok(test.holds(day(row.saved_at, 0), *bound)),
            Self::Day(DateField::Sent, test, bound) => {
                let sent = known.info.ok_or(Need::Info)?.sent_date();
                Ok(sent
                    .is_some_and(|at| test.holds(day(at.unix_seconds, i64::from(at.zone_minutes)), *bound)))
            }
            Self::ReceivedBy(moment) => Ok(row.internal_date <= *moment),
            Self::ReceivedFrom(moment) => Ok(row.internal_date >= *moment),
            Self::Fact(header, needle) => {
                let info = known.info.ok_or(Need::Info)?;
                Ok(value_of(*header, info).is_some_and(|value| is_in(needle, value)))
            }
            // Looked up before the first message is.
            Self::Identity(..) | Self::Annotation(..) => Ok(false),
            Self::Header(name, needle) => {
                if let Some(block) = known.header {
                    return Ok(field_contains(block, name, needle));
                }
                // The facts often tell without the octets.
                index_contains(known.info.ok_or(Need::Info)?, name, needle).ok_or(Need::Header)
            }
            Self::Text(number) => known.texts.get(*number).copied().flatten().ok_or(Need::Text(*number)),
            Self::ModSeq(modseq) => Ok(row.modseq >= *modseq),
            Self::Body(body) => Ok(row.body == *body),
            Self::Thread(id) => {
                Ok(thread_id(known.info.ok_or(Need::Info)?).is_some_and(|shown| shown == *id))
            }
        }
    }
}

/// `answer` if any part gives it, else the cheapest thing a part needs, else the opposite.
fn unless(answer: bool, parts: &[Node], known: &Known<'_>) -> Result<bool, Need> {
    let mut need: Option<Need> = None;
    for part in parts {
        match part.decide(known) {
            Ok(given) if given == answer => return Ok(answer),
            Ok(_) => {}
            Err(more) => need = Some(need.map_or(more, |need| need.min(more))),
        }
    }
    need.map_or(Ok(!answer), Err)
}

/// The day of a moment in a zone, since 1970-01-01.
fn day(moment: i64, zone_minutes: i64) -> i64 {
    moment.saturating_add(zone_minutes * 60).div_euclid(86_400)
}

fn is_in(needle: &Needle, value: &[u8]) -> bool {
    needle.is_in(&String::from_utf8_lossy(value))
}

fn facts_of<'n>(node: &'n mut Node, facts: &mut Vec<&'n mut Node>) {
    match node {
        Node::All(parts) | Node::Any(parts) => parts.iter_mut().for_each(|part| facts_of(part, facts)),
        Node::Not(part) => facts_of(part, facts),
        Node::Fact(..) => facts.push(node),
        _ => {}
    }
}

fn beside_of<'n>(node: &'n mut Node, beside: &mut Vec<&'n mut Node>) {
    match node {
        Node::All(parts) | Node::Any(parts) => {
            for part in parts {
                beside_of(part, beside);
            }
        }
        Node::Not(part) => beside_of(part, beside),
        Node::Identity(..) | Node::Annotation(..) => beside.push(node),
        _ => {}
    }
}
