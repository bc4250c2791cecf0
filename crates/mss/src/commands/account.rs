//! `mss account`: provisioning, against a running server or a stopped one.

mod device;
mod removal;

use std::collections::HashSet;
use std::io::{IsTerminal as _, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use clap::Subcommand;
use imap_server::credentials::derive_scram;
use model::{CpmAddress, limits};
use secrecy::SecretSlice;
use store_api::{Account, AccountState, Credentials, MailStore, NewAccount, QuotaLimits, ServiceClass};
use store_rpc::Endpoint;
use tokio::task::JoinSet;
use zeroize::Zeroizing;

use crate::archive;
use crate::engine::EngineFlags;
use crate::settings::{self, Overrides, Settings};
use crate::tier::{Tier, ctx, told};

/// Lines of an import that are worked on at once: their commits share syncs.
const IMPORT_AT_ONCE: usize = 64;
/// Addresses of an import that are remembered before all lines under way are waited for.
const IMPORT_REMEMBERED: usize = 4_096;
/// Accounts asked for at once by `list`.
const LIST_PAGE: usize = 1_000;

/// Add, change, list and remove accounts.
///
/// An account is a CPM address: tel:+DIGITS or sip:USER@HOST; the scheme may be left out. With --data (the default)
/// the directory is opened, or, when a server runs on it, that server is asked through the socket in the directory.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    engine: EngineFlags,
    /// Storage node to ask instead: http://HOST:PORT or unix:/PATH
    #[arg(long, global = true, value_name = "URL", conflicts_with_all = ["data", "engine", "cluster_file"])]
    store: Option<Endpoint>,
    /// TOML file of settings, for data.dir and quota
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Create an account with INBOX, Default and RCSMessageStore.
    Add {
        /// CPM address: tel:+DIGITS, +DIGITS or sip:USER@HOST.
        #[arg(value_parser = CpmAddress::parse)]
        address: CpmAddress,
        #[command(flatten)]
        password: Password,
        #[command(flatten)]
        quota: Quota,
        #[command(flatten)]
        service: Service,
    },
    /// Set a new password.
    Passwd {
        /// CPM address: tel:+DIGITS, +DIGITS or sip:USER@HOST.
        #[arg(value_parser = CpmAddress::parse)]
        address: CpmAddress,
        #[command(flatten)]
        password: Password,
    },
    /// Set quota, class of service and state.
    #[command(group = clap::ArgGroup::new("change")
        .args(["quota_bytes", "quota_messages", "objects", "folders", "delete"])
        .required(true)
        .multiple(true))]
    Configure {
        /// CPM address: tel:+DIGITS, +DIGITS or sip:USER@HOST.
        #[arg(value_parser = CpmAddress::parse)]
        address: CpmAddress,
        #[command(flatten)]
        quota: Quota,
        #[command(flatten)]
        service: Service,
        /// Refuse logins; nothing is lost.
        #[arg(long, conflicts_with = "enable", group = "change")]
        disable: bool,
        /// Allow logins again.
        #[arg(long, group = "change")]
        enable: bool,
    },
    /// Make accounts those of one subscriber: who logs in to one of them may go on to the others by SELECTA.
    ///
    /// Accounts that were linked before stay linked, so that all of them together are one subscriber's, 16 at most.
    Link {
        /// CPM addresses, two or more: tel:+DIGITS, +DIGITS or sip:USER@HOST.
        #[arg(required = true, num_args = 2.., value_name = "ADDRESS", value_parser = CpmAddress::parse)]
        addresses: Vec<CpmAddress>,
    },
    /// Take an account out of those of its subscriber. Sessions that went to it from another account end there.
    /// What the accounts did in each other's folders by `imap.siblings` ends, too.
    Unlink {
        /// CPM address: tel:+DIGITS, +DIGITS or sip:USER@HOST.
        #[arg(value_parser = CpmAddress::parse)]
        address: CpmAddress,
    },
    /// The devices of an account, for notices to the PUSH enabler.
    ///
    /// Where devices are known, notices of the account go to each of them but the one that made the change, and to nobody
    /// else: make all of them known, or none. Where none is, they go to the account's address.
    #[command(subcommand)]
    Device(device::Action),
    /// Print every address, one a line, in order.
    List,
    /// Print what is known of an account.
    Show {
        /// CPM address: tel:+DIGITS, +DIGITS or sip:USER@HOST.
        #[arg(value_parser = CpmAddress::parse)]
        address: CpmAddress,
    },
    /// Remove an account with all it holds, for ever.
    ///
    /// Says what the account holds and asks for its address again, on a terminal; without one it wants --yes.
    Remove {
        /// CPM address: tel:+DIGITS, +DIGITS or sip:USER@HOST.
        #[arg(value_parser = CpmAddress::parse)]
        address: CpmAddress,
        /// Remove it without a question
        #[arg(long)]
        yes: bool,
    },
    /// Write an account to a directory or a tar, while the server goes on.
    ///
    /// Messages are written octet for octet as UID.eml, with what belongs to them (UID, MODSEQ, dates, flags, size,
    /// SHA-256) in a messages.jsonl for each folder, and folders, subscriptions, metadata and quota in account.json,
    /// which comes last: an export without it was interrupted. Each folder is as it stood at the HIGHESTMODSEQ that
    /// account.json names; what changes while the export runs is taken in until all folders are of one moment. With
    /// which accounts it is linked is not in an export: that is access, given by `link` alone.
    Export {
        /// CPM address: tel:+DIGITS, +DIGITS or sip:USER@HOST.
        #[arg(value_parser = CpmAddress::parse)]
        address: CpmAddress,
        /// An empty or new directory, or a new file whose name ends in .tar
        #[arg(long, value_name = "DIR|FILE.tar")]
        to: PathBuf,
        /// Also what is kept of the password, so that it works after an import; treat the export as a secret
        #[arg(long)]
        with_credentials: bool,
    },
    /// Create accounts from a CSV file of address,password lines; or put back an account that was exported.
    ///
    /// What SOURCE is decides: a directory, or a file that begins as a tar does, is an export; everything else, and -
    /// for standard input, is CSV.
    ///
    /// CSV: a first line "address,password" is skipped. Lines that fail are reported with their number, the others are
    /// done; an account that exists is reported and left as it is. Exits with 1 if any line failed. Each account is
    /// made whole or not at all, so a run that was cut short is simply run again.
    ///
    /// Export: the account is made if it is not there, with the quota and, if the export has it, the password it had.
    /// Folders keep UIDs, UIDVALIDITY and MODSEQ, so that clients go on where they were. A folder appears when all of
    /// it is there; one that has other messages is refused. An import that was interrupted goes on when it is run again,
    /// and doubles nothing.
    Import {
        /// A CSV file, -, a directory, or a tar
        source: PathBuf,
        #[command(flatten)]
        quota: Quota,
        #[command(flatten)]
        service: Service,
        /// Import an export under this address instead of its own
        #[arg(long = "as", value_name = "ADDRESS", value_parser = CpmAddress::parse)]
        address: Option<CpmAddress>,
    },
}

#[derive(Debug, clap::Args)]
pub(super) struct Password {
    /// Take the password from the first line of standard input; without it the terminal is asked.
    #[arg(long)]
    password_stdin: bool,
}

#[derive(Clone, Copy, Debug, clap::Args)]
struct Quota {
    /// Octets of all messages; 0 for no limit.
    #[arg(long, value_name = "OCTETS")]
    quota_bytes: Option<u64>,
    /// Number of messages; 0 for no limit.
    #[arg(long, value_name = "N")]
    quota_messages: Option<u64>,
}

impl Quota {
    /// These, where given, over `base`.
    fn over(self, base: QuotaLimits) -> QuotaLimits {
        let limit = |given: Option<u64>, base| given.map_or(base, |n| (n > 0).then_some(n));
        QuotaLimits {
            bytes: limit(self.quota_bytes, base.bytes),
            messages: limit(self.quota_messages, base.messages),
        }
    }
}

#[derive(Clone, Copy, Debug, clap::Args)]
struct Service {
    /// What is demanded of objects that come below Default.
    #[arg(long, value_name = "RULE")]
    objects: Option<settings::Objects>,
    /// What the subscriber may do with folders.
    #[arg(long, value_name = "RULE")]
    folders: Option<settings::Folders>,
    /// What becomes of mailboxes below one that a client deletes.
    #[arg(long, value_name = "RULE")]
    delete: Option<settings::Delete>,
}

impl Service {
    /// This, where given, over `base`.
    fn over(self, base: settings::Service) -> ServiceClass {
        settings::Service {
            objects: self.objects.unwrap_or(base.objects),
            folders: self.folders.unwrap_or(base.folders),
            delete: self.delete.unwrap_or(base.delete),
        }
        .into()
    }
}

impl Action {
    /// Whether it may begin in a directory without data. Else such a directory is a slip of the pen.
    fn may_begin(&self) -> bool {
        matches!(self, Self::Add { .. } | Self::Import { .. })
    }
}

/// Runs one action.
pub fn run(arguments: Arguments) -> anyhow::Result<()> {
    let flags = arguments.engine.over(Overrides::default());
    let settings = Settings::load(arguments.config.as_deref(), flags)?;
    if let Action::Remove { yes: false, .. } = &arguments.action {
        removal::check_terminal()?;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let tier = Tier::open(&settings, arguments.store, arguments.action.may_begin()).await?;
        let outcome = act(&tier, &settings, arguments.action).await;
        tier.close().await?;
        outcome
    })
}

async fn act(tier: &Tier, settings: &Settings, action: Action) -> anyhow::Result<()> {
    let store = &tier.store;
    let unset = |n: u64| (n > 0).then_some(n);
    let quota_default =
        QuotaLimits { bytes: unset(settings.quota.bytes), messages: unset(settings.quota.messages) };
    match action {
        Action::Add { address, password, quota, service } => {
            let credentials = derive(read_password(&password)?).await?;
            let limits = quota.over(quota_default);
            let service = service.over(settings.service);
            let new = NewAccount { address: address.clone(), credentials, limits, service };
            store.create_account(&ctx(), new).await.map_err(told)?;
            println!("{address}");
        }
        Action::Passwd { address, password } => {
            let credentials = derive(read_password(&password)?).await?;
            store.set_credentials(&ctx(), &address, credentials).await.map_err(told)?;
        }
        Action::Configure { address, quota, service, disable, enable } => {
            let account = find(store, &address).await?;
            let state = match (disable, enable) {
                (true, _) => AccountState::Disabled,
                (_, true) => AccountState::Active,
                _ => account.state,
            };
            let limits = quota.over(account.limits);
            if (state, limits) != (account.state, account.limits) {
                store.configure_account(&ctx(), &account.address, state, limits).await.map_err(told)?;
            }
            let service = service.over(account.service.into());
            if service != account.service {
                store.set_service(&ctx(), &account.address, service).await.map_err(told)?;
            }
        }
        Action::Link { addresses } => {
            anyhow::ensure!(
                addresses.len() <= limits::ACCOUNTS_PER_SUBSCRIBER_MAX,
                "a subscriber has {} accounts at most",
                limits::ACCOUNTS_PER_SUBSCRIBER_MAX
            );
            store.link_accounts(&ctx(), &addresses).await.map_err(told)?;
        }
        Action::Device(action) => device::act(tier, action).await?,
        Action::Unlink { address } => store.unlink_account(&ctx(), &address).await.map_err(told)?,
        Action::List => {
            let mut after = None;
            loop {
                let page = store.list_accounts(&ctx(), after.as_ref(), LIST_PAGE).await.map_err(told)?;
                let mut out = std::io::stdout().lock();
                for account in &page {
                    writeln!(out, "{}", account.address)?;
                }
                match page.last() {
                    Some(last) if page.len() == LIST_PAGE => after = Some(last.address.clone()),
                    _ => break,
                }
            }
        }
        Action::Show { address } => show(store, find(store, &address).await?.as_ref()).await?,
        Action::Remove { address, yes } => {
            if !yes {
                removal::confirm(store, &address).await?;
            }
            store.remove_account(&ctx(), &address).await.map_err(told)?;
        }
        Action::Export { address, to, with_credentials } => {
            export(tier, &address, &to, archive::Options { credentials: with_credentials }).await?;
        }
        Action::Import { source, address, .. } if archive::is_export(&source)? => {
            import_export(tier, &source, address).await?;
        }
        Action::Import { source, quota, service, address } => {
            anyhow::ensure!(address.is_none(), "--as is for an export, and {} is none", source.display());
            import(store, &source, quota.over(quota_default), service.over(settings.service)).await?;
        }
    }
    Ok(())
}

async fn find(store: &Arc<dyn MailStore>, address: &CpmAddress) -> anyhow::Result<Arc<Account>> {
    let account = store.account(&ctx(), address).await.map_err(told)?;
    account.with_context(|| format!("there is no account {address}"))
}

async fn show(store: &Arc<dyn MailStore>, account: &Account) -> anyhow::Result<()> {
    let quota = store.quota(&ctx(), account.id).await.map_err(told)?;
    let tree = store.folders(&ctx(), account.id).await.map_err(told)?;
    let limit = |n: Option<u64>| n.map_or_else(|| "no limit".to_owned(), |n| n.to_string());
    println!("address    {}", account.address);
    println!("id         {}", account.id);
    println!("partition  {}", account.id.partition().0);
    println!("state      {}", if account.state == AccountState::Active { "active" } else { "disabled" });
    println!(
        "password   {}",
        match account.credentials {
            Credentials::None => "none",
            Credentials::Scram(_) => "SCRAM-SHA-256",
            Credentials::Argon2(_) => "Argon2",
        }
    );
    let settings::Service { objects, folders, delete } = account.service.into();
    let [objects, folders, delete] = [value_name(objects), value_name(folders), value_name(delete)];
    println!("service    {objects} objects, {folders} folders, {delete} delete");
    for other in &account.linked {
        println!("linked     {other}");
    }
    println!("folders    {}", tree.folders().len());
    println!("messages   {} of {}", quota.usage.messages, limit(quota.limits.messages));
    println!("octets     {} of {}", quota.usage.bytes, limit(quota.limits.bytes));
    Ok(())
}

/// What the command line calls a value.
fn value_name(value: impl clap::ValueEnum) -> String {
    value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

async fn export(
    tier: &Tier,
    address: &CpmAddress,
    to: &Path,
    options: archive::Options,
) -> anyhow::Result<()> {
    let account = find(&tier.store, address).await?;
    let mut sink = archive::Sink::create(to)?;
    let head = archive::export(tier, &account, &mut sink, options).await?;
    let messages: u64 = head.folders.iter().map(|folder| folder.messages).sum();
    println!("{} folders, {messages} messages written to {}", head.folders.len(), to.display());
    if !head.of_one_moment {
        eprintln!("mss: the account kept changing: each folder is of one moment, but not all of the same");
    }
    Ok(())
}

async fn import_export(tier: &Tier, source: &Path, address: Option<CpmAddress>) -> anyhow::Result<()> {
    let imported = archive::import(tier, &archive::Source::open(source)?, address).await?;
    println!(
        "account {}, {} folders and {} messages imported, {} folders were there",
        if imported.created { "created" } else { "was there" },
        imported.folders,
        imported.messages,
        imported.folders_before
    );
    for address in &imported.without_account {
        eprintln!(
            "mss: {address} has no account here and gets no rights; import that account, then this one again"
        );
    }
    Ok(())
}

async fn import(
    store: &Arc<dyn MailStore>,
    file: &PathBuf,
    limits: QuotaLimits,
    service: ServiceClass,
) -> anyhow::Result<()> {
    let input: Box<dyn std::io::Read + Send> = if file.as_os_str() == "-" {
        Box::new(std::io::stdin())
    } else {
        Box::new(std::fs::File::open(file).with_context(|| format!("{} cannot be read", file.display()))?)
    };
    let mut lines = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(input);
    let (mut done, mut failed) = (0u64, 0u64);
    let mut tasks: JoinSet<(u64, anyhow::Result<()>)> = JoinSet::new();
    // Addresses that tasks may be working on: of two lines with one address the first must win.
    let mut under_way = HashSet::new();
    let mut count = |(line, outcome): (u64, anyhow::Result<()>)| match outcome {
        Ok(()) => done += 1,
        Err(error) => {
            failed += 1;
            eprintln!("mss: line {line}: {error:#}");
        }
    };
    for record in lines.records() {
        let record = match record {
            Ok(record) => record,
            Err(error) => {
                let line = error.position().map_or(0, csv::Position::line);
                let ends = matches!(error.kind(), csv::ErrorKind::Io(_));
                count((line, Err(anyhow::Error::new(error).context("it is not CSV in UTF-8"))));
                // A file that cannot be read gives the same error for ever; what was read of it is still done.
                if ends {
                    break;
                }
                continue;
            }
        };
        let line = record.position().map_or(0, csv::Position::line);
        if line == 1 && record.get(0) == Some("address") && record.get(1) == Some("password") {
            continue;
        }
        let address = record.get(0).and_then(|text| CpmAddress::parse(text).ok());
        let wait =
            under_way.len() >= IMPORT_REMEMBERED || address.as_ref().is_some_and(|a| under_way.contains(a));
        let at_once = if wait { 1 } else { IMPORT_AT_ONCE };
        while tasks.len() >= at_once
            && let Some(outcome) = tasks.join_next().await
        {
            count(outcome?);
        }
        if wait {
            under_way.clear();
        }
        under_way.extend(address);
        let store = store.clone();
        tasks.spawn(async move { (line, import_one(&store, &record, limits, service).await) });
    }
    while let Some(outcome) = tasks.join_next().await {
        count(outcome?);
    }
    println!("{done} accounts created, {failed} lines failed");
    anyhow::ensure!(failed == 0, "{failed} lines failed");
    Ok(())
}

async fn import_one(
    store: &Arc<dyn MailStore>,
    record: &csv::StringRecord,
    limits: QuotaLimits,
    service: ServiceClass,
) -> anyhow::Result<()> {
    anyhow::ensure!(record.len() == 2, "it has {} fields, but must have two: address,password", record.len());
    let address = CpmAddress::parse(&record[0])?;
    let credentials = derive(check_password(&record[1])?).await?;
    store.create_account(&ctx(), NewAccount { address, credentials, limits, service }).await.map_err(told)?;
    Ok(())
}

/// Derives what is kept of a password, off the runtime's threads: it is slow on purpose.
async fn derive(password: SecretSlice<u8>) -> anyhow::Result<Credentials> {
    let derived = tokio::task::spawn_blocking(move || derive_scram(&password)).await?;
    Ok(Credentials::Scram(derived.context("the password cannot be used")?))
}

pub(super) fn read_password(password: &Password) -> anyhow::Result<SecretSlice<u8>> {
    if !password.password_stdin {
        anyhow::ensure!(
            std::io::stdin().is_terminal(),
            "the password must come from a terminal, or with --password-stdin from standard input"
        );
        return check_password(&Zeroizing::new(rpassword::prompt_password("Password: ")?));
    }
    // Of its full size from the start: a buffer that grows would leave pieces behind in freed memory.
    let mut line = Zeroizing::new(Vec::with_capacity(limits::PASSWORD_BYTES_MAX + 3));
    let mut octet = Zeroizing::new([0; 1]);
    // Not through the buffer of the standard library, for the same reason.
    let mut input = std::fs::File::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    while line.len() < line.capacity() && input.read(octet.as_mut_slice())? == 1 && octet[0] != b'\n' {
        line.push(octet[0]);
    }
    let line = std::str::from_utf8(&line).context("the password is not UTF-8")?;
    check_password(line.trim_end_matches('\r'))
}

fn check_password(password: &str) -> anyhow::Result<SecretSlice<u8>> {
    anyhow::ensure!(
        !password.is_empty() && password.len() <= limits::PASSWORD_BYTES_MAX,
        "a password must have from 1 to {} bytes",
        limits::PASSWORD_BYTES_MAX
    );
    Ok(password.as_bytes().to_vec().into())
}
