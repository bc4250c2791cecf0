//! One connection's state: who is logged in, what is enabled, which folder is selected.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use imap_wire::{MailboxArg, MailboxEncoding, Tag};
use model::{AccountId, CpmAddress, DeviceId, FolderSnapshot, MailboxId, MailboxName, ModSeq, Uid, UidSet};
use store_api::{Account, Ctx, FolderTree, MailStore, Requestor, User};

use crate::accounts::Addresses;
use crate::auth::certificate::ClientCertificate;
use crate::commands::fetch::ahead::Batch;
use crate::config::CleartextLogin;
use crate::connection::Output;
use crate::notify::Notify;
use crate::notify::names::OwnChange;
use crate::others::Place;
use crate::reply::Reply;
use crate::server::{Shared, Slot};
use crate::telemetry::{Stage, StageGauge};
use crate::view::{FolderRef, View};

/// What `ENABLE` has switched on; nothing switches off again but UNAUTHENTICATE (RFC 5161 §3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Enabled {
    /// MODSEQ in FETCH responses (RFC 7162 §3.1); also switched on by commands that mention it.
    pub condstore: bool,
    /// VANISHED in place of EXPUNGE (RFC 7162 §3.2).
    pub qresync: bool,
    /// UTF-8 in names and headers (RFC 6855).
    pub utf8: bool,
    /// IMAP4rev2 (RFC 9051).
    pub rev2: bool,
}

/// Who is logged in.
#[derive(Debug)]
pub(crate) struct Login {
    /// The active account: folders are found in it, and its rights count.
    pub account: AccountId,
    /// What the store is told of who asks.
    pub user: Arc<User>,
    /// The addresses that are logged in.
    pub addresses: Box<Addresses>,
    /// Counts this session against the active account's limit.
    pub slot: Slot<(AccountId, SessionOf)>,
}

/// Whose session it is: a network function that holds many must not keep the owner out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum SessionOf {
    Owner,
    NetworkFunction,
}

/// The states of RFC 9051 §3, as far as commands depend on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    NotAuthenticated,
    Authenticated,
    Selected,
}

pub(crate) struct Session {
    pub server: Arc<Shared>,
    /// Names the connection in the log.
    pub id: u64,
    pub peer: SocketAddr,
    pub enabled: Enabled,
    pub login: Option<Login>,
    /// The device that the client said it is, before login or after.
    pub device: Option<DeviceId>,
    /// Whom the client's certificate names, where it showed one that an authority of ours signed, or the identity of the key
    /// that it proved to have.
    pub certificate: Option<Box<ClientCertificate>>,
    /// The selected folder.
    pub view: Option<Box<View>>,
    /// What NOTIFY set up; none before it was ever used.
    pub notify: Option<Box<Notify>>,
    /// The folder as the running command read it; see [`Session::snapshot`].
    pub(crate) fresh: Option<Arc<FolderSnapshot>>,
    /// What was read for FETCH commands that arrived together, while they run.
    pub(crate) batch: Option<Box<Batch>>,
    /// Names the running command in the log and towards the store.
    pub request_id: u64,
    /// The running command's tag, for responses that name it (ESEARCH, INPROGRESS).
    pub tag: Tag,
    pub(crate) login_failures: u32,
    /// Whether the log has that a login on this connection was not looked at, after too many that failed.
    pub(crate) blocked_logged: bool,
    pub(crate) stage: StageGauge,
}

impl Session {
    pub fn new(server: Arc<Shared>, id: u64, peer: SocketAddr) -> Self {
        Self {
            server,
            id,
            peer,
            enabled: Enabled::default(),
            login: None,
            device: None,
            certificate: None,
            view: None,
            notify: None,
            fresh: None,
            batch: None,
            request_id: 0,
            tag: Tag::default(),
            login_failures: 0,
            blocked_logged: false,
            stage: StageGauge::new(),
        }
    }

    pub fn state(&self) -> State {
        match (&self.login, &self.view) {
            (None, _) => State::NotAuthenticated,
            (Some(_), None) => State::Authenticated,
            (Some(_), Some(_)) => State::Selected,
        }
    }

    /// The state, for the gauge.
    pub(crate) fn note_stage(&mut self) {
        self.stage.set(match self.state() {
            State::NotAuthenticated => Stage::NotAuthenticated,
            State::Authenticated => Stage::Authenticated,
            State::Selected => Stage::Selected,
        });
    }

    pub fn store(&self) -> &dyn MailStore {
        &*self.server.store
    }

    /// The account logged in.
    ///
    /// # Errors
    /// BAD before login; the table of commands keeps such commands away already.
    pub fn account(&self) -> Result<AccountId, Reply> {
        self.login.as_ref().map(|l| l.account).ok_or_else(|| Reply::bad("log in first"))
    }

    /// The address of the active account; none before login.
    pub fn address(&self) -> Option<&CpmAddress> {
        self.login.as_ref().map(|login| &login.addresses.active)
    }

    /// Notes whom a verified certificate names. The device that it names is the session's, whatever the client says.
    pub fn set_certificate(&mut self, certificate: ClientCertificate) {
        self.device.clone_from(&certificate.device);
        self.certificate = Some(Box::new(certificate));
    }

    /// The device that the client proved to be.
    pub fn proven_device(&self) -> Option<&DeviceId> {
        self.certificate.as_ref()?.device.as_ref()
    }

    /// Notes at which device the session is; changes from now on are that device's. What the client says does not
    /// count against its certificate.
    pub fn set_device(&mut self, device: DeviceId) {
        if self.proven_device().is_some() {
            return;
        }
        self.device = Some(device.clone());
        if let Some(login) = &mut self.login {
            login.user = Arc::new(User { device: Some(device), ..(*login.user).clone() });
        }
    }

    /// The selected folder.
    ///
    /// # Errors
    /// BAD when none is; the table of commands keeps such commands away already.
    pub fn view(&self) -> Result<&View, Reply> {
        self.view.as_deref().ok_or_else(|| Reply::bad("select a mailbox first"))
    }

    /// The selected folder's id, where it is one of that account.
    pub fn selected_in(&self, account: AccountId) -> Option<MailboxId> {
        self.view.as_ref().filter(|view| view.account == account).map(|view| view.mailbox)
    }

    /// Notes what the running command did to a name, so that NOTIFY does not tell it.
    pub fn note_own(&mut self, change: OwnChange) {
        if let Some(notify) = &mut self.notify {
            notify.note_own(change);
        }
    }

    /// Notes which messages the running command brought to a folder, so that NOTIFY does not tell them.
    pub async fn note_own_arrivals(&mut self, place: &Place, uids: &UidSet) {
        let Some(notify) = self.notify.as_deref_mut().filter(|notify| notify.listens()) else { return };
        let is_there = |view: &&mut View| view.account == place.account && view.name == place.name;
        if let Some(view) = self.view.as_deref_mut().filter(is_there) {
            if !notify.selected().items.is_empty() {
                view.note_own_arrivals(uids);
            }
            return;
        }
        let Ok(tree) = self.tree_of(place).await else { return };
        if let (Some(entry), Some(notify)) = (tree.find(&place.name), &mut self.notify) {
            notify.note_own_arrivals(place.account, entry.id, uids);
        }
    }

    /// The selected folder, to note what the client was told.
    ///
    /// # Errors
    /// As [`Session::view`].
    pub fn view_mut(&mut self) -> Result<&mut View, Reply> {
        self.view.as_deref_mut().ok_or_else(|| Reply::bad("select a mailbox first"))
    }

    /// The selected folder, which may be changed.
    ///
    /// # Errors
    /// As [`Session::view`]; NO when it was opened by EXAMINE.
    pub fn writable_view(&self) -> Result<&View, Reply> {
        let view = self.view()?;
        if view.read_only {
            return Err(Reply::no_code(
                "READ-ONLY",
                "the mailbox was opened to be read and cannot be changed",
            ));
        }
        Ok(view)
    }

    /// What accompanies a call of the store for the running command.
    pub fn ctx(&self) -> Ctx {
        Ctx {
            request_id: self.request_id,
            deadline: Some(Instant::now() + self.server.options.limits.call_time_max),
            requestor: match &self.login {
                Some(login) => Requestor::User(login.user.clone()),
                None => Requestor::Nobody,
            },
        }
    }

    /// The selected folder as it is now. What the command read is also what is compared with the client's knowledge
    /// when it ends, unless the table says that the command changes it. Do not keep it beyond the command.
    ///
    /// # Errors
    /// NO `[NONEXISTENT]` when the folder was deleted meanwhile, and what the store answers.
    pub async fn snapshot(&mut self) -> Result<Arc<FolderSnapshot>, Reply> {
        let FolderRef { account, mailbox } = self.view()?.folder();
        let snapshot = match self.batch.as_ref().and_then(|batch| batch.snapshot(mailbox)) {
            Some(snapshot) => snapshot.clone(),
            None => self.store().folder(&self.ctx(), account, mailbox).await?,
        };
        self.fresh = Some(snapshot.clone());
        Ok(snapshot)
    }

    /// Notes that the client uses mod-sequences from now on; if that is new, it is told where they stand (RFC 7162
    /// §3.1.2).
    pub fn enable_condstore(&mut self, out: &mut Output) {
        if std::mem::replace(&mut self.enabled.condstore, true) {
            return;
        }
        if let Some(view) = &self.view {
            out.untagged(format_args!("OK [HIGHESTMODSEQ {}] mod-sequences are told", view.known_modseq));
        }
    }

    /// Up to where the client knows the selected folder, once it is told what it did itself up to `modseq`: no further than
    /// before where NOTIFY keeps changes of flags from it (RFC 5465 §5.1), of which it would else never hear.
    pub fn known_with(&self, modseq: ModSeq) -> ModSeq {
        let tells_flags = self.notify.as_ref().is_none_or(|notify| notify.selected().flags);
        match &self.view {
            Some(view) if !tells_flags && view.known_modseq.next() != modseq => view.known_modseq,
            _ => modseq,
        }
    }

    /// All folders.
    ///
    /// # Errors
    /// What the store answers.
    pub async fn folders(&self) -> Result<Arc<FolderTree>, Reply> {
        Ok(self.store().folders(&self.ctx(), self.account()?).await?)
    }

    /// How mailbox names are written on this connection at the moment.
    pub fn mailbox_encoding(&self) -> MailboxEncoding {
        if self.enabled.rev2 || self.enabled.utf8 {
            MailboxEncoding::Utf8
        } else {
            MailboxEncoding::ModifiedUtf7
        }
    }

    /// A mailbox name as sent, which need not exist.
    ///
    /// # Errors
    /// BAD when it is not written in the encoding of the connection; NO `[CANNOT]` when no folder can have it.
    pub fn mailbox_name(&self, arg: &MailboxArg) -> Result<MailboxName, Reply> {
        let text = arg.decode(self.mailbox_encoding()).map_err(|error| Reply::bad(error.to_string()))?;
        MailboxName::parse(&text).map_err(|error| Reply::no_code("CANNOT", error.to_string()))
    }

    /// Whether a password may come over this connection.
    pub fn may_send_password(&self, out: &Output) -> bool {
        if out.is_proxied() {
            return out.is_private();
        }
        out.is_private()
            || match self.server.options.cleartext_login {
                CleartextLogin::Loopback => out.is_loopback(),
                CleartextLogin::Everywhere => true,
                CleartextLogin::Nowhere => false,
            }
    }

    /// Whether STARTTLS works now.
    pub fn may_start_tls(&self, out: &Output) -> bool {
        self.server.tls.load().is_some()
            && !out.is_encrypted()
            && !out.is_proxied()
            && !out.is_deflated()
            && self.login.is_none()
    }

    /// A place among the sessions of an account; those of network functions are counted apart.
    ///
    /// # Errors
    /// NO `[LIMIT]` when the account has too many sessions.
    pub fn take_slot(
        &self,
        account: AccountId,
        by: SessionOf,
    ) -> Result<Slot<(AccountId, SessionOf)>, Reply> {
        self.server.account_slots.take((account, by)).ok_or_else(|| {
            Reply::no_code("LIMIT", "this account has too many sessions open; close one and try again")
        })
    }

    /// Begins the authenticated state: as the account's owner, or as a network function that acts for it.
    ///
    /// # Errors
    /// NO `[LIMIT]` when the account has too many sessions.
    pub async fn log_in(&mut self, account: &Account, by: SessionOf) -> Result<(), Reply> {
        let slot = self.take_slot(account.id, by)?;
        let addresses = Addresses::of_login(self, account, by).await;
        tracing::debug!(connection = self.id, account = %account.id, ?by, "logged in");
        let network = by == SessionOf::NetworkFunction;
        let siblings = addresses.sibling_ids();
        let user = User { device: self.device.clone(), network, siblings, ..User::owner(account.id) };
        self.login =
            Some(Login { account: account.id, user: Arc::new(user), addresses: Box::new(addresses), slot });
        Ok(())
    }

    /// Leaves the selected folder. Messages shown as \Recent in this session will not be in another.
    pub fn deselect(&mut self) {
        self.fresh = None;
        self.batch = None;
        if let Some(view) = self.view.take() {
            if let Some(notify) = &mut self.notify {
                notify.left(&view);
            }
            self.claim_recent(&view);
        }
    }

    /// Notes in the store, in the background, that the messages that this session knows as \Recent were shown.
    /// A failure shows them as \Recent once more, which RFC 3501 §2.3.2 allows.
    pub(crate) fn claim_recent(&self, view: &View) {
        if view.read_only || view.recent.is_empty() || !view.rights.has(model::Rights::SEEN) {
            return;
        }
        let (store, ctx) = (self.server.store.clone(), self.ctx());
        let FolderRef { account, mailbox } = view.folder();
        let uid_next = view.recent.last().map_or(1, |uid: Uid| u64::from(uid.get()) + 1);
        let claim = async move {
            if let Err(error) = store.claim_recent(&ctx, account, mailbox, uid_next).await {
                tracing::debug!(%account, %error, "messages stay recent");
            }
        };
        // None when the process ends and drops its sessions with it.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            self.server.tasks.spawn_on(claim, &runtime);
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.deselect();
    }
}
