//! One connection from its greeting to its end.

mod deflate;
mod input;
mod output;
mod transport;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use imap_wire::{Command, ParseErrorKind, Reader, Step, Tag};
use store_api::RequestId;

use crate::auth::certificate::ClientCertificate;
use crate::commands::fetch::ahead;
use crate::commands::{self, Row};
use crate::notify;
use crate::notify::attend::attend;
use crate::notify::away;
use crate::reply::{After, Reply, Status};
use crate::server::{Security, Shared};
use crate::session::Session;
use crate::sync::{Removals, Told, sync, unless_withdrawn};
use crate::telemetry;
use crate::{accounts, capabilities};

pub(crate) use input::{Ended, Input};
pub(crate) use output::Output;
pub(crate) use transport::Transport;

/// Serves one connection to its end.
/// `ahead`: what came in clear before.
pub(crate) async fn run(
    server: Arc<Shared>,
    transport: Transport,
    peer: SocketAddr,
    security: Security,
    ahead: BytesMut,
) {
    let limits = &server.options.limits;
    let mut out = Output::new(transport, limits.output_bytes_max, limits.write_stall_max);
    let reader = Reader::new(server.login_wire_limits.clone());
    let mut input =
        Input::new(reader, server.shutdown.clone(), limits.silence_max, limits.pause_in_command_max);
    input.login_by = Some(tokio::time::Instant::now() + limits.login_time_max);
    input.give_back(ahead);
    let id = server.next_id();
    let mut session = Session::new(server, id, peer);
    if security == Security::Tls && !begin_tls(&mut session, &mut out, &mut input).await {
        return;
    }
    if security == Security::Psk && !begin_psk(&mut session, &mut out, &input).await {
        return;
    }
    let greeting = capabilities::list(&session, &out);
    out.untagged(format_args!("OK [{greeting}] ready"));
    serve(&mut session, &mut out, &mut input).await;
    session.deselect();
    // The client may be gone, or slow to take the last words.
    if out.flush().await.is_ok() {
        let _ =
            tokio::time::timeout(session.server.options.limits.write_stall_max, out.transport.shut_down())
                .await;
    }
}

async fn serve(session: &mut Session, out: &mut Output, input: &mut Input) {
    let mut bad_lines = 0;
    loop {
        let attended = match &session.notify {
            // Boxed, so that connections without NOTIFY have no room for it.
            Some(notify) if notify.listens() => Box::pin(attend(session, out, input)).await,
            _ => Ok(()),
        };
        let next = match attended {
            Ok(()) => input.next(out).await,
            Err(ended) => Err(ended),
        };
        let after = match next {
            Ok(Step::Command(command)) => {
                if session.notify.as_ref().is_some_and(|notify| notify.is_confirmed()) {
                    Box::pin(away::confirm(session)).await;
                }
                let row = commands::row(&command.body);
                if session.batch.is_none() && input.has_received() {
                    begin_batch(session, input, &command.body).await;
                }
                let began = begin(session, &command.tag);
                let reply = match may_run(session, out, row).await {
                    Ok(()) => commands::run(session, out, input, command.body).await,
                    Err(reply) => reply,
                };
                end(session, out, row, &command.tag, reply, began).await
            }
            Ok(Step::AppendStart(start)) => {
                let tag = start.tag.clone();
                let began = begin(session, &tag);
                let (row, reply) = match commands::streamed_row(&start) {
                    None => (None, Reply::bad("this command is not known")),
                    Some(row) => match may_run(session, out, row).await {
                        Ok(()) => (Some(row), commands::run_streamed(session, out, input, start).await),
                        Err(reply) => (Some(row), reply),
                    },
                };
                // What is left of a command that ended early is skipped.
                input.reader().reject();
                match row {
                    Some(row) => end(session, out, row, &tag, reply, began).await,
                    None => {
                        out.tagged(tag.as_bytes(), &reply);
                        reply.after
                    }
                }
            }
            Ok(Step::Bad(error)) => {
                bad_lines += 1;
                let tag = error.tag.as_ref().map_or(b"*".as_slice(), Tag::as_bytes);
                let code = (error.kind == ParseErrorKind::LiteralTooBig).then_some("TOOBIG");
                let mut reply = Reply::bad(error.message.clone());
                reply.code = code.map(Into::into);
                out.tagged(tag, &reply);
                if session.login.is_none() && bad_lines >= session.server.options.limits.bad_lines_max {
                    out.untagged(format_args!("BYE too many lines that are no commands"));
                    After::Close
                } else {
                    After::Continue
                }
            }
            Ok(Step::Fatal(error)) => {
                // RFC 7888 §5: a literal of which there is too much to skip.
                out.untagged(format_args!("BYE [TOOBIG] {}", error.message));
                After::Close
            }
            // The reader yields the other steps inside of commands only.
            Ok(step) => {
                tracing::error!(?step, "a step outside of its command");
                out.untagged(format_args!("BYE [SERVERBUG] the server lost its place"));
                After::Close
            }
            Err(Ended::Gone) => After::Lost,
            Err(Ended::Said) => After::Close,
            Err(Ended::TimedOut) => {
                let what =
                    if session.login.is_none() { "login took too long" } else { "nothing came for too long" };
                out.untagged(format_args!("BYE {what}"));
                After::Close
            }
            Err(Ended::ShuttingDown) => {
                out.untagged(format_args!("BYE [UNAVAILABLE] the server is stopping, connect again soon"));
                After::Close
            }
        };
        match after {
            After::Continue => {}
            After::Close | After::Lost => return,
            After::Deflate => {
                if out.flush().await.is_err() {
                    return;
                }
                let ahead = input.take_received();
                out.transport.start_deflate(&ahead);
            }
            After::EndDeflate => {
                let patience = session.server.options.limits.pause_in_command_max;
                if out.flush().await.is_err() {
                    return;
                }
                match tokio::time::timeout(patience, out.transport.end_deflate()).await {
                    Ok(Ok(ahead)) => input.give_back(ahead),
                    _ => {
                        out.untagged(format_args!("BYE compression was not ended with UNAUTHENTICATE"));
                        return;
                    }
                }
            }
            After::StartTls => {
                if out.flush().await.is_err() || !begin_tls(session, out, input).await {
                    return;
                }
            }
        }
        if out.relieve().await.is_err() {
            return;
        }
    }
}

/// Reads at once for a command and for those that arrived behind it, where all of them only read.
async fn begin_batch(session: &mut Session, input: &mut Input, command: &Command) {
    let Some(first) = ahead::member(session, command) else { return };
    let member = |step: &Step| matches!(step, Step::Command(command) if ahead::member(session, &command.body).is_some());
    let waiting = input.look_ahead(ahead::COMMANDS_MAX, member);
    let later = waiting.iter().map_while(|step| match step {
        Step::Command(command) => ahead::member(session, &command.body),
        _ => None,
    });
    let fetches: Vec<_> = std::iter::once(first).chain(later).collect();
    if fetches.len() > 1 {
        session.batch = Box::pin(ahead::begin(session, &fetches)).await.map(Box::new);
    }
}

/// Whether the row's command may be given now.
///
/// # Errors
/// BAD in the wrong state; NO `[AUTHORIZATIONFAILED]` when the active account is the session's no more; the reply that ends
/// the connection when the selected folder is the client's to read no more.
async fn may_run(session: &mut Session, out: &mut Output, row: &'static Row) -> Result<(), Reply> {
    if session.login.as_ref().is_some_and(|login| login.addresses.wants_check()) {
        Box::pin(accounts::check(session, out)).await;
        unless_withdrawn(session, out)?;
    }
    if row.needs_account() {
        accounts::active(session)?;
    }
    row.check(session.state())
}

fn begin(session: &mut Session, tag: &Tag) -> Instant {
    session.tag = tag.clone();
    session.request_id = session.server.next_request_id();
    Instant::now()
}

/// Tells what changed, as far as the row allows, then how the command ended.
async fn end(
    session: &mut Session,
    out: &mut Output,
    row: &'static Row,
    tag: &Tag,
    mut reply: Reply,
    began: Instant,
) -> After {
    if row.changes() {
        session.fresh = None;
    }
    if !row.is_quiet() && reply.after == After::Continue && session.view.is_some() {
        let removals = match (row.removes(), row.may_expunge()) {
            (true, _) => Removals::Own,
            (false, true) => Removals::Tell,
            (false, false) => Removals::Hold,
        };
        match Box::pin(sync(session, out, removals)).await {
            // The command was done; that the client does not know of everything must not be passed over.
            Ok(Told::Unread(kind)) if reply.status == Status::Ok => {
                let code = kind.wire().0;
                out.untagged(format_args!("NO [{code}] what changed could not be read, ask again soon"));
            }
            Ok(Told::All | Told::Unread(_)) => {}
            Err(lost) => reply.after = lost.after,
        }
    }
    session.fresh = None;
    if session.notify.is_some()
        && reply.after == After::Continue
        && let Err(lost) = Box::pin(notify::catch_up(session, out)).await
    {
        reply.after = lost.after;
    }
    if session.batch.as_mut().is_some_and(|batch| batch.ended()) {
        session.batch = None;
    }
    // A tag is a part of its command's buffer, which must not outlive the command.
    session.tag = Tag::default();
    session.note_stage();
    row.record(reply.status, began.elapsed());
    let (connection, command, cause) = (session.id, row.name, reply.cause);
    if let Some(fault) = reply.fault.take() {
        let (text, detail) = (fault.text(), fault.detail());
        let request = RequestId(session.request_id);
        telemetry::faulted(fault.kind());
        tracing::warn!(connection, %request, command, cause, text, detail, "the store refused");
    }
    tracing::debug!(connection, request = %RequestId(session.request_id), command, cause, "command ended");
    out.tagged(tag.as_bytes(), &reply);
    reply.after
}

/// The TLS handshake, within the time for login.
async fn begin_tls(session: &mut Session, out: &mut Output, input: &mut Input) -> bool {
    let Some(tls) = session.server.tls.load_full() else { return false };
    // What came in clear behind STARTTLS may be another's, put in on the way (RFC 9051 §6.2.1).
    input.discard();
    let by = input.login_by.unwrap_or_else(tokio::time::Instant::now);
    match tokio::time::timeout_at(by, out.transport.start_tls(tls)).await {
        Ok(Ok(())) => {
            // Verified: TLS ends with a certificate that nobody trusts.
            let shown = out.tls().and_then(|tls| tls.peer_certificates()?.first());
            if let Some(certificate) = shown.map(|der| ClientCertificate::read(der)) {
                session.set_certificate(certificate);
            }
            true
        }
        Ok(Err(error)) => {
            tracing::debug!(peer = %session.peer, %error, "TLS handshake failed");
            false
        }
        Err(_) => false,
    }
}

/// The handshake with a key that both sides know, within the time for login. Whom it names may log in by EXTERNAL, as whom a
/// certificate names. A wrong key and an identity that nobody has are one in the figures and the log, too.
async fn begin_psk(session: &mut Session, out: &mut Output, input: &Input) -> bool {
    let server = session.server.clone();
    let Some(acceptor) = &server.options.psk else { return false };
    let by = input.login_by.unwrap_or_else(tokio::time::Instant::now);
    match tokio::time::timeout_at(by, out.transport.start_psk(acceptor)).await {
        Ok(Ok(entry)) => {
            telemetry::psk_handshake("done");
            session.set_certificate(ClientCertificate {
                addresses: entry.addresses.clone(),
                device: entry.device.clone(),
            });
            true
        }
        Ok(Err(error)) => {
            telemetry::psk_handshake("failed");
            tracing::debug!(peer = %session.peer, %error, "TLS handshake failed");
            false
        }
        Err(_) => {
            telemetry::psk_handshake("failed");
            false
        }
    }
}
