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
//! A session counts against the limit of the account that is active, not of the one that it logged in to: the limit
//! bounds what works on one account, and through SELECTA an account would else be worked on by many times as many.

use std::sync::Arc;

use futures::future::join_all;
use model::{AccountId, CpmAddress};
use registration::{Known, RegistrationSet};
use store_api::{Account, AccountState, Ctx, Requestor, User};
use tokio::time::Instant;

use crate::connection::Output;
use crate::reply::Reply;
use crate::session::{Session, SessionOf};

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

    /// What a login to `account` reaches, and the accounts that it may reach without SELECTA. Takes no longer than who
    /// knows the addresses may. A network function names the account that it wants, and logs in often: nobody is asked
    /// for it before SELECTA.
    pub async fn of_login(session: &Session, account: &Account, by: SessionOf) -> (Self, Vec<AccountId>) {
        let check_at = Instant::now() + session.server.options.limits.account_check_interval;
        if by == SessionOf::NetworkFunction {
            let active = account.address.clone();
            let set = RegistrationSet::alone(active.clone());
            return (Self { set, active, revoked: None, check_at }, Vec::new());
        }
        let registrations = &session.server.options.registrations;
        let until = Instant::now() + registrations.budget();
        let Known { set, .. } = registrations.ask(&account.address, &account.linked).await;
        let siblings = tokio::time::timeout_at(until, siblings(session, &set, &account.address)).await;
        let active = account.address.clone();
        (Self { set, active, revoked: None, check_at }, siblings.unwrap_or_default())
    }
}

/// Accounts of the set, but for the active one, that the operator lets it reach. Those that cannot be looked up now are
/// left out: they are missed by who wants them, and are there after the next login.
async fn siblings(session: &Session, set: &RegistrationSet, active: &CpmAddress) -> Vec<AccountId> {
    if !session.server.options.siblings || !set.has_others() {
        return Vec::new();
    }
    let others = set.addresses().iter().filter(|address| *address != active);
    let found = join_all(others.map(|address| find(session, address))).await;
    let usable = found.into_iter().filter_map(|found| found.ok().flatten());
    usable.filter(|account| account.state == AccountState::Active).map(|account| account.id).collect()
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
    if let Some(login) = &mut session.login
        && (known.current || !login.addresses.set.has_others())
    {
        login.addresses.set = known.set;
        if !login.addresses.set.contains(&login.addresses.active) {
            // Found by the way: the next command must not go on as if it were not.
            login.addresses.check_at = Instant::now();
        }
    }
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
        Some(login) => siblings(session, &login.addresses.set, &address).await,
        None => Vec::new(),
    };
    let interval = session.server.options.limits.account_check_interval;
    // It was about the folders of the account before.
    session.notify = None;
    let Some(login) = &mut session.login else { return Err(Reply::bad("log in first")) };
    login.account = account.id;
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

/// The addresses of the accounts that the active one reaches without SELECTA, and perhaps of some that it does not.
pub(crate) fn siblings_of(session: &Session) -> Vec<CpmAddress> {
    let Some(login) = session.login.as_ref().filter(|login| !login.user.siblings.is_empty()) else {
        return Vec::new();
    };
    let addresses = &login.addresses;
    addresses.set.addresses().iter().filter(|address| **address != addresses.active).cloned().collect()
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
/// take for an account that SELECTA led to.
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
        Some(_) => None,
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
    for (address, found) in addresses.set.addresses().iter().zip(found) {
        let account = found.map_err(unavailable)?;
        listed.push(Listed {
            address: address.clone(),
            active: *address == addresses.active,
            primary: address == addresses.primary(),
            unavailable: account.is_none_or(|account| account.state == AccountState::Disabled),
        });
    }
    if let Some(login) = &mut session.login
        && listed.iter().any(|account| account.active && account.unavailable)
    {
        login.addresses.check_at = Instant::now();
    }
    Ok(listed)
}
