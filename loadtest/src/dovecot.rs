//! A Dovecot to compare with: Debian's package, run in a directory of its own, on loopback.
//!
//! Its settings stand in `dovecot/dovecot.conf.template`: the package's defaults wherever they matter to speed. The
//! user list has one password hash for all users, made by `doveadm pw`; a login costs what a check of that scheme
//! costs.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::users::UserPattern;

const TEMPLATE: &str = include_str!("../dovecot/dovecot.conf.template");
/// What access control lists, metadata and references need, which the package leaves off.
const PLUGINS: &str = include_str!("../dovecot/plugins.conf.template");
/// How long the server may take to listen.
const START_TIMEOUT: Duration = Duration::from_secs(20);
/// How long it may take to end.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);
/// Watches of folders that idle sessions need, by a user id; the kernel's default of 128 makes Dovecot poll.
const INOTIFY_INSTANCES: u64 = 32_768;

/// How to run it.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Everything it writes is below; made when missing, and kept.
    pub dir: PathBuf,
    /// Cleartext port on 127.0.0.1.
    pub port: u16,
    /// TLS port on 127.0.0.1, with this certificate and key.
    pub tls: Option<(u16, PathBuf, PathBuf)>,
    /// Names of the users.
    pub users: UserPattern,
    /// How many.
    pub count: u32,
    /// The password of all.
    pub password: String,
    /// Password scheme, as `doveadm pw -l` lists them: `SHA512-CRYPT` (the strong one of the C library), `PLAIN`, …
    pub scheme: String,
    /// `mail_fsync`: `optimized` (the default), `always`, `never`.
    pub fsync: String,
    /// Mailbox format: `sdbox`, `mdbox`, `maildir`.
    pub layout: String,
    /// With ACL, METADATA and URLAUTH, which the package's defaults do not have and which cost other work something.
    pub plugins: bool,
    /// Connections to make room for.
    pub connections: u32,
}

/// A running Dovecot; ended when dropped.
#[derive(Debug)]
pub struct Dovecot {
    child: Child,
    port: u16,
}

impl Dovecot {
    /// Writes the configuration and starts the server.
    ///
    /// # Errors
    /// When Dovecot is not installed, the directory cannot be written, or it does not listen in time; with its log.
    pub fn start(settings: &Settings) -> anyhow::Result<Self> {
        let dir = &settings.dir;
        fs::create_dir_all(dir.join("mail")).with_context(|| format!("cannot make {}", dir.display()))?;
        let dir = dir.canonicalize()?;
        let owner = Owner::choose()?;
        if owner.root {
            // The mail processes run under another user id, which must get through to the mail.
            std::os::unix::fs::chown(dir.join("mail"), Some(owner.mail_uid), Some(owner.mail_gid))?;
            for folder in dir.ancestors().take(2) {
                let mode = fs::metadata(folder)?.permissions().mode();
                if mode & 0o001 == 0 {
                    bail!(
                        "{} must be searchable by others (chmod o+x), for the mail user to reach it",
                        folder.display()
                    );
                }
            }
        }
        fs::write(dir.join("users"), user_list(settings)?)?;
        fs::set_permissions(dir.join("users"), fs::Permissions::from_mode(0o644))?;
        let config = dir.join("dovecot.conf");
        fs::write(&config, configuration(settings, &dir, &owner))?;
        raise_inotify();
        raise_open_files(settings.connections);
        let child = Command::new(find("dovecot")?)
            .args(["-F", "-c"])
            .arg(&config)
            .stdin(Stdio::null())
            .spawn()
            .context("cannot start dovecot")?;
        let mut dovecot = Self { child, port: settings.port };
        if let Err(error) = dovecot.wait_until_it_listens() {
            let log = fs::read_to_string(dir.join("dovecot.log")).unwrap_or_default();
            let last: Vec<&str> = log.lines().rev().take(10).collect();
            return Err(error.context(format!("last lines of its log: {last:#?}")));
        }
        Ok(dovecot)
    }

    /// Process id of the master.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for it to end by itself.
    ///
    /// # Errors
    /// Those of waiting.
    pub fn ended(&mut self) -> std::io::Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    fn wait_until_it_listens(&mut self) -> anyhow::Result<()> {
        let from = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                bail!("dovecot ended at once: {status}");
            }
            if std::net::TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                return Ok(());
            }
            if from.elapsed() > START_TIMEOUT {
                bail!("dovecot does not listen on port {}", self.port);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Dovecot {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw) {
            // It ends its processes by itself; if it cannot be told, the wait below runs out and kills it.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let from = Instant::now();
        while from.elapsed() < STOP_TIMEOUT {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Under which ids the processes run.
#[derive(Debug)]
struct Owner {
    root: bool,
    mail_uid: u32,
    mail_gid: u32,
    internal_user: String,
    internal_group: String,
    login_user: String,
}

impl Owner {
    /// As root: the package's own users, and `nobody` for the mail. Else: the user who runs this, for all.
    fn choose() -> anyhow::Result<Self> {
        let (uid, gid) = (rustix::process::getuid(), rustix::process::getgid());
        if uid.is_root() {
            return Ok(Self {
                root: true,
                mail_uid: 65_534,
                mail_gid: 65_534,
                internal_user: "dovecot".into(),
                internal_group: "dovecot".into(),
                login_user: "dovenull".into(),
            });
        }
        let name = |file: &str, id: u32| -> anyhow::Result<String> {
            let text = fs::read_to_string(file)?;
            text.lines()
                .map(|line| line.split(':').collect::<Vec<_>>())
                .find(|fields| fields.get(2) == Some(&id.to_string().as_str()))
                .map(|fields| fields[0].to_owned())
                .with_context(|| format!("{file} has no id {id}"))
        };
        let user = name("/etc/passwd", uid.as_raw())?;
        Ok(Self {
            root: false,
            mail_uid: uid.as_raw(),
            mail_gid: gid.as_raw(),
            internal_group: name("/etc/group", gid.as_raw())?,
            internal_user: user.clone(),
            login_user: user,
        })
    }
}

fn configuration(settings: &Settings, dir: &Path, owner: &Owner) -> String {
    let processes = settings.connections + 200;
    let (tls_port, ssl, files) = match &settings.tls {
        None => (0, "no", String::new()),
        Some((port, certificate, key)) => {
            (*port, "yes", format!("ssl_cert = <{}\nssl_key = <{}", certificate.display(), key.display()))
        }
    };
    let mut text = TEMPLATE.to_owned();
    if settings.plugins {
        text.push_str(PLUGINS);
    }
    // Without root nothing can be chrooted.
    let chroot = |name: &str| if owner.root { name.to_owned() } else { String::new() };
    for (place, value) in [
        ("@DIR@", dir.display().to_string()),
        ("@PORT@", settings.port.to_string()),
        ("@TLS_PORT@", tls_port.to_string()),
        ("@SSL@", ssl.to_owned()),
        ("@SSL_FILES@", files),
        ("@FSYNC@", settings.fsync.clone()),
        ("@LAYOUT@", settings.layout.clone()),
        ("@PROCESSES@", processes.to_string()),
        ("@CLIENTS@", (processes + 500).to_string()),
        ("@MAIL_UID@", owner.mail_uid.to_string()),
        ("@MAIL_GID@", owner.mail_gid.to_string()),
        ("@INTERNAL_USER@", owner.internal_user.clone()),
        ("@INTERNAL_GROUP@", owner.internal_group.clone()),
        ("@LOGIN_USER@", owner.login_user.clone()),
        ("@LOGIN_CHROOT@", chroot("login")),
        ("@ANVIL_CHROOT@", chroot("empty")),
        ("@STATS_CHROOT@", chroot("empty")),
    ] {
        text = text.replace(place, &value);
    }
    text
}

fn user_list(settings: &Settings) -> anyhow::Result<String> {
    let hash = if settings.scheme == "PLAIN" {
        format!("{{PLAIN}}{}", settings.password)
    } else {
        hashed(&settings.scheme, &settings.password)?
    };
    let mut list = String::new();
    for number in 1..=settings.count {
        let name = settings.users.name(number);
        if name.contains(':') {
            bail!(
                "user {name:?}: a name in Dovecot's user file cannot have a colon; use another pattern, the accounts \
                   need not have the same names on both servers"
            );
        }
        list.push_str(&format!("{name}:{hash}\n"));
    }
    Ok(list)
}

/// The hash as `doveadm pw` makes it; the password goes in over its standard input, twice as it asks.
fn hashed(scheme: &str, password: &str) -> anyhow::Result<String> {
    let mut child = Command::new(find("doveadm")?)
        .args(["-c", "/dev/null", "pw", "-s", scheme])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start doveadm")?;
    if let Some(mut input) = child.stdin.take() {
        writeln!(input, "{password}\n{password}")?;
    }
    let output = child.wait_with_output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    match text.find(&format!("{{{scheme}}}")) {
        Some(at) if output.status.success() => Ok(text[at..].trim().to_owned()),
        _ => bail!("doveadm pw -s {scheme} failed: {}", String::from_utf8_lossy(&output.stderr)),
    }
}

/// Programs of the package stand in `/usr/sbin`, which is not on everybody's path.
fn find(program: &str) -> anyhow::Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/usr/bin"].map(PathBuf::from))
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
        .with_context(|| format!("{program} is not installed (apt-get install dovecot-imapd)"))
}

/// Where it is allowed; idle sessions poll otherwise, and the log says so.
fn raise_inotify() {
    for name in ["max_user_instances", "max_user_watches"] {
        let file = format!("/proc/sys/fs/inotify/{name}");
        let current = fs::read_to_string(&file).ok().and_then(|text| text.trim().parse::<u64>().ok());
        if current.is_some_and(|current| current < INOTIFY_INSTANCES)
            && fs::write(&file, INOTIFY_INSTANCES.to_string()).is_err()
        {
            eprintln!(
                "{file} is too low for many idle sessions and cannot be raised: Dovecot will poll for some"
            );
        }
    }
}

fn raise_open_files(connections: u32) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let needed = u64::from(connections) * 2 + 2_000;
    let current = limit.maximum.map_or(needed, |maximum| maximum.min(needed));
    if limit.current.is_some_and(|now| now < current) {
        // Dovecot warns in its log when this is not enough.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(current), maximum: limit.maximum });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings {
            dir: "/d".into(),
            port: 2143,
            tls: None,
            users: "user{n}".parse().unwrap(),
            count: 3,
            password: "secret".into(),
            scheme: "PLAIN".into(),
            fsync: "always".into(),
            layout: "sdbox".into(),
            plugins: true,
            connections: 10_000,
        }
    }

    #[test]
    fn no_place_of_the_template_is_left() {
        for root in [true, false] {
            let owner = Owner {
                root,
                mail_uid: 1,
                mail_gid: 2,
                internal_user: "u".into(),
                internal_group: "g".into(),
                login_user: "l".into(),
            };
            let text = configuration(&settings(), Path::new("/d"), &owner);
            let settings: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
            assert!(settings.iter().all(|line| !line.contains('@')), "{text}");
            assert!(text.contains("mail_location = sdbox:/d/mail/%u\nmail_fsync = always\n"));
            assert!(text.contains("default_process_limit = 10200\n"));
        }
    }

    #[test]
    fn the_user_list_has_every_user() {
        assert_eq!(
            user_list(&settings()).unwrap(),
            "user1:{PLAIN}secret\nuser2:{PLAIN}secret\nuser3:{PLAIN}secret\n"
        );
        let with_colon = Settings { users: "tel:+1{n}".parse().unwrap(), ..settings() };
        assert!(user_list(&with_colon).is_err());
    }
}
