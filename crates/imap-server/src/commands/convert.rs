//! `CONVERT set (type (parameters)) items`, `UID CONVERT`, `CONVERSIONS from to`.
//!
//! Parts are converted by [`convert`], in processes of their own; here is what the client asks, and what it is told. Who may
//! read the folder may have its parts converted: the folder and the facts of its messages are asked of the store by
//! every command, whether the conversion is kept from an earlier one or not. `\Seen` is never set. A message itself
//! (`BINARY[]`), and parts that have parts, are not converted.
//!
//! Each item is converted when its turn to be sent has come, so that a session holds one result at a time.
//!
//! Source: RFC 5259. Answers: OK when one of the conversions succeeded, or none was asked for; NO when all failed, with
//! `[TEMPFAIL]` when each of them may succeed later; NO `[MAXCONVERTMESSAGES n]`, `[MAXCONVERTPARTS n]`, `[EXPUNGEISSUED]`.
//! An item that failed has an ERROR phrase for its value. Whoever asks for headers to be converted without the charset, or
//! to another type, has made a mistake of syntax.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use convert::{Converted, Failure, Form, Job, Key, Media, Planned, Refusal, Source, Target, plan};
use cpm_mime::{Encoding, MessageIndex, Section};
use imap_wire::Code;
use imap_wire::command::{Conversions, Convert, ConvertItem, Partial, SectionText};
use imap_wire::response::converted::{ConvertError, ConvertedName, ConvertedWriter, conversion};
use model::{Error, ErrorKind, MessageRow};

use super::fetch::octets::Message;
use super::fetch::{What, rows};
use super::store_flags::missing;
use crate::config::Conversion;
use crate::connection::Output;
use crate::encode;
use crate::progress::patiently;
use crate::reply::Reply;
use crate::session::Session;
use crate::view::FolderRef;

/// What header blocks are called where a media type is wanted (RFC 6522 §4).
const HEADERS: &str = "text/rfc822-headers";
/// The type of a message itself.
const MESSAGE: &str = "message/rfc822";
/// Minutes after which a client may try again what had no worker.
const RETRY_MINUTES: u32 = 1;

/// `CONVERSIONS`
pub(crate) async fn conversions(
    session: &mut Session,
    out: &mut Output,
    asked: Conversions,
) -> Result<Reply, Reply> {
    offered(session)?;
    for offered in convert::conversions() {
        let (from, to) = (offered.source.media_type(), offered.target.media_type());
        if asked.from.includes(from) && asked.to.includes(to) {
            conversion(out.text(), from, to, offered.target.parameters());
        }
    }
    Ok(Reply::ok("CONVERSIONS completed"))
}

fn offered(session: &Session) -> Result<&Conversion, Reply> {
    session
        .server
        .options
        .conversion
        .as_ref()
        .ok_or_else(|| Reply::bad("nothing is converted by this server"))
}

pub(crate) async fn run(session: &mut Session, out: &mut Output, convert: Convert) -> Result<Reply, Reply> {
    let conversion = offered(session)?.clone();
    if convert.parameters.iter().any(|(name, value)| name.as_str().is_none() || value.as_str().is_none()) {
        return Err(Reply::bad("conversion parameters are text in UTF-8"));
    }
    let parts: BTreeSet<_> = convert.items.iter().filter_map(what_is_converted).collect();
    if parts.len() > conversion.parts_max {
        let code = encode::code(&Code::MaxConvertParts(count(conversion.parts_max)));
        return Err(Reply::no_code(code, "too many parts at once"));
    }
    let view = session.view()?;
    let wanted = view.resolve(&convert.set, convert.uid)?;
    let known_expunge_modseq = view.known_expunge_modseq;
    if wanted.len() > conversion.messages_max as u64 {
        let code = encode::code(&Code::MaxConvertMessages(count(conversion.messages_max)));
        return Err(Reply::no_code(code, "too many messages at once"));
    }
    let snapshot = session.snapshot().await?;
    let mut gone = snapshot.state.expunge_modseq > known_expunge_modseq && missing(&snapshot, &wanted);
    let session = &*session;
    let view = session.view()?;
    let FolderRef { account, mailbox } = view.folder();
    let rows: Vec<(u32, &MessageRow)> =
        rows(&snapshot, &wanted).filter_map(|row| Some((view.seq.seq(row.uid)?, row))).collect();
    let bodies: Vec<_> = rows.iter().map(|(_, row)| row.body).collect();
    let indexes = session.store().infos(&session.ctx(), account, mailbox, &bodies).await?;
    tracing::debug!(%account, messages = rows.len(), parts = parts.len(), target = ?convert.target, "CONVERT");

    let mut ended = Ended::default();
    for ((seq, row), index) in rows.into_iter().zip(indexes) {
        let Some(index) = index else {
            gone = true;
            continue;
        };
        let message = Converting { session, conversion: &conversion, convert: &convert, row, index: &index };
        message.show(out, seq, &mut ended).await?;
    }
    if gone && !convert.uid {
        return Err(Reply::no_code("EXPUNGEISSUED", "some of the messages are gone"));
    }
    Ok(match ended {
        Ended { failed: 0, .. } => Reply::ok("CONVERT completed"),
        Ended { done: 1.., .. } => Reply::ok("CONVERT completed, but some conversions failed"),
        Ended { failed, later, .. } if later == failed => {
            Reply::no_code("TEMPFAIL", "all conversions failed, and may succeed later")
        }
        Ended { .. } => Reply::no("all conversions failed"),
    })
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// The part whose conversion an item asks for, and which header of it.
fn what_is_converted(item: &ConvertItem) -> Option<(Vec<u32>, Option<bool>)> {
    let (part, header) = match item {
        ConvertItem::Uid | ConvertItem::AvailableConversions(_) => return None,
        ConvertItem::BodyPartStructure(part)
        | ConvertItem::BinarySize(part)
        | ConvertItem::Binary { part, .. } => (part, None),
        ConvertItem::Header(section) => (&section.part, Some(section.text == Some(SectionText::Mime))),
    };
    Some((part.iter().map(|n| n.get()).collect(), header))
}

/// How many items came to what.
#[derive(Clone, Copy, Debug, Default)]
struct Ended {
    done: u64,
    failed: u64,
    /// Of the failed ones, those that may succeed later.
    later: u64,
}

/// What an item comes to.
enum Value {
    Converted(Arc<Converted>, Option<Form>),
    Types(Vec<&'static str>),
}

/// Why an item has no value.
struct Phrase {
    text: &'static str,
    /// Whether it may have one later.
    later: bool,
    from: Option<String>,
    to: String,
    /// The places of parameters that are to blame.
    parameters: Vec<usize>,
}

/// A message of which something is converted.
struct Converting<'a> {
    session: &'a Session,
    conversion: &'a Conversion,
    convert: &'a Convert,
    row: &'a MessageRow,
    index: &'a Arc<MessageIndex>,
}

impl Converting<'_> {
    /// Sends what is asked of the message.
    async fn show(&self, out: &mut Output, seq: u32, ended: &mut Ended) -> Result<(), Reply> {
        let mut items = self.convert.items.iter().filter(|item| !matches!(item, ConvertItem::Uid));
        // The line cannot be interrupted by a notice that the server is at work: the first item, mostly the only one, is
        // waited for before.
        let first = match items.next() {
            Some(item) => Some((item, patiently(self.session, out, self.value(item)).await??)),
            None => None,
        };
        let text = out.text();
        let mut writer = ConvertedWriter::begin(text, seq, &self.session.tag);
        if self.convert.uid || self.convert.items.contains(&ConvertItem::Uid) {
            writer.uid(text, self.row.uid.get());
        }
        if let Some((item, value)) = first {
            self.write(out, &mut writer, item, value, ended);
            out.relieve().await?;
        }
        for item in items {
            let value = match self.value(item).await {
                Ok(value) => value,
                // The line has begun: it must end as what it is.
                Err(_) => Err(later("the part could not be read")),
            };
            self.write(out, &mut writer, item, value, ended);
            out.relieve().await?;
        }
        writer.end(out.text());
        out.relieve().await
    }

    fn write(
        &self,
        out: &mut Output,
        writer: &mut ConvertedWriter,
        item: &ConvertItem,
        value: Result<Value, Phrase>,
        ended: &mut Ended,
    ) {
        let name = match item {
            ConvertItem::Binary { part, partial } => {
                ConvertedName::Binary(part, partial.map(|partial| partial.offset).filter(|_| value.is_ok()))
            }
            ConvertItem::BinarySize(part) => ConvertedName::BinarySize(part),
            ConvertItem::BodyPartStructure(part) => ConvertedName::BodyPartStructure(part),
            ConvertItem::AvailableConversions(part) => ConvertedName::AvailableConversions(part),
            ConvertItem::Header(section) => ConvertedName::Header(section),
            ConvertItem::Uid => return,
        };
        match value {
            Ok(Value::Types(types)) => writer.types(out.text(), name, types),
            Ok(Value::Converted(converted, form)) => match (item, form) {
                (ConvertItem::BinarySize(_), _) => {
                    writer.number(out.text(), name, converted.octets.len() as u64);
                }
                (ConvertItem::BodyPartStructure(_), Some(form)) => {
                    writer.structure(out.text(), name, structure(&converted, &form).as_bytes());
                }
                (ConvertItem::Binary { partial, .. }, _) => {
                    let octets = shown(&converted.octets, *partial);
                    let may_have_nul = memchr::memchr(0, &octets).is_some();
                    writer.literal(out.text(), name, octets.len() as u64, may_have_nul);
                    out.push_bytes(octets);
                }
                _ => {
                    let may_have_nul = memchr::memchr(0, &converted.octets).is_some();
                    writer.literal(out.text(), name, converted.octets.len() as u64, may_have_nul);
                    out.push_bytes(converted.octets.clone());
                }
            },
            Err(phrase) => {
                ended.failed += 1;
                ended.later += u64::from(phrase.later);
                let pair = |at: &usize| {
                    self.convert.parameters.get(*at).map(|(name, value)| (name.as_bytes(), value.as_bytes()))
                };
                let parameters: Vec<_> = phrase.parameters.iter().filter_map(pair).collect();
                let error = if phrase.later {
                    ConvertError::TempFail(RETRY_MINUTES)
                } else {
                    let (from, to) = (phrase.from.as_deref(), phrase.to.as_str());
                    ConvertError::BadParameters { from, to, parameters: &parameters }
                };
                return writer.error(out.text(), name, phrase.text, error);
            }
        }
        ended.done += 1;
    }

    /// What an item comes to.
    ///
    /// # Errors
    /// What the store answers when it cannot be read at all.
    async fn value(&self, item: &ConvertItem) -> Result<Result<Value, Phrase>, Reply> {
        let Some((part, header)) = what_is_converted(item) else {
            let ConvertItem::AvailableConversions(part) = item else {
                return Ok(Ok(Value::Types(Vec::new())));
            };
            let part: Vec<u32> = part.iter().map(|n| n.get()).collect();
            return Ok(self.available(&part).map(Value::Types));
        };
        match header {
            Some(mime) => self.header(part, mime).await,
            None => self.part(part).await,
        }
    }

    async fn part(&self, part: Vec<u32>) -> Result<Result<Value, Phrase>, Reply> {
        let (job, size) = match self.planned(&part) {
            Ok(planned) => planned,
            Err(phrase) => return Ok(Err(phrase)),
        };
        let (from, to) = (self.media_type(&part), self.target(&part));
        let source = async {
            let ctx = self.session.ctx();
            match self.message(&ctx)?.decode(&part, None).await? {
                Some(decoded) => decoded.octets.collect().await,
                None => Err(Error::new(ErrorKind::Corrupt, "a part in an encoding that is not known")),
            }
        };
        let done = self.converted(part.clone(), job, size, source).await?;
        Ok(done.map_err(|failed| self.phrase(failed, from, to)))
    }

    async fn header(&self, part: Vec<u32>, mime: bool) -> Result<Result<Value, Phrase>, Reply> {
        let bad = |text, parameters| Phrase {
            text,
            later: false,
            from: Some(HEADERS.to_owned()),
            to: HEADERS.to_owned(),
            parameters,
        };
        let job = match Job::of_header(&parameters(self.convert)) {
            Planned::Job(job) => job,
            Planned::BadParameters(places) => return Ok(Err(bad(BAD_PARAMETERS, places))),
            Planned::Impossible => return Ok(Err(bad(IMPOSSIBLE, Vec::new()))),
        };
        let (section, what) =
            if mime { (Section::Mime, What::Mime) } else { (Section::Header, What::Header) };
        let Some(range) = self.index.section(&part, section) else {
            return Ok(Err(Phrase { from: None, ..bad("there is no such part", Vec::new()) }));
        };
        let size = range.end - range.start;
        if size > convert::limits::HEADER_BYTES_MAX {
            return Ok(Err(bad(Refusal::TooLarge.text(), Vec::new())));
        }
        // No part has the number 0: a header is kept apart from the part, and its two kinds from each other.
        let kept_as = [&part[..], if mime { &[0, 0] } else { &[0] }].concat();
        let source = async {
            let ctx = self.session.ctx();
            self.message(&ctx)?.open(&part, &what, None).await?.collect().await
        };
        let done = self.converted(kept_as, job, size, source).await?;
        Ok(done.map_err(|failed| self.phrase(failed, HEADERS.to_owned(), HEADERS.to_owned())))
    }

    fn message<'m>(&'m self, ctx: &'m store_api::Ctx) -> model::Result<Message<'m>> {
        let folder =
            self.session.view().map_err(|_| Error::new(ErrorKind::Bug, "no folder is selected"))?.folder();
        let body = (self.row.body, u64::from(self.row.size));
        Ok(Message::new(self.session.store(), ctx, folder, body, Some(self.index.clone())))
    }

    /// Has a part converted, or finds it converted already.
    async fn converted(
        &self,
        part: Vec<u32>,
        job: Job,
        size: u64,
        source: impl Future<Output = model::Result<Bytes>>,
    ) -> Result<Result<Value, Option<Refusal>>, Reply> {
        let account = self.session.view()?.account;
        let (converter, form) = (&self.conversion.converter, job.form());
        let key = Key { account, body: self.row.body, part, job };
        let done = match converter.kept(&key).await {
            Some(kept) => Ok(kept),
            None => {
                let _turn = self.session.server.turns.search(account).await;
                converter.convert(key, size, source).await
            }
        };
        match done {
            Ok(Ok(converted)) => Ok(Ok(Value::Converted(converted, form))),
            Ok(Err(refusal)) => {
                if refusal == Refusal::TooCostly {
                    let by = self.session.account()?;
                    tracing::info!(%account, %by, uid = %self.row.uid, "a part is too costly to convert");
                }
                Ok(Err(Some(refusal)))
            }
            Err(Failure::Busy) => Ok(Err(None)),
            Err(Failure::Source(error)) => Err(error.into()),
        }
    }

    /// What is done with a part, and how many octets it has at most.
    fn planned(&self, part: &[u32]) -> Result<(Job, u64), Phrase> {
        let impossible = |text| {
            let (from, to) = (Some(self.media_type(part)), self.target(part));
            Phrase { text, later: false, from, to, parameters: Vec::new() }
        };
        let found = self.index.part(part).filter(|_| !part.is_empty());
        let Some(found) = found else {
            let mut phrase = impossible(if part.is_empty() { IMPOSSIBLE } else { "there is no such part" });
            phrase.from = phrase.from.filter(|_| part.is_empty());
            return Err(phrase);
        };
        let source = Source::named(found.media_type).ok_or_else(|| impossible(IMPOSSIBLE))?;
        let target = Target::named(&self.target(part)).ok_or_else(|| impossible(IMPOSSIBLE))?;
        if found.encoding == Encoding::Unknown {
            return Err(impossible("the part is in an encoding that is not known"));
        }
        let encoded = found.body.end - found.body.start;
        let size = if found.encoding == Encoding::Base64 { encoded / 4 * 3 + 3 } else { encoded };
        match plan(source, found.charset, target, &parameters(self.convert)) {
            Planned::Job(job) => Ok((job, size)),
            Planned::Impossible => Err(impossible(IMPOSSIBLE)),
            Planned::BadParameters(places) => {
                Err(Phrase { parameters: places, ..impossible(BAD_PARAMETERS) })
            }
        }
    }

    /// What a part can be converted to, as far as the type asked for and the parameters allow.
    fn available(&self, part: &[u32]) -> Result<Vec<&'static str>, Phrase> {
        let source = self
            .index
            .part(part)
            .filter(|_| !part.is_empty())
            .and_then(|part| Source::named(part.media_type));
        let exists = part.is_empty() || self.index.part(part).is_some();
        if let (None, None, true) = (source, &self.convert.target, exists) {
            return Ok(Vec::new());
        }
        // What holds for the customary type holds for all: their parameters are the same.
        self.planned(part)?;
        let asked = self.convert.target.as_deref().and_then(Target::named);
        let all = source
            .into_iter()
            .flat_map(Source::targets)
            .filter(|target| asked.is_none_or(|asked| asked == *target));
        Ok(all.map(Target::media_type).collect())
    }

    /// The type of a part; that of a message for the message itself, and for a part that is not there.
    fn media_type(&self, part: &[u32]) -> String {
        let found = self.index.part(part).filter(|_| !part.is_empty());
        let named = found.map_or(MESSAGE, |part| part.media_type);
        // It goes between quotes.
        if named.is_ascii() { named.to_owned() } else { "application/octet-stream".to_owned() }
    }

    /// The type that a part is to have: as asked, or the customary one.
    fn target(&self, part: &[u32]) -> String {
        if let Some(target) = &self.convert.target {
            return target.clone();
        }
        match Source::named(&self.media_type(part)).map(Source::media) {
            Some(Media::Picture) => self.conversion.picture.media_type(),
            Some(Media::Text) | None => Target::Plain.media_type(),
        }
        .to_owned()
    }

    /// Why a conversion failed: a refusal, or none where no worker was there.
    fn phrase(&self, failed: Option<Refusal>, from: String, to: String) -> Phrase {
        let Some(refusal) = failed else { return later("no worker could convert it in time") };
        let is_charset =
            |(name, _): &(imap_wire::IString, _)| name.as_bytes().eq_ignore_ascii_case(b"charset");
        let charset = self.convert.parameters.iter().position(is_charset);
        let parameters = charset.filter(|_| refusal == Refusal::Lacking).into_iter().collect();
        Phrase { text: refusal.text(), later: false, from: Some(from), to, parameters }
    }
}

/// Why an item has no value now.
fn later(text: &'static str) -> Phrase {
    Phrase { text, later: true, from: None, to: String::new(), parameters: Vec::new() }
}

const IMPOSSIBLE: &str = "there is no such conversion";
const BAD_PARAMETERS: &str = "a parameter is not known here, or cannot have that value";

/// The parameters as texts, which [`run`] has checked that they are.
fn parameters(convert: &Convert) -> Vec<(&str, &str)> {
    let pairs = convert.parameters.iter();
    pairs
        .map(|(name, value)| (name.as_str().unwrap_or_default(), value.as_str().unwrap_or_default()))
        .collect()
}

/// The octets of a partial.
fn shown(octets: &Bytes, partial: Option<Partial>) -> Bytes {
    let Some(Partial { offset, length }) = partial else { return octets.clone() };
    let size = octets.len() as u64;
    let (start, end) = (offset.min(size), offset.saturating_add(length).min(size));
    octets.slice(start as usize..end as usize)
}

/// The structure of a converted part, in the form of BODYSTRUCTURE (RFC 9051 §7.5.2).
fn structure(converted: &Converted, form: &Form) -> String {
    let (size, lines) = (converted.octets.len(), converted.lines);
    match form {
        Form::Text(charset) => {
            format!(
                "(\"TEXT\" \"PLAIN\" (\"CHARSET\" \"{charset}\") NIL NIL \"8BIT\" {size} {lines} NIL NIL NIL NIL)"
            )
        }
        Form::Picture(target) => {
            let subtype = target.media_type().trim_start_matches("image/").to_ascii_uppercase();
            format!("(\"IMAGE\" \"{subtype}\" NIL NIL NIL \"BINARY\" {size} NIL NIL NIL NIL)")
        }
    }
}
