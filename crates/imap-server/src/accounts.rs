//! The accounts that a login reaches, and the active one of them.
//!
//! A login reaches the account of its own address, and those of all addresses that are registered with it
//! (OMA-TS-CPM_MessageStorage, Authenticate Operation). One account at a time is active: all commands are about it, and
//! its rights count. SELECTA makes another one active.
//!
//! What a login was once told is not kept for ever: SELECTA asks anew, and every session looks again now and then, as it
//! works, whether its active account is open, and, if it went there by SELECTA, whether that is still its subscriber's.
//! Only an answer takes an account away, no failure to get one: the SIP/IP core being away must not throw out who is in.
//!
//! Where the operator lets a subscriber's accounts reach each other's folders, the store takes the session's word for which
//! accounts those are. So each look asks that, too, where there are others, and what LISTA and SELECTA learn counts at
//! once: folders of an account that was unlinked are from then on a stranger's.
//!
//! A session counts against the limit of the account that is active, not of the one that it logged in to: the limit
//! bounds what works on one account, and through SELECTA an account would else be worked on by many times as many.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use model::{AccountId, CpmAddress, ErrorKind, Rights};
use registration::{Known, RegistrationSet};
use store_api::{Account, AccountState, Ctx, Requestor, User};
use tokio::time::Instant;

use crate::connection::Output;
use crate::reply::Reply;
use crate::session::{Session, SessionOf};

/// How long a session that works asks nobody for its siblings, after who knows them could not tell: commands wait for an
/// answer.
const PAUSE_UNANSWERED: Duration = Duration::from_secs(30);

/// Another account of a subscriber.
type Sibling = (CpmAddress, AccountId);

/// The addresses of a login.
#[derive(Debug)]
pub(crate) struct Addresses {
    /// The address logged in with, first, and those registered with it as they were last known.
    pub set: RegistrationSet,
    /// The address of the active account.
    pub active: CpmAddress,
    /// Why the active account is the session's no more, if it was found not to be.
    pub revoked: Option<Revoked>,
    /// When to look again whether the active account is the session's.
    check_at: Instant,
    /// The accounts that the active one reaches without SELECTA: those that the store is told of.
    siblings: Vec<Sibling>,
    /// Until when nobody is asked for them in passing.
    quiet_until: Option<Instant>,
}

/// Why an account is no longer a session's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Revoked {
    /// It is not registered with the address logged in with any more, or is no more.
    TakenAway,
    /// The operator disabled it.
    Disabled,
}

impl Addresses {
    /// The address logged in with.
    pub fn primary(&self) -> &CpmAddress {
        // A set is never empty.
        self.set.addresses().first().unwrap_or(&self.active)
    }

    /// Whether it is time to look whether the active account is still the session's.
    pub fn wants_check(&self) -> bool {
        self.revoked.is_none() && self.check_at <= Instant::now()
    }

    /// When [`Addresses::wants_check`] next says so; none if it never does.
    pub fn next_check(&self) -> Option<Instant> {
        self.revoked.is_none().then_some(self.check_at)
    }

    /// The accounts that the active one reaches without SELECTA.
    pub fn sibling_ids(&self) -> Vec<AccountId> {
        self.siblings.iter().map(|(_, id)| *id).collect()
    }

    /// What a login to `account` reaches, with SELECTA and without. Takes no longer than who knows the addresses may. A
    /// network function names the account that it wants, and logs in often: nobody is asked for it before SELECTA.
    pub async fn of_login(session: &Session, account: &Account, by: SessionOf) -> Self {
        let active = account.address.clone();
        let mut addresses = Self {
            set: RegistrationSet::alone(active.clone()),
            active,
            revoked: None,
            check_at: Instant::now() + session.server.options.limits.account_check_interval,
            siblings: Vec::new(),
            quiet_until: None,
        };
        if by == SessionOf::NetworkFunction {
            return addresses;
        }
        let registrations = &session.server.options.registrations;
        let until = Instant::now() + registrations.budget();
        let known = registrations.ask(&account.address, &account.linked).await;
        addresses.learn(known);
        let siblings = siblings(session, &addresses, &addresses.active);
        addresses.siblings = tokio::time::timeout_at(until, siblings).await.unwrap_or_default();
        addresses
    }

    /// Notes what is known of the set now. An old answer is better than none, and no better than one that was had.
    fn learn(&mut self, known: Known) {
        self.quiet_until = (!known.current).then(|| Instant::now() + PAUSE_UNANSWERED);
        if known.current || !self.set.has_others() {
            self.set = known.set;
        }
    }
}

/// Accounts of the set, but for `active`, that the operator lets it reach without SELECTA. Of those that cannot be looked
/// up now, what was known stays.
async fn siblings(session: &Session, addresses: &Addresses, active: &CpmAddress) -> Vec<Sibling> {
    if !session.server.options.siblings || !addresses.set.has_others() {
        return Vec::new();
    }
    let others = addresses.set.addresses().iter().filter(|address| *address != active);
    let found = join_all(others.map(async |address| (address, find(session, address).await))).await;
    found.into_iter().filter_map(|(address, found)| sibling(addresses, address, &found)).collect()
}

/// The account of an address of the set that was looked up, if it is there and open.
fn sibling(
    addresses: &Addresses,
    address: &CpmAddress,
    found: &model::Result<Option<Arc<Account>>>,
) -> Option<Sibling> {
    match found {
        Ok(Some(account)) if account.state == AccountState::Active => Some((address.clone(), account.id)),
        Ok(_) => None,
        Err(_) => addresses.siblings.iter().find(|(known, _)| known == address).cloned(),
    }
}

/// Notes the accounts that the active one reaches without SELECTA: it counts from now on, for what is selected and for
/// what NOTIFY watches, too.
async fn set_siblings(session: &mut Session, siblings: Vec<Sibling>) {
    let Some(login) = session.login.as_mut().filter(|login| login.addresses.siblings != siblings) else {
        return;
    };
    let before = std::mem::replace(&mut login.addresses.siblings, siblings);
    let siblings = login.addresses.sibling_ids();
    login.user = Arc::new(User { siblings, ..(*login.user).clone() });
    let left =
        |id: &AccountId| before.iter().any(|(_, known)| known == id) && !login.user.siblings.contains(id);
    let selected = session.view.as_ref().map(|view| view.folder()).filter(|folder| left(&folder.account));
    if let Some(folder) = selected {
        // It may be shared by a list, as with anybody else.
        let withdrawn = match session.store().folders(&session.ctx(), folder.account).await {
            Ok(tree) => tree.by_id(folder.mailbox).is_none_or(|entry| !entry.rights.has(Rights::READ)),
            Err(error) => matches!(error.kind(), ErrorKind::NoSuchMailbox | ErrorKind::NoSuchAccount),
        };
        if let Some(view) = &mut session.view {
            view.withdrawn |= withdrawn;
        }
    }
    if let Some(notify) = &mut session.notify {
        notify.look_at_all();
    }
}

/// As far as it takes no question: what left the set is no sibling any more.
async fn drop_siblings(session: &mut Session) {
    let Some(login) = &session.login else { return };
    let Addresses { set, siblings, .. } = &*login.addresses;
    let left = siblings.iter().filter(|(address, _)| set.contains(address)).cloned().collect();
    set_siblings(session, left).await;
}

/// Looks anew which accounts the active one, which was just read, reaches without SELECTA. Nothing is asked where there
/// are no others, or the operator lets them reach nothing.
async fn renew_siblings(session: &mut Session, active: &Account) {
    if !session.server.options.siblings {
        return;
    }
    let Some(login) = &mut session.login else { return };
    let (network, addresses) = (login.user.network, &mut *login.addresses);
    if !addresses.set.has_others() && (network || active.linked.is_empty()) {
        return;
    }
    // Elsewhere who looks has just asked.
    let is_primary = addresses.active == *addresses.primary();
    if is_primary && addresses.quiet_until.is_none_or(|until| until <= Instant::now()) {
        let registrations = &session.server.options.registrations;
        addresses.learn(registrations.ask(&active.address, &active.linked).await);
    }
    let Some(login) = &session.login else { return };
    let siblings = siblings(session, &login.addresses, &login.addresses.active).await;
    set_siblings(session, siblings).await;
}

/// The account of an address, whoever's it is.
async fn find(session: &Session, address: &CpmAddress) -> model::Result<Option<Arc<Account>>> {
    let ctx = Ctx { requestor: Requestor::Operator, ..session.ctx() };
    session.store().account(&ctx, address).await
}

/// Asks anew which addresses are registered with the one logged in with, and whether it still may be used at all.
async fn ask_again(session: &mut Session) -> Result<(), Reply> {
    let Some(login) = &session.login else { return Err(Reply::bad("log in first")) };
    let primary = login.addresses.primary().clone();
    let account = find(session, &primary).await.map_err(unavailable)?;
    let known = match account {
        // What was logged in to is gone or shut: it vouches for nothing any more.
        None => Known { set: RegistrationSet::alone(primary), current: true },
        Some(account) if account.state == AccountState::Disabled => {
            Known { set: RegistrationSet::alone(primary), current: true }
        }
        Some(account) => session.server.options.registrations.ask(&primary, &account.linked).await,
    };
    if let Some(login) = &mut session.login {
        login.addresses.learn(known);
        if !login.addresses.set.contains(&login.addresses.active) {
            // Found by the way: the next command must not go on as if it were not.
            login.addresses.check_at = Instant::now();
        }
    }
    drop_siblings(session).await;
    Ok(())
}

fn unavailable(error: model::Error) -> Reply {
    let reply = Reply::no_code("UNAVAILABLE", "accounts cannot be looked up now, try again later");
    Reply { fault: Some(Box::new(error)), cause: "unavailable", ..reply }
}

/// The answer for an address that the session cannot go to: the same whether it is another's, has no account, or is
/// nobody's.
fn no_such_account() -> Reply {
    Reply::no_code("NONEXISTENT", "there is no such account")
}

/// Makes the account of `address` the active one; no folder may be selected.
///
/// # Errors
/// NO, and the active account is what it was: `[NONEXISTENT]` when it is not of this subscriber or not there,
/// `[AUTHORIZATIONFAILED]` when it is disabled, `[LIMIT]` when it has too many sessions, `[UNAVAILABLE]` when the store
/// cannot tell.
pub(crate) async fn switch(session: &mut Session, address: CpmAddress) -> Result<(), Reply> {
    ask_again(session).await?;
    if !session.login.as_ref().is_some_and(|login| login.addresses.set.contains(&address)) {
        return Err(no_such_account());
    }
    let account = find(session, &address).await.map_err(unavailable)?.ok_or_else(no_such_account)?;
    if account.state == AccountState::Disabled {
        return Err(Reply::no_code("AUTHORIZATIONFAILED", "this account is disabled, ask your operator"));
    }
    let slot = match &session.login {
        Some(login) if login.account == account.id => None,
        Some(login) if login.user.network => Some(session.take_slot(account.id, SessionOf::NetworkFunction)?),
        _ => Some(session.take_slot(account.id, SessionOf::Owner)?),
    };
    let siblings = match &session.login {
        Some(login) => siblings(session, &login.addresses, &address).await,
        None => Vec::new(),
    };
    let interval = session.server.options.limits.account_check_interval;
    // It was about the folders of the account before.
    session.notify = None;
    let Some(login) = &mut session.login else { return Err(Reply::bad("log in first")) };
    login.account = account.id;
    login.addresses.siblings = siblings;
    let siblings = login.addresses.sibling_ids();
    login.user = Arc::new(User { account: account.id, siblings, ..(*login.user).clone() });
    if let Some(slot) = slot {
        login.slot = slot;
    }
    let addresses = &mut *login.addresses;
    addresses.check_at = Instant::now() + interval;
    addresses.active = address;
    addresses.revoked = None;
    tracing::debug!(connection = session.id, account = %account.id, "active account");
    Ok(())
}

/// The addresses of the accounts that the active one reaches without SELECTA.
pub(crate) fn siblings_of(session: &Session) -> Vec<CpmAddress> {
    let siblings = session.login.iter().flat_map(|login| &login.addresses.siblings);
    siblings.map(|(address, _)| address.clone()).collect()
}

/// Looks whether the active account is still the session's, and whether the owner of the selected folder still has one
/// that is open. If the first is not, the folder is left at once; the second is noted in the view.
pub(crate) async fn check(session: &mut Session, out: &mut Output) {
    let withdrawn = is_withdrawn(session).await;
    if let Some(view) = &mut session.view {
        view.withdrawn |= withdrawn;
    }
    let revoked = match look(session).await {
        Ok(revoked) => revoked,
        Err(reply) => {
            // A store that cannot tell takes nothing away; the command that wants it hears of it soon enough.
            tracing::debug!(connection = session.id, text = %reply.text, "the active account was not checked");
            None
        }
    };
    let interval = session.server.options.limits.account_check_interval;
    let Some(login) = &mut session.login else { return };
    login.addresses.check_at = Instant::now() + interval;
    login.addresses.revoked = revoked;
    if let Some(why) = revoked {
        tracing::info!(connection = session.id, account = %login.account, ?why, "the active account was taken away");
        session.notify = None;
        leave_folder(session, out);
    }
}

/// Whether the selected folder is another user's whose account is disabled, gone, or by now that of somebody else. One
/// read of the store, where it is another user's at all. A store that cannot tell takes nothing away.
async fn is_withdrawn(session: &Session) -> bool {
    let Some(view) = &session.view else { return false };
    let Some(owner) = &view.owner else { return false };
    match find(session, owner).await {
        Ok(Some(account)) => account.id != view.account || account.state == AccountState::Disabled,
        Ok(None) => true,
        Err(error) => {
            tracing::debug!(connection = session.id, %error, "the owner of the selected folder was not checked");
            false
        }
    }
}

/// Why the active account is not the session's, if it is not. One read of the store, and what the others of a subscriber
/// take for an account that SELECTA led to. Where there are siblings, one read for each, and they are known anew.
async fn look(session: &mut Session) -> Result<Option<Revoked>, Reply> {
    let Some(login) = &session.login else { return Ok(None) };
    if login.addresses.active != *login.addresses.primary() {
        ask_again(session).await?;
    }
    let Some(login) = &session.login else { return Ok(None) };
    let addresses = &login.addresses;
    if !addresses.set.contains(&addresses.active) {
        return Ok(Some(Revoked::TakenAway));
    }
    Ok(match find(session, &addresses.active).await.map_err(unavailable)? {
        // An address that was given again is of another account.
        Some(account) if account.id != login.account => Some(Revoked::TakenAway),
        Some(account) if account.state == AccountState::Disabled => Some(Revoked::Disabled),
        Some(account) => {
            renew_siblings(session, &account).await;
            None
        }
        None => Some(Revoked::TakenAway),
    })
}

/// Leaves the selected folder, if there is one, without expunging. Told only to clients that asked for what makes it
/// worth telling: SELECTA has no responses of its own.
pub(crate) fn leave_folder(session: &mut Session, out: &mut Output) {
    if session.view.is_none() {
        return;
    }
    session.deselect();
    if session.enabled.qresync || session.enabled.rev2 {
        // RFC 7162 §3.2.11, RFC 9051 §7.1.
        out.untagged(format_args!("OK [CLOSED] the mailbox before is closed"));
    }
}

/// Whether the active account is the session's.
///
/// # Errors
/// NO `[AUTHORIZATIONFAILED]` when it was found not to be any more.
pub(crate) fn active(session: &Session) -> Result<(), Reply> {
    let why = session.login.as_ref().and_then(|login| login.addresses.revoked);
    let text = match why {
        None => return Ok(()),
        Some(Revoked::TakenAway) => "the active account is not yours any more; go to another one by SELECTA",
        Some(Revoked::Disabled) => "the active account is disabled, ask your operator",
    };
    Err(Reply::no_code("AUTHORIZATIONFAILED", text))
}

/// What LISTA tells of an account.
pub(crate) struct Listed {
    pub address: CpmAddress,
    pub active: bool,
    pub primary: bool,
    /// Whether SELECTA would refuse it: it has no account, or a disabled one.
    pub unavailable: bool,
}

/// The accounts that the session may go to, as they are now.
///
/// # Errors
/// NO `[UNAVAILABLE]` when the store cannot tell.
pub(crate) async fn list(session: &mut Session) -> Result<Vec<Listed>, Reply> {
    ask_again(session).await?;
    let Some(login) = &session.login else { return Err(Reply::bad("log in first")) };
    let addresses = &login.addresses;
    let found = join_all(addresses.set.addresses().iter().map(|address| find(session, address))).await;
    let mut listed = Vec::with_capacity(found.len());
    let mut siblings = Vec::new();
    for (address, found) in addresses.set.addresses().iter().zip(found) {
        let active = *address == addresses.active;
        if session.server.options.siblings && !active {
            siblings.extend(sibling(addresses, address, &found));
        }
        let account = found.map_err(unavailable)?;
        listed.push(Listed {
            address: address.clone(),
            active,
            primary: address == addresses.primary(),
            unavailable: account.is_none_or(|account| account.state == AccountState::Disabled),
        });
    }
    set_siblings(session, siblings).await;
    if let Some(login) = &mut session.login
        && listed.iter().any(|account| account.active && account.unavailable)
    {
        login.addresses.check_at = Instant::now();
    }
    Ok(listed)
}
