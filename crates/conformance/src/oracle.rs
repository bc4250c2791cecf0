//! Dovecot as a second opinion: a transcript that it breaks is wrong, or has an entry that says why Dovecot is.
//!
//! `oracles/dovecot-2.3.tsv` lists those, by transcript and reason.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::server::{Server, ServerError, wait_for_port};

/// Starts a Dovecot of our own on loopback, its files in a temporary folder. Any user name with the password
/// `correct-horse` is an account. Needs the package `dovecot-imapd`, and root.
pub fn dovecot() -> Result<Server, ServerError> {
    let io = |what: &str, error: std::io::Error| ServerError::Io { what: what.to_owned(), error };
    let folder = tempfile::tempdir().map_err(|error| io("a temporary folder", error))?;
    let imap = free_address().map_err(|error| io("a port", error))?;
    let path = folder.path().display();
    // The processes that touch mail run as `nobody` and must be able to enter the folder.
    open_to_all(folder.path()).map_err(|error| io("permissions", error))?;
    let config = format!(
        "base_dir = {path}/run\nstate_dir = {path}/state\nlog_path = {path}/log\nprotocols = imap\nssl = no\n\
         disable_plaintext_auth = no\nlisten = 127.0.0.1\nauth_mechanisms = plain login\n\
         default_internal_user = nobody\ndefault_login_user = nobody\ndefault_internal_group = nogroup\n\
         first_valid_uid = 1\nfirst_valid_gid = 1\nauth_username_chars = \nauth_failure_delay = 0\n\
         mail_location = sdbox:~/mail\nmail_max_userip_connections = 1000\n\
         mail_plugins = quota zlib\nprotocol imap {{\n mail_plugins = quota imap_quota zlib imap_zlib\n}}\n\
         plugin {{\n quota = count:User quota\n quota_rule = *:storage=10M\n quota_vsizes = yes\n}}\n\
         namespace inbox {{\n inbox = yes\n separator = /\n}}\n\
         passdb {{\n driver = static\n args = password=correct-horse\n}}\n\
         userdb {{\n driver = static\n args = uid=nobody gid=nogroup home={path}/home/%Lu\n}}\n\
         service imap-login {{\n service_count = 0\n process_min_avail = 4\n chroot =\n inet_listener imap {{\n  port = {port}\n }}\n inet_listener imaps {{\n  port = 0\n }}\n}}\n\
         service imap {{\n process_limit = 1024\n}}\nservice anvil {{\n chroot =\n unix_listener anvil-auth-penalty {{\n  mode = 0\n }}\n}}\nservice auth {{\n client_limit = 8192\n}}\nservice stats {{\n chroot =\n}}\n",
        port = imap.port(),
    );
    let file = folder.path().join("dovecot.conf");
    std::fs::write(&file, config).map_err(|error| io("dovecot.conf", error))?;
    std::fs::create_dir(folder.path().join("home")).map_err(|error| io("home", error))?;
    open_to_all(&folder.path().join("home")).map_err(|error| io("permissions", error))?;
    let process = Command::new("/usr/sbin/dovecot")
        .args(["-F", "-c"])
        .arg(&file)
        .stdin(Stdio::null())
        .spawn()
        .map_err(|error| io("dovecot (package dovecot-imapd)", error))?;
    let server = Server::foreign(process, folder, imap, "user%d", "correct-horse");
    wait_for_port(imap)?;
    Ok(server)
}

fn free_address() -> std::io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}

fn open_to_all(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777))
}
