//! A message put together from texts and parts of other messages. Source: RFC 4469; RFC 5092 §6.1 for parts of others'
//! messages, by URLs with authorization.

use bytes::BytesMut;
use futures::StreamExt;
use imap_wire::Code;
use imap_wire::url::MessageUrl;
use model::limits::APPEND_BYTES_MAX;
use model::{AccountId, FolderSnapshot, MailboxName, Uid};
use store_api::AppendBody;

use super::super::fetch::What;
use super::super::fetch::octets::{Message, Opened, streaming};
use super::collect::{fits_inline, too_big};
use crate::encode;
use crate::reply::Reply;
use crate::session::Session;
use crate::view::FolderRef;

/// Octets of texts that one message may have. They are held until its size is known; what is large is there already
/// and named by URL, which is what CATENATE is for.
const TEXT_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// Parts by URL that one message may have: each is open until the message's end.
const URLS_MAX: usize = 100;

/// A part of a message.
enum Part {
    /// Texts that follow each other.
    Text(BytesMut),
    /// What a URL names.
    Url(Opened),
}

/// The parts of a message, in order.
#[derive(Default)]
pub(super) struct Parts {
    parts: Vec<Part>,
    text_bytes: u64,
    urls: usize,
    bytes: u64,
}

impl Parts {
    /// Agrees to a text of `size` octets.
    ///
    /// # Errors
    /// NO `[TOOBIG]`.
    pub fn begin_text(&mut self, size: u64) -> Result<(), Reply> {
        self.text_bytes = self.text_bytes.saturating_add(size);
        if self.text_bytes > TEXT_BYTES_MAX {
            let text = format!("the texts of one message have at most {TEXT_BYTES_MAX} octets together");
            return Err(Reply::no_code("TOOBIG", text));
        }
        self.grow(size)
    }

    /// Takes octets of a text.
    pub fn octets(&mut self, octets: &[u8]) {
        match self.parts.last_mut() {
            Some(Part::Text(text)) => text.extend_from_slice(octets),
            _ => self.parts.push(Part::Text(octets.into())),
        }
    }

    /// Takes the part that a URL names.
    ///
    /// # Errors
    /// NO `[BADURL url]` when it names none, `[TOOBIG]`, `[LIMIT]`, and what the store answers.
    pub async fn url(&mut self, session: &Session, url: &[u8]) -> Result<(), Reply> {
        self.urls += 1;
        if self.urls > URLS_MAX {
            return Err(Reply::no_code(
                "LIMIT",
                format!("one message takes at most {URLS_MAX} parts by URL"),
            ));
        }
        let opened = match open(session, url).await? {
            None | Some(Opened::Nil) => {
                let code = encode::code(&Code::BadUrl(url));
                return Err(Reply::no_code(code, "the URL names no part of a message here"));
            }
            Some(opened) => opened,
        };
        self.grow(match &opened {
            Opened::Nil => 0,
            Opened::Octets(octets) => octets.len() as u64,
            Opened::Pieces(len, _) => *len,
        })?;
        self.parts.push(Part::Url(opened));
        Ok(())
    }

    fn grow(&mut self, size: u64) -> Result<(), Reply> {
        self.bytes = self.bytes.saturating_add(size);
        if self.bytes > APPEND_BYTES_MAX { Err(too_big()) } else { Ok(()) }
    }

    /// The message.
    ///
    /// # Errors
    /// NO when it has no octets, and what the store answers.
    pub async fn finish(
        self,
        session: &Session,
        account: AccountId,
        held: &mut usize,
    ) -> Result<AppendBody, Reply> {
        if self.bytes == 0 {
            return Err(Reply::no("a message without octets cannot be appended"));
        }
        if fits_inline(self.bytes, held) {
            let mut all = Vec::with_capacity(self.bytes as usize);
            for part in self.parts {
                match part {
                    Part::Text(text) => all.extend_from_slice(&text),
                    Part::Url(opened) => all.extend_from_slice(&opened.collect().await?),
                }
            }
            return Ok(AppendBody::Inline(all.into()));
        }
        let mut writer = session.store().stage_body(&streaming(&session.ctx()), account, self.bytes).await?;
        for part in self.parts {
            match part {
                Part::Text(text) => writer.write(text.freeze()).await?,
                Part::Url(Opened::Nil) => {}
                Part::Url(Opened::Octets(octets)) => writer.write(octets).await?,
                Part::Url(Opened::Pieces(_, mut pieces)) => {
                    while let Some(piece) = pieces.next().await {
                        writer.write(piece?).await?;
                    }
                }
            }
        }
        Ok(AppendBody::Staged(writer.finish().await?))
    }
}

/// The octets that a URL names; none if it is no URL of this server's, or names nothing.
async fn open(session: &Session, url: &[u8]) -> Result<Option<Opened>, Reply> {
    let Some(url) = MessageUrl::parse(url) else { return super::super::urlauth::open(session, url).await };
    let Some((account, folder, uid)) = find(session, &url).await? else { return Ok(None) };
    let Some(row) = folder.row(uid) else { return Ok(None) };
    let (ctx, source) = (session.ctx(), FolderRef { account, mailbox: folder.mailbox });
    let index = session.store().infos(&ctx, account, folder.mailbox, &[row.body]).await?.pop().flatten();
    let Some(index) = index else { return Ok(None) };
    let about = (row.body, u64::from(row.size));
    let mut message = Message::new(session.store(), &ctx, source, about, Some(index));
    let part: Vec<u32> = url.section.part.iter().map(|n| n.get()).collect();
    match message.open(&part, &What::of(url.section.text.as_ref()), url.partial).await {
        Ok(opened) => Ok(Some(opened)),
        Err(error) if error.kind() == model::ErrorKind::Expunged => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The folder of a URL and the UID in it; none if there is no such folder.
async fn find(
    session: &Session,
    url: &MessageUrl,
) -> Result<Option<(AccountId, std::sync::Arc<FolderSnapshot>, Uid)>, Reply> {
    let FolderRef { account, mailbox } = match &url.mailbox {
        Some(name) => {
            let Ok(name) = MailboxName::parse(name) else { return Ok(None) };
            match session.folders().await?.find(&name) {
                Some(folder) if !folder.noselect => {
                    FolderRef { account: session.account()?, mailbox: folder.id }
                }
                _ => return Ok(None),
            }
        }
        // RFC 4469 §3: relative to the selected mailbox.
        None => match &session.view {
            Some(view) => view.folder(),
            None => return Ok(None),
        },
    };
    let folder = match session.store().folder(&session.ctx(), account, mailbox).await {
        Ok(folder) => folder,
        Err(error) if error.kind() == model::ErrorKind::NoSuchMailbox => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let same = url.uid_validity.is_none_or(|validity| validity.get() == folder.state.uid_validity.get());
    Ok(Uid::new(url.uid.get()).filter(|_| same).map(|uid| (account, folder, uid)))
}
