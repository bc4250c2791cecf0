//! What an operator asks of the tier, both sides.

use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use futures::{Stream, StreamExt as _};
use model::{AccountId, BodyId, DeviceId, Error, ErrorKind, MailboxId, Result, limits};
use store_api::{
    CHECK_ACCOUNTS_MAX, CheckEvent, CheckEvents, CheckProgress, CheckRequest, Ctx, DeadLetter, Finding,
    FindingKind, Identities, LetterId, Maintenance, PushDevice, Remedy, RestoreFolder, RestoreMessage,
    RestoreProgress,
};
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

use crate::convert::{self, MESSAGE_BYTES_MAX};
use crate::error::{Call, from_status, invalid, to_status};
use crate::metadata::{self, request};
use crate::notices;
use crate::pb;
use crate::pb::maintenance_client::MaintenanceClient;
use crate::pb::maintenance_server::{Maintenance as MaintenanceService, MaintenanceServer};

// --- the tier's side -----------------------------------------------------------------------------------------------

pub(crate) type Server = MaintenanceServer<Calls>;

pub(crate) fn server(maintenance: Arc<dyn Maintenance>) -> Server {
    MaintenanceServer::new(Calls { maintenance })
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
}

pub(crate) struct Calls {
    maintenance: Arc<dyn Maintenance>,
}

impl Calls {
    async fn call<Q, A, F>(
        &self,
        asked: Request<Q>,
        work: impl FnOnce(Arc<dyn Maintenance>, Ctx, Q) -> F,
    ) -> Result<Response<A>, Status>
    where
        F: Future<Output = Result<A>>,
    {
        let outcome = match metadata::ctx(asked.metadata()) {
            Ok(ctx) => work(self.maintenance.clone(), ctx, asked.into_inner()).await,
            Err(error) => Err(error),
        };
        outcome.map(Response::new).map_err(|error| to_status(&error))
    }
}

#[tonic::async_trait]
impl MaintenanceService for Calls {
    type CheckStream = Pin<Box<dyn Stream<Item = Result<pb::CheckEvent, Status>> + Send>>;

    async fn check(&self, asked: Request<pb::CheckRequest>) -> Result<Response<Self::CheckStream>, Status> {
        self.call(asked, |maintenance, ctx, q| async move {
            if q.accounts.len() > CHECK_ACCOUNTS_MAX {
                return Err(invalid("a check names at most 1000 accounts"));
            }
            let wanted = CheckRequest {
                accounts: q.accounts.iter().map(|text| convert::address(text)).collect::<Result<_>>()?,
                after: (!q.after.is_empty()).then(|| convert::address(&q.after)).transpose()?,
                repair: q.repair,
                octets: q.octets,
                rate: q.rate,
            };
            let events = maintenance.inspect(&ctx, wanted).await?;
            let events =
                events.map(|event| event.map(|event| event_pb(&event)).map_err(|error| to_status(&error)));
            Ok(Box::pin(events) as Self::CheckStream)
        })
        .await
    }

    async fn restore_folder(
        &self,
        asked: Request<pb::RestoreFolderRequest>,
    ) -> Result<Response<pb::RestoreFolderResponse>, Status> {
        self.call(asked, |maintenance, ctx, q| async move {
            let folder = RestoreFolder {
                name: convert::name(&q.name)?,
                special_use: convert::special_use(&q.special_use)?,
                noselect: q.noselect,
                uid_validity: convert::uid_validity(q.uid_validity)?,
                uid_next: q.uid_next,
                highest_modseq: convert::modseq(q.highest_modseq)?,
                recent_uid: q.recent_uid,
            };
            Ok(match maintenance.restore_folder(&ctx, AccountId(q.account), folder).await? {
                RestoreProgress::Done => pb::RestoreFolderResponse { done: true, restore: 0, next_uid: 0 },
                RestoreProgress::Open { restore, next_uid } => {
                    pb::RestoreFolderResponse { done: false, restore: restore.0, next_uid }
                }
            })
        })
        .await
    }

    async fn restore_messages(
        &self,
        asked: Request<pb::RestoreMessagesRequest>,
    ) -> Result<Response<pb::RestoreMessagesResponse>, Status> {
        self.call(asked, |maintenance, ctx, q| async move {
            if q.messages.is_empty() || q.messages.len() > limits::MULTIAPPEND_MESSAGES_MAX {
                return Err(invalid("a request restores 1 to 2000 messages"));
            }
            let messages = q.messages.into_iter().map(message).collect::<Result<_>>()?;
            let (account, restore) = (AccountId(q.account), MailboxId(q.restore));
            let next_uid = maintenance.restore_messages(&ctx, account, restore, messages).await?;
            Ok(pb::RestoreMessagesResponse { next_uid })
        })
        .await
    }

    async fn finish_folder(
        &self,
        asked: Request<pb::FinishFolderRequest>,
    ) -> Result<Response<pb::FinishFolderResponse>, Status> {
        self.call(asked, |maintenance, ctx, q| async move {
            maintenance.finish_folder(&ctx, AccountId(q.account), MailboxId(q.restore)).await?;
            Ok(pb::FinishFolderResponse {})
        })
        .await
    }

    async fn push_devices(
        &self,
        asked: Request<pb::PushDevicesRequest>,
    ) -> Result<Response<pb::PushDevicesResponse>, Status> {
        self.call(asked, |maintenance, ctx, q| async move {
            let devices = maintenance.push_devices(&ctx, AccountId(q.account)).await?;
            Ok(pb::PushDevicesResponse { devices: devices.into_iter().map(notices::device_pb).collect() })
        })
        .await
    }

    async fn set_push_device(
        &self,
        asked: Request<pb::SetPushDeviceRequest>,
    ) -> Result<Response<pb::SetPushDeviceResponse>, Status> {
        self.call(asked, |maintenance, ctx, q| async move {
            let device = notices::device(q.device)?;
            maintenance.set_push_device(&ctx, AccountId(q.account), device).await?;
            Ok(pb::SetPushDeviceResponse {})
        })
        .await
    }

    async fn remove_push_device(
        &self,
        asked: Request<pb::RemovePushDeviceRequest>,
    ) -> Result<Response<pb::RemovePushDeviceResponse>, Status> {
        self.call(asked, |maintenance, ctx, q| async move {
            let device = notices::identity(&q.device)?;
            let removed = maintenance.remove_push_device(&ctx, AccountId(q.account), &device).await?;
            Ok(pb::RemovePushDeviceResponse { removed })
        })
        .await
    }

    async fn dead_letters(
        &self,
        asked: Request<pb::DeadLettersRequest>,
    ) -> Result<Response<pb::DeadLettersResponse>, Status> {
        self.call(asked, |maintenance, ctx, q| async move {
            let after = q.after.map(notices::letter_id).transpose()?;
            let letters = maintenance.dead_letters(&ctx, after).await?;
            Ok(pb::DeadLettersResponse { letters: letters.into_iter().map(notices::letter_pb).collect() })
        })
        .await
    }

    async fn discard_dead_letter(
        &self,
        asked: Request<pb::DiscardDeadLetterRequest>,
    ) -> Result<Response<pb::DiscardDeadLetterResponse>, Status> {
        self.call(asked, |maintenance, ctx, q| async move {
            let letter = q.letter.ok_or_else(|| invalid("no dead letter is named"))?;
            let discarded = maintenance.discard_dead_letter(&ctx, notices::letter_id(letter)?).await?;
            Ok(pb::DiscardDeadLetterResponse { discarded })
        })
        .await
    }
}

fn message(wire: pb::RestoreMessage) -> Result<RestoreMessage> {
    let message = wire.message.ok_or_else(|| invalid("a message to restore has no octets"))?;
    let message = convert::append_message(message)?;
    Ok(RestoreMessage {
        uid: convert::uid(wire.uid)?,
        modseq: convert::modseq(wire.modseq)?,
        flags: message.flags,
        keywords: message.keywords,
        internal_date: message
            .internal_date
            .ok_or_else(|| invalid("a message to restore has no INTERNALDATE"))?,
        saved_at: wire.saved_at,
        identities: Identities {
            seen: convert::device(wire.seen_by)?,
            deleted: convert::device(wire.deleted_by)?,
        },
        annotations: message.annotations,
        body: message.body,
    })
}

fn event_pb(event: &CheckEvent) -> pb::CheckEvent {
    use pb::check_event::Event;
    let event = match event {
        CheckEvent::Finding(finding) => Event::Finding(pb::Finding {
            kind: finding.kind.name().to_owned(),
            address: finding.address.as_ref().map(ToString::to_string),
            account: finding.account.map(|account| account.0),
            mailbox: finding.mailbox.map(|mailbox| mailbox.0),
            body: finding.body.map(|body| body.0),
            remedy: finding.remedy.name().to_owned(),
            text: finding.text.clone(),
        }),
        CheckEvent::Progress(progress) => Event::Progress(pb::CheckProgress {
            accounts: progress.accounts,
            records: progress.records,
            last: progress.last.as_ref().map(ToString::to_string).unwrap_or_default(),
        }),
    };
    pb::CheckEvent { event: Some(event) }
}

// --- as a tool elsewhere sees it -------------------------------------------------------------------------------------

/// The maintenance of a storage node over gRPC.
pub struct RemoteMaintenance {
    client: MaintenanceClient<Channel>,
}

impl RemoteMaintenance {
    /// A client over this channel.
    pub fn new(channel: Channel) -> Self {
        let client = MaintenanceClient::new(channel)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        Self { client }
    }
}

fn answer<T>(outcome: Result<Response<T>, Status>) -> Result<T> {
    outcome.map(Response::into_inner).map_err(|status| from_status(&status, Call::Read))
}

#[async_trait]
impl Maintenance for RemoteMaintenance {
    async fn inspect(&self, ctx: &Ctx, wanted: CheckRequest) -> Result<CheckEvents> {
        let message = pb::CheckRequest {
            accounts: wanted.accounts.iter().map(ToString::to_string).collect(),
            after: wanted.after.as_ref().map(ToString::to_string).unwrap_or_default(),
            repair: wanted.repair,
            octets: wanted.octets,
            rate: wanted.rate,
        };
        let events = answer(self.client.clone().check(request(ctx, message)).await)?;
        Ok(Box::pin(events.map(|told| event(told.map_err(|status| from_status(&status, Call::Read))?))))
    }

    async fn restore_folder(
        &self,
        ctx: &Ctx,
        account: AccountId,
        folder: RestoreFolder,
    ) -> Result<RestoreProgress> {
        let message = pb::RestoreFolderRequest {
            account: account.0,
            name: folder.name.to_string(),
            special_use: folder.special_use.map(model::SpecialUse::attribute).unwrap_or_default().to_owned(),
            noselect: folder.noselect,
            uid_validity: folder.uid_validity.get(),
            uid_next: folder.uid_next,
            highest_modseq: folder.highest_modseq.0,
            recent_uid: folder.recent_uid,
        };
        let got = answer(self.client.clone().restore_folder(request(ctx, message)).await)?;
        if got.done {
            return Ok(RestoreProgress::Done);
        }
        Ok(RestoreProgress::Open { restore: MailboxId(got.restore), next_uid: got.next_uid })
    }

    async fn restore_messages(
        &self,
        ctx: &Ctx,
        account: AccountId,
        restore: MailboxId,
        messages: Vec<RestoreMessage>,
    ) -> Result<u64> {
        let messages = messages.into_iter().map(|message| pb::RestoreMessage {
            uid: message.uid.get(),
            modseq: message.modseq.0,
            saved_at: message.saved_at,
            seen_by: message.identities.seen.map(|device| device.to_string()),
            deleted_by: message.identities.deleted.map(|device| device.to_string()),
            message: Some(convert::append_message_pb(store_api::AppendMessage {
                flags: message.flags,
                keywords: message.keywords,
                internal_date: Some(message.internal_date),
                annotations: message.annotations,
                body: message.body,
            })),
        });
        let message = pb::RestoreMessagesRequest {
            account: account.0,
            restore: restore.0,
            messages: messages.collect(),
        };
        Ok(answer(self.client.clone().restore_messages(request(ctx, message)).await)?.next_uid)
    }

    async fn finish_folder(&self, ctx: &Ctx, account: AccountId, restore: MailboxId) -> Result<()> {
        let message = pb::FinishFolderRequest { account: account.0, restore: restore.0 };
        answer(self.client.clone().finish_folder(request(ctx, message)).await).map(drop)
    }

    async fn push_devices(&self, ctx: &Ctx, account: AccountId) -> Result<Vec<PushDevice>> {
        let message = pb::PushDevicesRequest { account: account.0 };
        let got = answer(self.client.clone().push_devices(request(ctx, message)).await)?;
        got.devices.into_iter().map(|device| notices::device(Some(device))).collect()
    }

    async fn set_push_device(&self, ctx: &Ctx, account: AccountId, device: PushDevice) -> Result<()> {
        let message =
            pb::SetPushDeviceRequest { account: account.0, device: Some(notices::device_pb(device)) };
        answer(self.client.clone().set_push_device(request(ctx, message)).await).map(drop)
    }

    async fn remove_push_device(&self, ctx: &Ctx, account: AccountId, device: &DeviceId) -> Result<bool> {
        let message = pb::RemovePushDeviceRequest { account: account.0, device: device.to_string() };
        Ok(answer(self.client.clone().remove_push_device(request(ctx, message)).await)?.removed)
    }

    async fn dead_letters(&self, ctx: &Ctx, after: Option<LetterId>) -> Result<Vec<DeadLetter>> {
        let message = pb::DeadLettersRequest { after: after.map(notices::letter_id_pb) };
        let got = answer(self.client.clone().dead_letters(request(ctx, message)).await)?;
        got.letters.into_iter().map(notices::letter).collect()
    }

    async fn discard_dead_letter(&self, ctx: &Ctx, letter: LetterId) -> Result<bool> {
        let message = pb::DiscardDeadLetterRequest { letter: Some(notices::letter_id_pb(letter)) };
        Ok(answer(self.client.clone().discard_dead_letter(request(ctx, message)).await)?.discarded)
    }
}

fn event(wire: pb::CheckEvent) -> Result<CheckEvent> {
    use pb::check_event::Event;
    Ok(match wire.event {
        Some(Event::Finding(it)) => CheckEvent::Finding(Finding {
            kind: FindingKind::from_name(&it.kind).ok_or_else(|| unknown(&it.kind))?,
            address: it.address.as_deref().map(convert::address).transpose()?,
            account: it.account.map(AccountId),
            mailbox: it.mailbox.map(MailboxId),
            body: it.body.map(BodyId),
            remedy: Remedy::from_name(&it.remedy).ok_or_else(|| unknown(&it.remedy))?,
            text: it.text,
        }),
        Some(Event::Progress(it)) => CheckEvent::Progress(CheckProgress {
            accounts: it.accounts,
            records: it.records,
            last: (!it.last.is_empty()).then(|| convert::address(&it.last)).transpose()?,
        }),
        None => return Err(unknown("nothing")),
    })
}

fn unknown(what: &str) -> Error {
    let text = "the storage tier tells what this release does not know; use its own";
    Error::new(ErrorKind::InvalidRequest, text).with_detail(what)
}
